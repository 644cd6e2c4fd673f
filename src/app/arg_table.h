// arg_table.h - a command's flags as a table: one row is the flag, its check and its line of help.
//
// args.h parses by it; usage.h prints help, manual page and completion from it.
#pragma once
#include "base/base.h"

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

// Values that several commands take, for arg_option.value.
#define ARG_VALUE_WEIGHTS "TYPE:stored|f32|bf16|q8|q4"
#define ARG_VALUE_ISA "NAME:scalar|avx2|avx512|amx|neon"
#define ARG_VALUE_FORMAT "NAME:wav|wav24|wavf32|flac|flac24|ogg"
#define ARG_VALUE_DEVICE "NAME:auto|cpu|cuda|cuda:N"

typedef struct {
    const char *item[ARG_LIST_MAX];
    size_t n;
    char *text[ARG_LIST_MAX]; // memory of split items; args_list_deinit
    size_t texts;
} arg_list;

typedef struct {
    const char *name; // without the dashes; NULL: a heading, help is its text
    arg_kind kind;
    void *to;
    double lo, hi;     // ARG_INT, ARG_NUM
    const char *value; // how help calls the value: "DIR"; of a few words, which: "HOW:a|b"
    const char *help;  // one line, behind those words; what the default is
    bool *given;       // NULL, or set when the flag was there
} arg_option;

typedef struct {
    const char *name; // "generate"
    const char
        *synopsis;     // "--model MODEL --stem NAME ..."; what is typed as it is, in small letters
    const char *about; // a paragraph
    const arg_option *options;
    size_t count;
    const char *examples; // printed as they are; NULL: none
    int positional_min, positional_max;
} arg_command;
