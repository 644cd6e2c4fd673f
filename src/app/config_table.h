// config_table.h - the rows of the service's settings, and what is printed from them.
#pragma once
#include "app/config.h"

#define CONFIG_NAME_MAX 48
#define OPTION_WORDS_MAX 200

typedef enum {
    STR,
    PATH,   // of a file
    FOLDER, // path of a folder
    WORD,   // one of a few: preset has them all, "text|json", the default first
    LIST,   // separated by commas or lines
    SECRET, // never printed; may come from a file
    KEYS,   // a list and a secret
    BOOL,
    INT,
    NUM,
    TITLE, // no setting: a heading
} config_kind;

typedef struct {
    const char *name; // of the environment; the flag is --name with dashes
    config_kind kind;
    size_t field; // of a config
    double lo, hi;
    const char *preset; // the default, "": none; of a WORD every word
    const char *help;   // what it is; help and documents put a WORD's words before it
} option;

#define CONFIG_LISTENING "Listening" // the heading of where the service is reached

extern const option config_table[];
extern const size_t config_table_len;

bool option_is_secret(const option *o);
bool option_is_text(const option *o); // its field is a char *
// The default: of a WORD its first one.
void option_preset(const option *o, char out[CONFIG_NAME_MAX]);
// The words of a WORD, "text or json"; "" of others.
void option_words(const option *o, char out[OPTION_WORDS_MAX]);
// "CALLBACK_CA_FILE" to "callback-ca-file".
void option_flag(const option *o, char out[CONFIG_NAME_MAX]);
