// config_table.h - the rows of the service's settings, and what is printed from them.
#pragma once
#include "app/config.h"

#define CONFIG_NAME_MAX 48

typedef enum {
    STR,
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
    const char *preset; // "": none
    const char *help;
} option;

#define CONFIG_LISTENING "Listening" // the heading of where the service is reached

extern const option config_table[];
extern const size_t config_table_len;

bool option_is_secret(const option *o);
bool option_is_text(const option *o); // its field is a char *
// "CALLBACK_CA_FILE" to "callback-ca-file".
void option_flag(const option *o, char out[CONFIG_NAME_MAX]);
