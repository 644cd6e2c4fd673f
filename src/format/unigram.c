// unigram.c - see unigram.h.
#include "format/unigram.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "format/trie.h"

#define UNK_PENALTY 10.0

struct unigram {
    trie *pieces;
    const double *scores; // [count]
    double *own_scores;   // scores, unless they lie in a file
    size_t count;
    double unk_score;
    int32_t unk_id;     // -1: none
    bool byte_fallback; // spell unknown text as <0xXX> pieces: all 256 exist
    int32_t byte_ids[256];
};

// ---- pieces, from JSON or packed

static status piece_read(unigram *u, trie_entry *x, const json *pair, size_t piece_max, err *e) {
    const json *piece = json_at(pair, 0), *score = json_at(pair, 1);
    if (json_len(pair) != 2 || !json_is_str(piece) || !json_is_num(score)) {
        return err_set(e, ERR_FORMAT, "model.vocab[%zu]: expected [piece, score]", u->count);
    }
    *x = (trie_entry){{(const uint8_t *)json_str_value(piece), json_str_len(piece)},
                      (int32_t)u->count};
    if (x->key.n > piece_max) {
        return err_set(e, ERR_FORMAT, "model.vocab[%zu]: piece of %zu bytes, expected at most %zu",
                       u->count, x->key.n, piece_max);
    }
    u->own_scores[u->count++] = json_num_value(score);
    return OK;
}

static status vocab_read(unigram *u, const json *vocab, size_t piece_max, err *e) {
    size_t n = json_len(vocab);
    if (n == 0 || n > UNIGRAM_PIECES_MAX) {
        return err_set(e, ERR_FORMAT, "model.vocab: %zu pieces, expected 1 to %d", n,
                       UNIGRAM_PIECES_MAX);
    }
    trie_entry *list = mem_calloc(n, sizeof *list);
    u->scores = u->own_scores = mem_calloc(n, sizeof *u->scores);
    status rc = list && u->scores ? OK : err_set(e, ERR_OOM, "no memory for %zu pieces", n);
    for (size_t i = 0; !rc && i < n; i++)
        rc = piece_read(u, &list[i], json_at(vocab, i), piece_max, e);
    if (!rc) rc = trie_create(&u->pieces, list, n, e);
    mem_free(list);
    return rc;
}

#define PACKED_MAGIC "SFVOCAB1"

typedef struct {
    char magic[8];
    uint32_t pieces, trie_size;
} packed_head;

static status vocab_map(unigram *u, bytes vocab, size_t piece_max, err *e) {
    packed_head h;
    bool good = vocab.n >= sizeof h && (uintptr_t)vocab.p % 8 == 0;
    if (good) memcpy(&h, vocab.p, sizeof h);
    good = good && memcmp(h.magic, PACKED_MAGIC, sizeof h.magic) == 0;
    if (!good) return err_set(e, ERR_FORMAT, "the packed vocabulary does not begin as one");
    size_t scores = h.pieces * sizeof *u->scores;
    if (h.pieces == 0 || h.pieces > UNIGRAM_PIECES_MAX || vocab.n - sizeof h < h.trie_size ||
        vocab.n - sizeof h - h.trie_size != scores) {
        return err_set(e, ERR_FORMAT, "the packed vocabulary has %zu bytes for %u pieces", vocab.n,
                       h.pieces);
    }
    u->count = h.pieces;
    u->scores = (const double *)(const void *)(vocab.p + sizeof h);
    for (size_t i = 0; i < u->count; i++) {
        if (!isfinite(u->scores[i]))
            return err_set(e, ERR_FORMAT, "score %zu of the packed vocabulary is not finite", i);
    }
    const bytes image = {vocab.p + sizeof h + scores, h.trie_size};
    return trie_open(&u->pieces, image, piece_max, (int32_t)u->count, e);
}

void unigram_pack(const unigram *u, buf *out) {
    const bytes image = trie_image(u->pieces);
    packed_head h = {.pieces = (uint32_t)u->count, .trie_size = (uint32_t)image.n};
    memcpy(h.magic, PACKED_MAGIC, sizeof h.magic);
    buf_add(out, &h, sizeof h);
    buf_add(out, u->scores, u->count * sizeof *u->scores);
    buf_add(out, image.p, image.n);
}

// ---- the model

// Hugging Face falls back only where every byte of the text has its piece. Files have all or none.
static void bytes_read(unigram *u) {
    for (int i = 0; u->byte_fallback && i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i & 255);
        u->byte_ids[i] = trie_find(u->pieces, bytes_of(name));
        u->byte_fallback = u->byte_ids[i] >= 0;
    }
}

static status pieces_read(unigram *u, const json *model, bytes vocab, size_t piece_max, err *e) {
    if (vocab.n) return vocab_map(u, vocab, piece_max, e);
    const json *list;
    status rc = json_get_array(model, "vocab", &list, e);
    return rc ? rc : vocab_read(u, list, piece_max, e);
}

