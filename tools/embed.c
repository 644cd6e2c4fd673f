// embed.c - turns files into C arrays, at build time only.
//
//   embed --json NAME <file >header    one array NAME: a JSON text without the blanks between its tokens
//   embed --page NAME FILE... >header  a table NAME of embedded_file: name, type, entity tag, bytes
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

// Writes what is left of f as the contents of an array. Returns its FNV-1a sum.
static uint64_t put_bytes(FILE *f, int json) {
    uint64_t sum = 0xcbf29ce484222325u;
    int c, quoted = 0;
    for (unsigned long n = 0; (c = json ? next_token(f, &quoted) : getc(f)) != EOF; n++) {
        sum = (sum ^ (uint64_t)c) * 0x100000001b3u;
        printf("%s%d,", n % 20 ? "" : "\n", c);
    }
    return sum;
}

static const char *type_of(const char *name) {
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".css", "text/css; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".svg", "image/svg+xml"}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i][0]) == 0) return types[i][1];
    return NULL;
}

static int put_page(const char *table, char **path, int n) {
    uint64_t sums[64];
    printf("typedef struct {\n    const char *name, *type, *tag;\n    const unsigned char *p;\n"
           "    unsigned long n;\n} embedded_file;\n");
    for (int i = 0; i < n; i++) {
        FILE *f = n <= 64 && type_of(path[i]) ? fopen(path[i], "rb") : NULL;
        if (!f) {
            fprintf(stderr,
                    "embed: %s: expected a file that can be read and whose type is known, "
                    "64 at most\n",
                    path[i]);
            return 1;
        }
        printf("static const unsigned char %s_%d[] = {", table, i);
        sums[i] = put_bytes(f, 0);
        printf("\n};\n");
        fclose(f);
    }
    printf("static const embedded_file %s[] = {\n", table);
    for (int i = 0; i < n; i++) {
        const char *slash = strrchr(path[i], '/');
        printf("    {\"%s\", \"%s\", \"\\\"%016" PRIx64 "\\\"\", %s_%d, sizeof %s_%d},\n",
               slash ? slash + 1 : path[i], type_of(path[i]), sums[i], table, i, table, i);
    }
    printf("};\n");
    return 0;
}

int main(int argc, char **argv) {
    int rc = 0;
    printf("// Made by tools/embed.c.\n#pragma once\n");
    if (argc > 3 && strcmp(argv[1], "--page") == 0) {
        rc = put_page(argv[2], argv + 3, argc - 3);
    } else if (argc == 3 && strcmp(argv[1], "--json") == 0) {
        printf("static const unsigned char %s[] = {", argv[2]);
        put_bytes(stdin, 1);
        printf("\n};\n");
    } else {
        fprintf(stderr, "usage: embed --json NAME <file, or embed --page NAME FILE...\n");
        return 2;
    }
    return rc || ferror(stdin) || fflush(stdout) ? 1 : 0;
}
