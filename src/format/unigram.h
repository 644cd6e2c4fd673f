// unigram.h - the most probable segmentation of a text into pieces (Viterbi), as Hugging Face's
// Unigram model does it: scores are doubles, ties go to the path found first, a character that no
// piece covers costs 10 more than the worst piece, unknown characters in a row are one id.
#pragma once
#include "base/err.h"
#include "base/json.h"

#define UNIGRAM_PIECES_MAX (1 << 22)

typedef struct unigram unigram;

// model: the object "model" of tokenizer.json; may be freed after. A piece is at most piece_max
// bytes. vocab: what unigram_pack made of "vocab", which is not looked at then, and must outlive
// the handle; n 0: there is none.
status unigram_create(unigram **out, const json *model, bytes vocab, size_t piece_max, err *e);
void unigram_free(unigram *u); // NULL is fine

// Appends the pieces and scores as one block that is used where it lies, at multiples of 8:
//   "SFVOCAB1", u32 pieces, u32 bytes of the trie, f64 scores[pieces], the trie (trie.c)
void unigram_pack(const unigram *u, buf *out);

int32_t unigram_size(const unigram *u);              // pieces; ids are below this
int32_t unigram_find(const unigram *u, bytes piece); // its id, -1 when absent

// A place on the best path to it. One array is reused for all words of a text.
typedef struct {
    double score;
    uint32_t start; // of the piece that ends here
    int32_t id;     // of that piece; -1: not reached
} unigram_node;

// Appends the ids of text (UTF-8, at most UINT32_MAX bytes) to ids[*n]; there must be room for
// text.n of them. nodes has room for text.n + 1. ERR_FORMAT when a character is unknown and the
// model has no unknown piece.
status unigram_encode(const unigram *u, bytes text, unigram_node *nodes, int32_t *ids, size_t *n,
                      err *e);
