// tokenizer.h - text to ids by a Hugging Face tokenizer.json with a Unigram model, as T5 has it.
//
// The ids are those of Hugging Face's own fast tokenizer for the same file, odd corners included:
// added tokens are cut out of the text first, the precompiled map works on grapheme clusters,
// scores are doubles, unknown characters in a row become one id.
//
// Read from the file: model (Unigram), added_tokens, normalizer (Precompiled, Sequence, Strip,
// Replace of a string or of " {2,}", Prepend, null), pre_tokenizer (WhitespaceSplit, Metaspace,
// Sequence, null), post_processor (TemplateProcessing, null), truncation and padding. Any other
// type is refused by name: a tokenizer that is half understood gives wrong ids silently.
//
// The file is untrusted. Everything is checked at open; no walk is longer than the text times
// TOK_PIECE_MAX. A handle is immutable after open and may be shared between threads.
#pragma once
#include "base/buf.h"

#define TOK_FILE_MAX ((size_t)32 << 20) // bytes of tokenizer.json
#define TOK_TEXT_MAX ((size_t)1 << 20)  // bytes of one text, before and after normalisation
#define TOK_PIECE_MAX 256               // bytes of one piece or added token
#define TOK_PAD_MAX 65536               // tokens that "padding" may ask for

typedef struct tokenizer tokenizer;

// The result, reused from call to call: zero it first, deinit it last.
typedef struct {
    int32_t *ids; // [n]
    size_t n;     // tokens with padding
    size_t first; // ids[first .. first + count) are the text and its special tokens: mask 1.
    size_t count; // The others are padding: mask 0
    size_t cut;   // tokens that truncation left out
    size_t cap;
} tok_ids;

void tok_ids_deinit(tok_ids *t);

// *out is the caller's (tok_close). NULL on failure.
status tok_open(tokenizer **out, const char *path, err *e);
status tok_open_bytes(tokenizer **out, bytes json_text, err *e); // text may go after the call
// For packed model files: the tokenizer from its JSON without the vocabulary, and the vocabulary as
// a block that is used where it lies, aligned to 8 bytes; it must outlive the handle. Both are as
// untrusted as the JSON alone.
status tok_open_packed(tokenizer **out, bytes json_text, bytes vocab, err *e);
// Appends those two; json_text is what t was opened from.
status tok_pack(const tokenizer *t, bytes json_text, buf *text, buf *vocab, err *e);
void tok_close(tokenizer *t); // NULL is fine

// Truncation and padding are applied when the file asks for them. ERR_ARG when text is not UTF-8,
// ERR_LIMIT when it is longer than TOK_TEXT_MAX. out keeps its memory in any case.
status tok_encode(const tokenizer *t, bytes text, tok_ids *out, err *e);

int32_t tok_vocab_size(const tokenizer *t); // every id that can come out is below this
// The id of a piece or added token, exactly as spelt; -1 when there is none.
int32_t tok_find(const tokenizer *t, const char *piece);
