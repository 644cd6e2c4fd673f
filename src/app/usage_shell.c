// usage_shell.c - a command's part of the completion scripts for bash, zsh and fish.
//
// The frames of the scripts are in program.c.
#include <stdio.h>
#include <string.h>

#include "app/usage_inside.h"
#include "base/base.h"

static void verbs(const arg_command *c, const char *before) {
    char verb[USAGE_WORD_MAX];
    for (const char *at = c->synopsis; usage_next_verb(&at, verb);) printf("%s%s", before, verb);
}

void usage_shell_text(const char *s, const char *quote, const char *signs) {
    for (; *s; s++) {
        if (*s == '\'') {
            printf("%s", quote);
        } else {
            if (strchr(signs, *s)) putchar('\\');
            putchar(*s);
        }
    }
}

// ---- bash: sets flags, verbs and, behind a flag that takes a value, values and kind

static void bash_value(const arg_option *o) {
    static const char *const kinds[] = {[VALUE_ANY] = "any",
                                        [VALUE_WORDS] = "words",
                                        [VALUE_FILE] = "file",
                                        [VALUE_FOLDER] = "folder"};
    char words[USAGE_TEXT_MAX];
    value_kind kind = usage_value_kind(o);
    if (kind == VALUE_NONE) return;
    usage_value_words(o, " ", words);
    printf("        --%s) kind=%s values='%s' ;;\n", o->name, kinds[kind], words);
}

void usage_bash(const arg_command *c) {
    printf("    %s)\n        flags='--help", c->name);
    for (size_t i = 0; i < c->count; i++)
        if (c->options[i].name) printf(" --%s", c->options[i].name);
    printf("' verbs='");
    verbs(c, " ");
    printf("'\n        case $before in\n");
    for (size_t i = 0; i < c->count; i++)
        if (c->options[i].name) bash_value(&c->options[i]);
    printf("        esac ;;\n");
}

// ---- zsh: one call of _arguments

static void zsh_option(const arg_option *o) {
    char value[USAGE_WORD_MAX], line[USAGE_TEXT_MAX], words[USAGE_TEXT_MAX];
    usage_value_name(o, value);
    usage_value_words(o, " ", words);
    usage_line(o, line);
    printf(" \\\n            '%s--%s%s[", usage_may_repeat(o) ? "*" : "", o->name,
           *value ? "=" : "");
    usage_shell_text(line, "'\\''", "[]:\\");
    printf("]");
    if (*value) printf(":%s:", value);
    switch (usage_value_kind(o)) {
    case VALUE_WORDS: printf("(%s)", words); break;
    case VALUE_FILE: printf("_files"); break;
    case VALUE_FOLDER: printf("_files -/"); break;
    case VALUE_NONE:
    case VALUE_ANY: break;
    }
    printf("'");
}

void usage_zsh(const arg_command *c) {
    printf("    %s)\n        _arguments '(-h --help)'{-h,--help}'[help]'", c->name);
    for (size_t i = 0; i < c->count; i++)
        if (c->options[i].name) zsh_option(&c->options[i]);
    char verb[USAGE_WORD_MAX];
    const char *at = c->synopsis;
    if (usage_next_verb(&at, verb)) {
        printf(" \\\n            '1:verb:(");
        verbs(c, " ");
        printf(")' '*:word: '");
    } else if (c->positional_max > 0) {
        printf(" \\\n            '*:file:_files'");
    }
    printf(" ;;\n");
}

// ---- fish: one line a flag

static void fish_option(const arg_command *c, const arg_option *o) {
    char line[USAGE_TEXT_MAX], words[USAGE_TEXT_MAX];
    usage_line(o, line);
    usage_value_words(o, " ", words);
    printf("complete -c stemforge -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
    switch (usage_value_kind(o)) {
    case VALUE_WORDS: printf(" -x -a '%s'", words); break;
    case VALUE_FILE: printf(" -r -F"); break;
    case VALUE_FOLDER: printf(" -x -a '(__fish_complete_directories)'"); break;
    case VALUE_ANY: printf(" -x"); break;
    case VALUE_NONE: break;
    }
    printf(" -d '");
    usage_shell_text(line, "\\'", "\\");
    printf("'\n");
}

void usage_fish(const arg_command *c) {
    for (size_t i = 0; i < c->count; i++)
        if (c->options[i].name) fish_option(c, &c->options[i]);
    char verb[USAGE_WORD_MAX];
    const char *at = c->synopsis;
    if (!usage_next_verb(&at, verb)) return;
    printf("complete -c stemforge -f -n '__fish_seen_subcommand_from %s' -a '", c->name);
    verbs(c, " ");
    printf("'\n");
}
