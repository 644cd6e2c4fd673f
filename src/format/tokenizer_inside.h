// tokenizer_inside.h - what the files of the tokenizer share; for format/tokenizer*.c alone.
//
// tokenizer.c       a text to ids
// tokenizer_open.c  the tokenizer from its file, and back into a packed one
#pragma once
#include "format/normalize.h"
#include "format/tokenizer.h"
#include "format/trie.h"
#include "format/unigram.h"

#define SPECIALS_MAX 16

typedef struct {
    char *content;
    int32_t id;
    bool single_word;    // not inside a word
    bool lstrip, rstrip; // takes the blanks beside it along
    bool normalized;     // looked for in the normalised text
} added_token;

typedef enum { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS } prepend_scheme;

typedef struct {
    bool whitespace; // split at white space first
    bool metaspace;
    char mark[8]; // stands for a blank, UTF-8
    prepend_scheme prepend;
    bool split; // into pieces that begin with the mark
} splitter;

typedef enum { PAD_NONE, PAD_OWN, PAD_FIXED } pad_mode; // PAD_OWN: only to the multiple

struct tokenizer {
    unigram *model;
    normalizer *norm;
    added_token *added;
    size_t added_count;
    trie *raw, *normed; // values: indices into added
    splitter split;
    int32_t before[SPECIALS_MAX], after[SPECIALS_MAX]; // ids around the text
    size_t before_count, after_count;
    bool truncates, truncates_left;
    size_t truncate_max;
    pad_mode pad;
    bool pad_left;
    size_t pad_to, pad_multiple;
    int32_t pad_id, size;
};
