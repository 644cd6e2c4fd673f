// args.c - see args.h.
#include "app/args.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/usage.h"
#include "base/mem.h"
#include "base/near.h"

void args_list_deinit(arg_list *l) {
    for (size_t i = 0; i < l->texts; i++) mem_free(l->text[i]);
    *l = (arg_list){0};
}

static int usage_error(const arg_command *c, const char *what, const char *which) {
    fprintf(stderr, "stemforge %s: %s%s; see stemforge %s --help\n", c->name, what, which, c->name);
    return EXIT_USAGE;
}

static int unknown(const arg_command *c, const char *name, size_t n) {
    near meant = {.word = name, .n = n};
    for (size_t i = 0; i < c->count && n; i++) {
        if (c->options[i].name) near_try(&meant, c->options[i].name);
    }
    char maybe[NEAR_TEXT], text[200];
    near_text(maybe, &meant, "--");
    snprintf(text, sizeof text, "unknown option --%.*s%s", (int)MIN(n, (size_t)60), name, maybe);
    return usage_error(c, text, "");
}

static int unknown_short(const arg_command *c, const char *found) {
    char text[200];
    snprintf(text, sizeof text, "unknown option %.60s; a file of this name is ./%.60s", found,
             found);
    return usage_error(c, text, "");
}

// The wrong number of words that are no options.
static int unexpected(const arg_command *c, const char *found, const char *word) {
    char text[400];
    if (c->positional_max == 0)
        snprintf(text, sizeof text, "expected options only, %s%.100s", found, word);
    else
        snprintf(text, sizeof text, "expected %s, %s%.100s", c->synopsis, found, word);
    return usage_error(c, text, "");
}

static bool list_add(arg_list *l, const char *value) {
    char *copy = mem_strdup(value);
    if (!copy || l->texts == ARG_LIST_MAX) {
        mem_free(copy);
        return false;
    }
    l->text[l->texts++] = copy;
    for (char *p = copy; p;) {
        char *comma = strchr(p, ',');
        if (comma) *comma = 0;
        if (*p && l->n == ARG_LIST_MAX) return false;
        if (*p) l->item[l->n++] = p;
        p = comma ? comma + 1 : NULL;
    }
    return true;
}

// The flag's name may stand behind its number: --bpm 120bpm.
static bool to_num(const char *text, const char *name, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    if (*text && end > text && *end) {
        end += strspn(end, " ");
        if (strcasecmp(end, name) == 0) end += strlen(end);
    }
    return *text && !*end && !errno && isfinite(*out);
}

// -1 is the largest seed, as over HTTP.
static bool to_seed(const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    *out = *text == '-' ? (uint64_t)strtoll(text, &end, 10) : strtoull(text, &end, 10);
    return *text && !*end && !errno;
}

static bool texts_add(arg_list *l, const char *value) {
    if (l->n == ARG_LIST_MAX) return false;
    l->item[l->n++] = value;
    return true;
}

static int set_number(const arg_command *c, const arg_option *o, const char *value) {
    double v;
    bool whole = o->kind != ARG_NUM;
    if (to_num(value, o->name, &v) && v >= o->lo && v <= o->hi && (!whole || v == floor(v))) {
        if (o->kind == ARG_INT32)
            *(int32_t *)o->to = (int32_t)v;
        else if (whole)
            *(int64_t *)o->to = (int64_t)v;
        else
            *(double *)o->to = v;
        return 0;
    }
    char text[200];
    snprintf(text, sizeof text, "--%s: expected a %snumber from %g to %g, found \"%.60s\"", o->name,
             whole ? "whole " : "", o->lo, o->hi, value);
    return usage_error(c, text, "");
}

static int set(const arg_command *c, const arg_option *o, const char *value) {
    switch (o->kind) {
    case ARG_FLAG: *(bool *)o->to = true; return 0;
    case ARG_STR: *(const char **)o->to = value; return 0;
    case ARG_LIST:
        return list_add(o->to, value) ? 0 : usage_error(c, "too many values for --", o->name);
    case ARG_TEXTS:
        return texts_add(o->to, value) ? 0 : usage_error(c, "too many values for --", o->name);
    case ARG_INT:
    case ARG_INT32:
    case ARG_NUM: return set_number(c, o, value);
    case ARG_SEED:
        if (to_seed(value, o->to)) return 0;
        return usage_error(
            c,
            "--seed: expected a whole number from -9223372036854775808 to 18446744073709551615, "
            "found ",
            value);
    }
    return EXIT_USAGE;
}

static const arg_option *find(const arg_command *c, const char *name, size_t n) {
    for (size_t i = 0; i < c->count; i++) {
        const arg_option *o = &c->options[i];
        if (o->name && strlen(o->name) == n && memcmp(o->name, name, n) == 0) return o;
    }
    return NULL;
}

// One "--name[=value]" at argv[*i]; moves *i over a value of its own.
static int option(const arg_command *c, int argc, char **argv, int *i) {
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t n = equals ? (size_t)(equals - name) : strlen(name);
    const arg_option *o = find(c, name, n);
    if (!o) return unknown(c, name, n);
    const char *value = equals ? equals + 1 : NULL;
    if (o->kind == ARG_FLAG && value) return usage_error(c, "no value is expected for --", o->name);
    if (o->kind != ARG_FLAG && !value) {
        if (*i + 1 >= argc) return usage_error(c, "a value is expected after --", o->name);
        value = argv[++*i];
    }
    if (o->given) *o->given = true;
    return set(c, o, value);
}

int args_parse(const arg_command *c, int argc, char **argv, const char **list, int *n,
               int *exit_status) {
    bool flags = true;
    *n = 0;
    for (int i = 1; i < argc; i++) {
        usage_form form = flags ? usage_form_of(argv[i]) : USAGE_NONE;
        if (form != USAGE_NONE) {
            usage_print(c, form);
            *exit_status = 0;
            return 1;
        }
        if (flags && strcmp(argv[i], "--") == 0) {
            flags = false;
        } else if (flags && strcmp(argv[i], "-o") == 0 && find(c, "out", 3)) {
            static char out[] = "--out"; // the one short flag that everybody types
            argv[i] = out;
            *exit_status = option(c, argc, argv, &i);
            if (*exit_status) return 1;
        } else if (flags && strncmp(argv[i], "--", 2) == 0) {
            *exit_status = option(c, argc, argv, &i);
            if (*exit_status) return 1;
        } else if (flags && argv[i][0] == '-' && argv[i][1]) {
            *exit_status = unknown_short(c, argv[i]);
            return 1;
        } else if (*n < c->positional_max) {
            list[(*n)++] = argv[i];
        } else {
            *exit_status = unexpected(c, "found also ", argv[i]);
            return 1;
        }
    }
    if (*n >= c->positional_min) return 0;
    *exit_status = unexpected(c, *n ? "found only " : "found nothing", *n ? list[*n - 1] : "");
    return 1;
}
