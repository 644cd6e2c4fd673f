// embed.c - turns files into C arrays, at build time only.
//
//   embed --json <file >text        a JSON text without the blanks between its tokens
//   embed --page NAME FILE... >header  a table NAME of embedded_file: name, type, entity tag, the bytes
//                                   of FILE and those of FILE.gz, which gzip made of it
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

// The next byte of a JSON text that is inside a string or no blank.
static int next_token(FILE *f, int *quoted) {
    static int escaped;
    int c = getc(f);
    while (!*quoted && c != EOF && strchr(" \n\r\t", c)) c = getc(f);
    if (c == '"' && !escaped) *quoted = !*quoted;
    escaped = c == '\\' && !escaped;
    return c;
}

// Writes what is left of f as an array of that name. Returns its FNV-1a sum.
static uint64_t put_bytes(FILE *f, const char *table, int i, const char *suffix) {
    uint64_t sum = 0xcbf29ce484222325u;
    int c;
    printf("static const unsigned char %s_%d%s[] = {", table, i, suffix);
    for (unsigned long n = 0; (c = getc(f)) != EOF; n++) {
        sum = (sum ^ (uint64_t)c) * 0x100000001b3u;
        printf("%s%d,", n % 20 ? "" : "\n", c);
    }
    printf("\n};\n");
    return sum;
}

static const char *type_of(const char *name) {
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".css", "text/css; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".json", "application/json"},
                                           {".svg", "image/svg+xml"}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i][0]) == 0) return types[i][1];
    return NULL;
}

// Both forms of a file. Returns the sum of the plain one, 0 when one cannot be read.
static uint64_t put_file(const char *table, int i, const char *path) {
    char packed[4096];
    int n = snprintf(packed, sizeof packed, "%s.gz", path);
    FILE *f = type_of(path) ? fopen(path, "rb") : NULL;
    FILE *gz = n > 0 && (size_t)n < sizeof packed ? fopen(packed, "rb") : NULL;
    uint64_t sum = 0;
    if (f && gz) {
        sum = put_bytes(f, table, i, "");
        put_bytes(gz, table, i, "_gz");
    }
    if (f) fclose(f);
    if (gz) fclose(gz);
    return sum;
}

static int put_page(const char *table, char **path, int n) {
    uint64_t sums[64];
    printf(
        "typedef struct {\n    const char *name, *type, *tag;\n    const unsigned char *p, *gz;\n"
        "    unsigned long n, gz_n;\n} embedded_file;\n");
    for (int i = 0; i < n; i++) {
        sums[i % 64] = n <= 64 ? put_file(table, i, path[i]) : 0;
        if (sums[i % 64]) continue;
        fprintf(stderr,
                "embed: %s: expected a file whose type is known, its .gz beside it, 64 at most\n",
                path[i]);
        return 1;
    }
    printf("static const embedded_file %s[] = {\n", table);
    for (int i = 0; i < n; i++) {
        const char *slash = strrchr(path[i], '/');
        printf("    {\"%s\", \"%s\", \"%016" PRIx64 "\",\n"
               "     %s_%d, %s_%d_gz, sizeof %s_%d, sizeof %s_%d_gz},\n",
               slash ? slash + 1 : path[i], type_of(path[i]), sums[i], table, i, table, i, table, i,
               table, i);
    }
    printf("};\n");
    return 0;
}

static void put_json(FILE *f) {
    int c, quoted = 0;
    while ((c = next_token(f, &quoted)) != EOF) putchar(c);
}

int main(int argc, char **argv) {
    int rc = 0;
    if (argc > 3 && strcmp(argv[1], "--page") == 0) {
        printf("// Made by tools/embed.c.\n#pragma once\n");
        rc = put_page(argv[2], argv + 3, argc - 3);
    } else if (argc == 2 && strcmp(argv[1], "--json") == 0) {
        put_json(stdin);
    } else {
        fprintf(stderr, "usage: embed --json <file, or embed --page NAME FILE...\n");
        return 2;
    }
    return rc || ferror(stdin) || fflush(stdout) ? 1 : 0;
}
