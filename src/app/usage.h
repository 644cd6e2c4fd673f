// usage.h - what a command says of itself, printed from its table: help, a manual page, completion.
//
// `--help` prints the text for a terminal. Packages ask for the other forms when they are built:
// `--help=man` is the page of section 1, `--help=bash`, `=zsh` and `=fish` are a command's part of
// the completion script, whose frame program.c prints.
#pragma once
#include "app/arg_table.h"

typedef enum { USAGE_NONE, USAGE_TEXT, USAGE_MAN, USAGE_BASH, USAGE_ZSH, USAGE_FISH } usage_form;

// "--help" and "-h" are USAGE_TEXT, "--help=man" is USAGE_MAN ...; any other word is USAGE_NONE.
usage_form usage_form_of(const char *word);

void usage_print(const arg_command *c, usage_form form);

// The title line of a manual page: name in capitals, section and title.
void usage_man_title(const char *name, int section, const char *title);
// Text in a manual page, and a new line: blanks at lines' beginnings and all signs of roff are
// made plain.
void usage_man_text(const char *text);

// Text inside '...' of a shell, where a quote is written as `quote`, and a backslash before each
// sign of `signs`.
void usage_shell_text(const char *s, const char *quote, const char *signs);
