// trie.h - a set of byte strings with a number each, walked byte by byte.
//
// Built once from a sorted list, so no input can make it slower than one comparison a child. Every
// walk is at most as long as the longest key. A built trie is one block of bytes without pointers,
// which may be kept in a file and used where that is mapped.
#pragma once
#include "base/err.h"

typedef struct {
    bytes key;     // borrowed during trie_create
    int32_t value; // >= 0
} trie_entry;

typedef struct trie trie;

// Of equal keys the greatest value wins; empty keys are left out. A key is under 4 GiB.
status trie_create(trie **out, const trie_entry *list, size_t n, err *e);
bytes trie_image(const trie *t); // the block; t's
// A trie over such a block, which must outlive it. Every node is checked: ERR_FORMAT unless it is
// what trie_create makes of some keys of at most key_max bytes with values below value_end.
status trie_open(trie **out, bytes image, size_t key_max, int32_t value_end, err *e);
void trie_free(trie *t); // NULL is fine

#define TRIE_ROOT 0u
// The node that c leads to from node; TRIE_ROOT when there is none.
uint32_t trie_next(const trie *t, uint32_t node, uint8_t c);
int32_t trie_value(const trie *t, uint32_t node); // -1 when no key ends here
int32_t trie_find(const trie *t, bytes key);      // -1 when absent
// Longest key that text begins with: its value, and its length in *n. -1 when none.
int32_t trie_longest(const trie *t, bytes text, size_t *n);
