// config_usage.c - the settings as help, as documents, and as a file to begin with.
#include <stdio.h>
#include <string.h>

#include "app/config_table.h"
#include "app/usage.h"

#define LINE_MAX_BYTES 600

// What a setting is: "text or json: how a line of the log is written".
static void line_of(const option *o, char out[LINE_MAX_BYTES]) {
    char words[OPTION_WORDS_MAX];
    option_words(o, words);
    snprintf(out, LINE_MAX_BYTES, "%s%s%s", words, *words ? ": " : "", o->help);
}

static void text(void) {
    printf("usage: stemforge serve [--NAME VALUE]...\n\n"
           "Each setting is a flag and an environment variable (PORT is --port); the flag wins.\n"
           "A secret can be read from a file: API_KEYS_FILE=/run/secrets/keys.\n\n"
           "  --check-config   check all that serve would refuse, say what it would use, and end\n"
           "  --settings       print the settings as a Markdown table\n");
    for (size_t i = 0; i < config_table_len; i++) {
        const option *o = &config_table[i];
        char flag[CONFIG_NAME_MAX], line[LINE_MAX_BYTES], preset[CONFIG_NAME_MAX];
        if (o->kind == TITLE) {
            printf("\n%s settings\n", o->name);
            continue;
        }
        option_flag(o, flag);
        option_preset(o, preset);
        line_of(o, line);
        printf("  --%-33s %s%s%s%s\n", flag, line, *preset ? " [" : "", preset, *preset ? "]" : "");
    }
    printf("\nexamples:\n"
           "  stemforge serve\n"
           "  stemforge serve --port 8080 --model facebook/musicgen-small\n"
           "  API_KEYS_FILE=/run/secrets/keys stemforge serve --listen-addr '*' --check-config\n");
}

// ---- the manual page and completion: the settings as any command's flags

static const char *value_name(const option *o, char words[OPTION_WORDS_MAX]) {
    switch (o->kind) {
    case BOOL: return "BOOL:true|false";
    case INT:
    case NUM: return "N";
    case PATH: return "FILE";
    case FOLDER: return "DIR";
    case WORD: snprintf(words, OPTION_WORDS_MAX, "WORD:%s", o->preset); return words;
    default: return "TEXT";
    }
}

static void as_command(usage_form form) {
    static char flags[CONFIG_ROWS_MAX][CONFIG_NAME_MAX], lines[CONFIG_ROWS_MAX][LINE_MAX_BYTES],
        words[CONFIG_ROWS_MAX][OPTION_WORDS_MAX];
    static arg_option rows[CONFIG_ROWS_MAX + 2];
    size_t n = 0;
    rows[n++] = (arg_option){.name = "check-config",
                             .help = "checks all that serve would refuse, and ends"};
    rows[n++] = (arg_option){.name = "settings", .help = "prints the settings, and ends"};
    for (size_t i = 0; i < config_table_len; i++) {
        const option *o = &config_table[i];
        char preset[CONFIG_NAME_MAX];
        option_preset(o, preset);
        if (o->kind != TITLE) option_flag(o, flags[i]);
        snprintf(lines[i], LINE_MAX_BYTES, "%s%s%s%s%s", o->kind == TITLE ? o->name : o->help,
                 o->kind == TITLE ? " settings" : "", *preset ? " [" : "", preset,
                 *preset ? "]" : "");
        rows[n++] = (arg_option){.name = o->kind == TITLE ? NULL : flags[i],
                                 .kind = ARG_STR,
                                 .value = value_name(o, words[i]),
                                 .help = lines[i]};
    }
    const arg_command c = {"serve",
                           "[--NAME VALUE] ...",
                           "takes jobs over HTTP, puts stems into storage and calls back; each "
                           "setting is a flag and an environment variable (PORT is --port), and "
                           "the flag wins",
                           rows,
                           n,
                           "  stemforge serve --listen-addr '*' --check-config\n",
                           0,
                           0};
    usage_print(&c, form);
}

void config_usage(usage_form form) {
    if (form == USAGE_TEXT)
        text();
    else
        as_command(form);
}

// ---- stemforge.env(5), the file itself, and the table of docs/OPERATIONS.md

static void man(void) {
    usage_man_title("stemforge.env", 5, "File Formats");
    printf(".SH NAME\nstemforge.env \\- settings of the stemforge service\n"
           ".SH SYNOPSIS\n.I /etc/stemforge/stemforge.env\n.SH DESCRIPTION\n"
           "The file has one line for each setting, NAME=VALUE; lines that begin with # do not "
           "count.\nThe service reads it at start.\nThe same variables in the environment of\n"
           ".BR stemforge\\-serve (1)\nmean the same, and so do its flags.\nA secret NAME can be "
           "read from a file instead, whose path is in NAME_FILE.\n.PP\n"
           "What is given and empty is refused.\n.B stemforge serve \\-\\-check\\-config\n"
           "checks all settings.\n.SH SETTINGS\n");
    for (size_t i = 0; i < config_table_len; i++) {
        const option *o = &config_table[i];
        char line[LINE_MAX_BYTES], preset[CONFIG_NAME_MAX];
        if (o->kind == TITLE) {
            printf(".SS \"%s\"\n", o->name);
            continue;
        }
        option_preset(o, preset);
        line_of(o, line);
        printf(".TP\n.B %s\n", o->name);
        usage_man_text(line);
        if (o->hi > o->lo) printf("From %.10g to %.10g.\n", o->lo, o->hi);
        printf(*preset ? "Default:\n.B " : "Default: unset.\n");
        if (*preset) usage_man_text(preset);
    }
    printf(".SH SEE ALSO\n.BR stemforge (1),\n.BR stemforge\\-serve (1)\n");
}

static void env(void) {
    printf("# Settings of the stemforge service: stemforge.env(5). They are read at start.\n"
           "# stemforge serve --check-config says what is wrong with them.\n");
    for (size_t i = 0; i < config_table_len; i++) {
        const option *o = &config_table[i];
        char line[LINE_MAX_BYTES], preset[CONFIG_NAME_MAX];
        line_of(o, line);
        option_preset(o, preset);
        if (o->kind == TITLE)
            printf("\n# ---- %s\n", o->name);
        else
            printf("\n# %s\n#%s=%s\n", line, o->name, preset);
    }
}

static void markdown(void) {
    printf("| variable | default | meaning |\n| --- | --- | --- |\n");
    for (size_t i = 0; i < config_table_len; i++) {
        const option *o = &config_table[i];
        char line[LINE_MAX_BYTES], preset[CONFIG_NAME_MAX];
        line_of(o, line);
        option_preset(o, preset);
        const char *tick = *preset ? "`" : "";
        if (o->kind == TITLE)
            printf("| **%s** | | |\n", o->name);
        else
            printf("| `%s` | %s%s%s | %s |\n", o->name, tick, *preset ? preset : "unset", tick,
                   line);
    }
}

bool config_print_settings(const char *word) {
    static const struct {
        const char *word;
        void (*print)(void);
    } forms[] = {{"--settings", markdown}, {"--settings=man", man}, {"--settings=env", env}};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (strcmp(word, forms[i].word) != 0) continue;
        forms[i].print();
        return true;
    }
    return false;
}
