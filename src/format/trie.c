// trie.c - see trie.h. The children of a node lie side by side, ordered by byte, so a node is
// twelve bytes and a step is a short search in one cache line or two.
#include "format/trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

// As it lies in memory and in files, little-endian as all machines we run on.
typedef struct {
    uint32_t first; // index of the first child; of a leaf where its children would be
    uint16_t count; // children, up to 256
    uint8_t label;  // byte that leads here
    uint8_t zero;
    int32_t value; // -1: no key ends here
} node;

struct trie {
    const node *nodes; // breadth first; nodes[0] is the root
    size_t count;
    node *own; // nodes, unless they lie in a file
};

// A key while building. head is its first eight bytes, big-endian: most comparisons end there,
// without a visit to the key itself.
typedef struct {
    uint64_t head;
    const uint8_t *p;
    uint32_t n;
    int32_t value;
} item;

// While building: node i stands for the keys list[lo .. hi), which agree in their first depth
// bytes.
typedef struct {
    uint32_t lo, hi, depth;
} span;

typedef struct {
    node *nodes; // [count], room for cap
    size_t count, cap;
    span *spans;
    item *list;
} builder;

static int by_key(const void *pa, const void *pb) {
    const item *a = pa, *b = pb;
    if (a->head != b->head) return a->head < b->head ? -1 : 1;
    int c = memcmp(a->p, b->p, MIN(a->n, b->n));
    if (c) return c;
    if (a->n != b->n) return a->n < b->n ? -1 : 1;
    return (a->value > b->value) - (a->value < b->value);
}

static item item_of(const trie_entry *x) {
    item it = {.p = x->key.p, .n = (uint32_t)x->key.n, .value = x->value};
    for (size_t i = 0; i < 8; i++) it.head = it.head << 8 | (i < it.n ? it.p[i] : 0);
    return it;
}

static uint8_t item_byte(const item *it, uint32_t at) {
    if (at < 8) return (uint8_t)(it->head >> (56 - 8 * at));
    return it->p[at];
}

static bool node_add(builder *b, uint8_t label, span s) {
    if (b->count == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 256;
        if (cap > UINT32_MAX) return false;
        node *nodes = mem_realloc(b->nodes, cap * sizeof *nodes);
        if (nodes) b->nodes = nodes;
        span *spans = mem_realloc(b->spans, cap * sizeof *spans);
        if (spans) b->spans = spans;
        if (!nodes || !spans) return false;
        b->cap = cap;
    }
    b->spans[b->count] = s;
    b->nodes[b->count++] = (node){.label = label, .value = -1};
    return true;
}

// Gives node i its value and its children.
static bool node_expand(builder *b, size_t i) {
    span s = b->spans[i];
    for (; s.lo < s.hi && b->list[s.lo].n == s.depth; s.lo++) { // keys that end here come first
        if (i) b->nodes[i].value = b->list[s.lo].value;         // the last has the greatest value
    }
    b->nodes[i].first = (uint32_t)b->count;
    while (s.lo < s.hi) {
        uint8_t label = item_byte(&b->list[s.lo], s.depth);
        uint32_t end = s.lo;
        while (end < s.hi && item_byte(&b->list[end], s.depth) == label) end++;
        if (!node_add(b, label, (span){s.lo, end, s.depth + 1})) return false;
        b->nodes[i].count++;
        s.lo = end;
    }
    return true;
}

status trie_create(trie **out, const trie_entry *list, size_t n, err *e) {
    *out = NULL;
    if (n > UINT32_MAX) return err_set(e, ERR_LIMIT, "%zu pieces", n);
    trie *t = mem_calloc(1, sizeof *t);
    builder b = {.list = mem_calloc(n, sizeof *b.list)};
    bool ok = t && b.list;
    for (size_t i = 0; ok && i < n; i++) b.list[i] = item_of(&list[i]);
    if (ok && n) qsort(b.list, n, sizeof *b.list, by_key);
    ok = ok && node_add(&b, 0, (span){0, (uint32_t)n, 0});
    for (size_t i = 0; ok && i < b.count; i++) ok = node_expand(&b, i);
    mem_free(b.spans);
    mem_free(b.list);
    if (t) *t = (trie){.nodes = b.nodes, .count = b.count, .own = b.nodes};
    if (!ok) {
        trie_free(t);
        if (!t) mem_free(b.nodes);
        return err_set(e, ERR_OOM, "no memory for %zu pieces", n);
    }
    *out = t;
    return OK;
}

bytes trie_image(const trie *t) {
    return (bytes){(const uint8_t *)t->nodes, t->count * sizeof *t->nodes};
}

// Breadth first, each node's children stand where those of the nodes before it end, so one walk
// along the nodes proves that they are a tree, and counts its levels on the way.
static bool nodes_good(const node *list, size_t n, size_t key_max, int32_t value_end) {
    size_t next = 1, level_end = 1, depth = 0;
    if (list[0].value != -1) return false;
    for (size_t i = 0; i < n; i++) {
        const node *x = &list[i];
        if (i == level_end) {
            level_end = next;
            depth++;
        }
        bool good = i < next && x->first == next && x->count <= n - next && x->zero == 0 &&
                    x->value >= -1 && x->value < value_end && depth <= key_max;
        if (!good) return false;
        next += x->count;
        for (size_t j = x->first + 1; j < next; j++) {
            if (list[j].label <= list[j - 1].label) return false;
        }
    }
    return next == n;
}

status trie_open(trie **out, bytes image, size_t key_max, int32_t value_end, err *e) {
    *out = NULL;
    const node *nodes = (const node *)(const void *)image.p;
    size_t n = image.n / sizeof *nodes;
    bool whole = n > 0 && image.n % sizeof *nodes == 0 && n <= UINT32_MAX &&
                 (uintptr_t)image.p % _Alignof(node) == 0;
    if (!whole || !nodes_good(nodes, n, key_max, value_end)) {
        return err_set(e, ERR_FORMAT, "%zu bytes are not a set of pieces", image.n);
    }
    trie *t = mem_calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_OOM, "no memory for a set of pieces");
    *t = (trie){.nodes = nodes, .count = n};
    *out = t;
    return OK;
}

void trie_free(trie *t) {
    if (!t) return;
    mem_free(t->own);
    mem_free(t);
}

uint32_t trie_next(const trie *t, uint32_t at, uint8_t c) {
    const node *children = t->nodes + t->nodes[at].first;
    size_t lo = 0, hi = t->nodes[at].count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (children[mid].label < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    bool found = lo < t->nodes[at].count && children[lo].label == c;
    return found ? t->nodes[at].first + (uint32_t)lo : TRIE_ROOT;
}

int32_t trie_value(const trie *t, uint32_t at) {
    return t->nodes[at].value;
}

int32_t trie_find(const trie *t, bytes key) {
    uint32_t at = TRIE_ROOT;
    for (size_t i = 0; i < key.n; i++) {
        at = trie_next(t, at, key.p[i]);
        if (at == TRIE_ROOT) return -1;
    }
    return trie_value(t, at); // the root has none
}

int32_t trie_longest(const trie *t, bytes text, size_t *n) {
    int32_t best = -1;
    uint32_t at = TRIE_ROOT;
    for (size_t i = 0; i < text.n; i++) {
        at = trie_next(t, at, text.p[i]);
        if (at == TRIE_ROOT) break;
        if (trie_value(t, at) < 0) continue;
        best = trie_value(t, at);
        *n = i + 1;
    }
    return best;
}
