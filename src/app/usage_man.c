// usage_man.c - a command as a manual page of section 1.
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "app/usage_inside.h"

// One line of text without its new line. A dash that is typed is no hyphen.
static void put(const char *s, size_t n) {
    if (n && (*s == '.' || *s == '\'')) printf("\\&");
    for (; n; n--, s++) {
        switch (*s) {
        case '-': printf("\\-"); break;
        case '\\': printf("\\e"); break;
        case '\'': printf("\\(aq"); break;
        case '^': printf("\\(ha"); break;
        case '~': printf("\\(ti"); break;
        case '`': printf("\\(ga"); break;
        default: putchar(*s);
        }
    }
}

void usage_man_title(const char *name, int section, const char *title) {
    printf(".TH ");
    for (const char *p = name; *p; p++) putchar(toupper((unsigned char)*p));
    printf(" %d \"\" \"stemforge " STEMFORGE_VERSION "\" \"%s\"\n", section, title);
}

void usage_man_text(const char *text) {
    text += strspn(text, " \n");
    put(text, strlen(text));
    putchar('\n');
}

static void option(const arg_option *o) {
    char value[USAGE_WORD_MAX], line[USAGE_TEXT_MAX];
    usage_value_name(o, value);
    usage_line(o, line);
    printf(".TP\n");
    printf(*value ? ".BI \"" : ".B \"");
    put("--", 2);
    put(o->name, strlen(o->name));
    if (*value) {
        printf(" \" \"");
        put(value, strlen(value));
    }
    printf("\"\n");
    usage_man_text(line);
}

static void options(const arg_command *c) {
    printf(".SH OPTIONS\n");
    for (size_t i = 0; i < c->count; i++) {
        const arg_option *o = &c->options[i];
        if (o->name) {
            option(o);
        } else {
            printf(".PP\n");
            usage_man_text(o->help);
        }
    }
    printf(".TP\n.BR \\-h \", \" \\-\\-help\nprints this in short.\n");
}

static void lines_as_they_are(const char *text) {
    printf(".nf\n");
    for (const char *end; *text; text = *end ? end + 1 : end) {
        end = text + strcspn(text, "\n");
        text += strspn(text, " ");
        if (text > end) text = end;
        put(text, (size_t)(end - text));
        putchar('\n');
    }
    printf(".fi\n");
}

// The first clause of what a command is about.
static size_t first_clause(const char *about) {
    return strcspn(about, ":;,");
}

void usage_man(const arg_command *c) {
    char name[USAGE_WORD_MAX];
    snprintf(name, sizeof name, "stemforge-%s", c->name);
    usage_man_title(name, 1, "User Commands");
    printf(".SH NAME\n");
    put(name, strlen(name));
    printf(" \\- ");
    put(c->about, first_clause(c->about));
    printf("\n.SH SYNOPSIS\n.B stemforge %s\n", c->name);
    usage_man_text(c->synopsis);
    printf(".SH DESCRIPTION\n.B stemforge %s\n", c->name);
    put(c->about, strlen(c->about));
    printf(".\n");
    if (c->count) options(c);
    printf(".SH EXIT STATUS\n0 when all went well, 1 on failure (one line on stderr says why), 2 "
           "when it was used\nwrongly, 130 after Ctrl\\-C, 143 after SIGTERM.\n");
    if (c->examples) {
        printf(".SH EXAMPLES\n");
        lines_as_they_are(c->examples);
    }
    printf(".SH SEE ALSO\n.BR stemforge (1)%s\n",
           strcmp(c->name, "serve") == 0 ? ",\n.BR stemforge.env (5)" : "");
}
