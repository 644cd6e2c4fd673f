// args.h - a command's flags as a table: one row is the flag, its check and its line of help.
//
// Flags are --name VALUE or --name=VALUE; flags of kind ARG_FLAG take no value. Everything else is
// a positional argument; "--" ends the flags. A wrong word is answered with what was expected, the
// nearest flag, and where the help is.
#pragma once
#include "base/err.h"

typedef enum {
    ARG_FLAG,  // bool: true when given
    ARG_STR,   // const char *
    ARG_LIST,  // arg_list: may be given several times, or comma-separated
    ARG_TEXTS, // arg_list: may be given several times, each as it stands
    ARG_INT,   // int64_t within lo..hi
    ARG_INT32, // int32_t within lo..hi
    ARG_NUM,   // double within lo..hi
    ARG_SEED,  // uint64_t; sets *given too
} arg_kind;

#define ARG_LIST_MAX 64

typedef struct {
    const char *item[ARG_LIST_MAX];
    size_t n;
    char *text[ARG_LIST_MAX]; // memory of split items; args_list_deinit
    size_t texts;
} arg_list;

void args_list_deinit(arg_list *l);

typedef struct {
    const char *name; // without the dashes; NULL: a heading, help is its text
    arg_kind kind;
    void *to;
    double lo, hi;     // ARG_INT, ARG_NUM
    const char *value; // how help calls the value: "DIR"
    const char *help;  // one line; what the default is
    bool *given;       // NULL, or set when the flag was there
} arg_option;

typedef struct {
    const char *name;     // "generate"
    const char *synopsis; // "--model MODEL --stem NAME ..."
    const char *about;    // a paragraph
    const arg_option *options;
    size_t count;
    const char *examples; // printed as they are; NULL: none
    int positional_min, positional_max;
} arg_command;

// Exit status of a usage error.
#define EXIT_USAGE 2

// Parses argv[1..argc). Positional arguments go to list [positional_max]; *n is how many. Returns 0
// to go on; otherwise the command ends with *exit_status (0 after --help, EXIT_USAGE after a usage
// error, which was printed).
int args_parse(const arg_command *c, int argc, char **argv, const char **list, int *n,
               int *exit_status);
