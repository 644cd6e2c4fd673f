// shipped_variant.c - see shipped_variant.h.
#include "shipped_variant.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

#define SHIPPED "models/stemforge-mini"
#define OWN "\"stemforge\": {"

static void link_files(const char *here, const char *folder) {
    static const char *const files[] = {"model.safetensors", "tokenizer.json",
                                        "generation_config.json", "preprocessor_config.json"};
    char from[400], to[400];
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(from, sizeof from, "%s/%s", here, files[i]);
        snprintf(to, sizeof to, "%s/%s", folder, files[i]);
        cr_assert_eq(symlink(from, to), 0);
    }
}

// Puts the member under a name that nobody reads.
static void silence(char *text, const char *member) {
    char quoted[80];
    snprintf(quoted, sizeof quoted, "\"%s\"", member);
    char *at = strstr(text, quoted);
    cr_assert(at, "%s", member);
    at[1] = '_';
}

static void write_config(const char *folder, const char *text, const char *says) {
    char to[400];
    snprintf(to, sizeof to, "%s/config.json", folder);
    const char *own = strstr(text, OWN);
    cr_assert(own);
    FILE *f = fopen(to, "w");
    cr_assert(f);
    cr_assert(fprintf(f, "%.*s%s%s", (int)(own - text), text, OWN, says) > 0);
    cr_assert(fputs(own + strlen(OWN), f) >= 0);
    cr_assert_eq(fclose(f), 0);
}

void shipped_variant(char *folder, const char *const *silenced, size_t n, const char *says) {
    static char text[1 << 16];
    char from[400], *here = realpath(SHIPPED, NULL);
    cr_assert(here && mkdtemp(folder));
    link_files(here, folder);
    snprintf(from, sizeof from, "%s/config.json", here);
    free(here);
    FILE *f = fopen(from, "r");
    cr_assert(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    for (size_t i = 0; i < n; i++) silence(text, silenced[i]);
    write_config(folder, text, says);
}

void shipped_variant_remove(const char *folder) {
    char gone[80];
    snprintf(gone, sizeof gone, "rm -r %s", folder);
    cr_assert_eq(system(gone), 0);
}