static status model_read(unigram *u, const json *model, bytes vocab, size_t piece_max, err *e) {
    const char *type = "Unigram"; // older files leave it out
    int64_t unk = -1;
    status rc = json_opt_str(model, "type", &type, e);
    if (!rc && strcmp(type, "Unigram") != 0) {
        rc = err_set(e, ERR_FORMAT, "model.type: expected Unigram, found %s", type);
    }
    if (!rc) rc = pieces_read(u, model, vocab, piece_max, e);
    if (!rc) rc = json_opt_int(model, "unk_id", 0, (int64_t)u->count - 1, &unk, e);
    if (!rc) rc = json_opt_bool(model, "byte_fallback", &u->byte_fallback, e);
    if (rc) return rc;
    u->unk_id = (int32_t)unk;
    double least = INFINITY;
    for (size_t i = 0; i < u->count; i++) least = MIN(least, u->scores[i]);
    u->unk_score = least - UNK_PENALTY;
    bytes_read(u);
    return OK;
}

status unigram_create(unigram **out, const json *model, bytes vocab, size_t piece_max, err *e) {
    *out = NULL;
    unigram *u = mem_calloc(1, sizeof *u);
    if (!u) return err_set(e, ERR_OOM, "no memory for a tokenizer model");
    status rc = model_read(u, model, vocab, piece_max, e);
    if (rc) {
        unigram_free(u);
        return rc;
    }
    *out = u;
    return OK;
}

void unigram_free(unigram *u) {
    if (!u) return;
    trie_free(u->pieces);
    mem_free(u->own_scores);
    mem_free(u);
}

int32_t unigram_size(const unigram *u) {
    return (int32_t)u->count;
}

int32_t unigram_find(const unigram *u, bytes piece) {
    return trie_find(u->pieces, piece);
}

static void offer(unigram_node *to, double score, size_t start, int32_t id) {
    if (to->id >= 0 && !(score > to->score)) return;
    *to = (unigram_node){score, (uint32_t)start, id};
}

// Fills nodes[1 .. text.n] with the best path to each character boundary.
static status best_paths(const unigram *u, bytes text, unigram_node *nodes, err *e) {
    for (size_t i = 0; i <= text.n; i++) nodes[i] = (unigram_node){.id = -1};
    size_t len = 1;
    for (size_t start = 0; start < text.n; start += len) {
        uint32_t cp, at = TRIE_ROOT;
        double so_far = nodes[start].score;
        bool single = false; // a piece covers exactly the first character
        len = MAX(utf8_next(&cp, text.p + start, text.n - start), 1);
        for (size_t i = start; i < text.n; i++) {
            at = trie_next(u->pieces, at, text.p[i]);
            if (at == TRIE_ROOT) break;
            int32_t id = trie_value(u->pieces, at);
            if (id < 0) continue;
            offer(&nodes[i + 1], u->scores[id] + so_far, start, id);
            single |= i + 1 == start + len;
        }
        if (single) continue;
        if (u->unk_id < 0) {
            return err_set(e, ERR_FORMAT, "U+%04X is in no piece and the model has no unk_id", cp);
        }
        offer(&nodes[start + len], u->unk_score + so_far, start, u->unk_id);
    }
    return OK;
}

// The text [start, end) that no piece covers: one unknown id, or its bytes spelt out. Written
// backwards, like the path that is followed from its end.
static void unknown_emit(const unigram *u, bytes text, size_t start, size_t end, int32_t *ids,
                         size_t *n) {
    // A run of unknown characters may spell a piece (the unknown piece itself does).
    int32_t id = trie_find(u->pieces, (bytes){text.p + start, end - start});
    if (id < 0 && u->byte_fallback) {
        for (size_t i = end; i-- > start;) ids[(*n)++] = u->byte_ids[text.p[i]];
        return;
    }
    ids[(*n)++] = id < 0 ? u->unk_id : id;
}

status unigram_encode(const unigram *u, bytes text, unigram_node *nodes, int32_t *ids, size_t *n,
                      err *e) {
    status rc = best_paths(u, text, nodes, e);
    if (rc) return rc;
    size_t from = *n, end = text.n;
    while (end > 0) {
        size_t start = nodes[end].start;
        if (nodes[end].id != u->unk_id) {
            ids[(*n)++] = nodes[end].id;
            end = start;
            continue;
        }
        while (start > 0 && nodes[start].id == u->unk_id) start = nodes[start].start;
        unknown_emit(u, text, start, end, ids, n);
        end = start;
    }
    for (size_t a = from, b = *n; a + 1 < b; a++) { // the path was followed backwards
        int32_t t = ids[a];
        ids[a] = ids[--b];
        ids[b] = t;
    }
    return OK;
}
