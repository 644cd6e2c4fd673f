// usage.c - see usage.h and usage_inside.h. The form for a terminal is here.
#include <stdio.h>
#include <string.h>

#include "app/usage_inside.h"
#include "base/base.h"

#define HELP_COLUMN 24

usage_form usage_form_of(const char *word) {
    static const char *const names[] = {
        [USAGE_MAN] = "man", [USAGE_BASH] = "bash", [USAGE_ZSH] = "zsh", [USAGE_FISH] = "fish"};
    const char *form = "--help=";
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return USAGE_TEXT;
    if (strncmp(word, form, strlen(form)) != 0) return USAGE_NONE;
    for (usage_form f = USAGE_MAN; f < ARRAY_LEN(names); f++)
        if (strcmp(word + strlen(form), names[f]) == 0) return f;
    return USAGE_NONE;
}

// ---- a row

static const char *words_of(const arg_option *o) {
    const char *colon = o->value ? strchr(o->value, ':') : NULL;
    return colon ? colon + 1 : NULL;
}

void usage_value_name(const arg_option *o, char out[USAGE_WORD_MAX]) {
    const char *value = o->value ? o->value : "";
    snprintf(out, USAGE_WORD_MAX, "%.*s", (int)strcspn(value, ":"), value);
}

value_kind usage_value_kind(const arg_option *o) {
    static const char *const files[] = {"FILE", "MODEL"};
    char name[USAGE_WORD_MAX];
    usage_value_name(o, name);
    if (!*name) return VALUE_NONE;
    if (words_of(o)) return VALUE_WORDS;
    if (strcmp(name, "DIR") == 0) return VALUE_FOLDER;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (strcmp(name, files[i]) == 0) return VALUE_FILE;
    return VALUE_ANY;
}

void usage_value_words(const arg_option *o, const char *between, char out[USAGE_TEXT_MAX]) {
    size_t n = 0;
    out[0] = 0;
    for (const char *p = words_of(o); p && n < USAGE_TEXT_MAX;) {
        size_t len = strcspn(p, "|");
        n += (size_t)snprintf(out + n, USAGE_TEXT_MAX - n, "%s%.*s", n ? between : "", (int)len, p);
        p = p[len] ? p + len + 1 : NULL;
    }
}

// "stored, f32 or q8"
static void words_text(const arg_option *o, char out[USAGE_TEXT_MAX]) {
    char all[USAGE_TEXT_MAX];
    usage_value_words(o, ", ", all);
    char *last = all;
    for (char *p = strstr(all, ", "); p; p = strstr(p + 1, ", ")) last = p;
    if (last == all)
        snprintf(out, USAGE_TEXT_MAX, "%s", all);
    else
        snprintf(out, USAGE_TEXT_MAX, "%.*s or %s", (int)(last - all), all, last + 2);
}

void usage_line(const arg_option *o, char out[USAGE_TEXT_MAX]) {
    char words[USAGE_TEXT_MAX];
    words_text(o, words);
    bool joined = *words && *o->help;
    const char *between = !joined ? "" : *o->help == '(' || *o->help == '[' ? " " : ": ";
    snprintf(out, USAGE_TEXT_MAX, "%.300s%s%.600s", words, between, o->help);
}

bool usage_may_repeat(const arg_option *o) {
    return o->kind == ARG_LIST || o->kind == ARG_TEXTS;
}

bool usage_next_verb(const char **at, char out[USAGE_WORD_MAX]) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    for (const char *p = *at; (p = strpbrk(p, "[|"));) {
        p += strspn(p, "[| ");
        size_t n = strspn(p, letters);
        bool verb = n && n < USAGE_WORD_MAX && strncmp(p, "options", n) != 0;
        p += n;
        if (!verb) continue;
        snprintf(out, USAGE_WORD_MAX, "%.*s", (int)n, p - n);
        *at = p;
        return true;
    }
    return false;
}

// ---- the forms

static void usage_text(const arg_command *c) {
    printf("stemforge %s - %s\n\nusage: stemforge %s %s\n", c->name, c->about, c->name,
           c->synopsis);
    if (c->count) printf("\noptions:\n");
    for (size_t i = 0; i < c->count; i++) {
        const arg_option *o = &c->options[i];
        if (!o->name) {
            printf("\n%s\n", o->help);
            continue;
        }
        char left[64], value[USAGE_WORD_MAX], line[USAGE_TEXT_MAX];
        usage_value_name(o, value);
        usage_line(o, line);
        snprintf(left, sizeof left, "--%s%s%.40s", o->name, *value ? " " : "", value);
        printf("  %-*s %s\n", HELP_COLUMN, left, line);
    }
    if (c->examples) printf("\nexamples:\n%s", c->examples);
}

void usage_print(const arg_command *c, usage_form form) {
    static void (*const forms[])(const arg_command *) = {
        [USAGE_TEXT] = usage_text, [USAGE_MAN] = usage_man,   [USAGE_BASH] = usage_bash,
        [USAGE_ZSH] = usage_zsh,   [USAGE_FISH] = usage_fish,
    };
    if (form < ARRAY_LEN(forms) && forms[form]) forms[form](c);
}
