// usage_inside.h - the forms of usage.h, and what they read in a row of a command's table.
#pragma once
#include "app/usage.h"

void usage_man(const arg_command *c);
void usage_bash(const arg_command *c);
void usage_zsh(const arg_command *c);
void usage_fish(const arg_command *c);

#define USAGE_TEXT_MAX 1000
#define USAGE_WORD_MAX 64

// What a value is, for completion.
typedef enum { VALUE_NONE, VALUE_ANY, VALUE_WORDS, VALUE_FILE, VALUE_FOLDER } value_kind;
value_kind usage_value_kind(const arg_option *o);
// "TYPE" of "TYPE:stored|f32"; "" of a flag without a value.
void usage_value_name(const arg_option *o, char out[USAGE_WORD_MAX]);
// The words with `between` between two of them: "stored f32".
void usage_value_words(const arg_option *o, const char *between, char out[USAGE_TEXT_MAX]);
// The line of help: "stored or f32: how weights are kept (stored)".
void usage_line(const arg_option *o, char out[USAGE_TEXT_MAX]);
bool usage_may_repeat(const arg_option *o);

// The words that are typed as they stand in a synopsis: "list" and "show" of "[list | show ID]".
// Goes on from *at; false when there is none left.
bool usage_next_verb(const char **at, char out[USAGE_WORD_MAX]);
