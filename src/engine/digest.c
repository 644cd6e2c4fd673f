// digest.c - see digest.h.
#include "engine/digest.h"

#include <stdio.h>

#include "base/hash.h"

#define PIECE ((size_t)4 << 10) // bytes

static status add_values(hash_stream *h, const tensor *t, err *e) {
    const uint8_t *p = t->data;
    size_t size = (size_t)tensor_count(t) * dtype_size(t->type);
    if (size <= 3 * PIECE) return size ? hash_update(h, (bytes){p, size}, e) : OK;
    status rc = hash_update(h, (bytes){p, PIECE}, e);
    if (!rc) rc = hash_update(h, (bytes){p + (size - PIECE) / 2, PIECE}, e);
    return rc ? rc : hash_update(h, (bytes){p + size - PIECE, PIECE}, e);
}

static status add_tensor(hash_stream *h, const char *name, const tensor *t, err *e) {
    char shape[96], head[160];
    tensor_shape_text(shape, sizeof shape, t->shape, t->dims);
    snprintf(head, sizeof head, "\n%s %s ", dtype_name(t->type), shape);
    status rc = hash_update(h, bytes_of(head), e);
    if (!rc) rc = hash_update(h, bytes_of(name), e);
    return rc ? rc : add_values(h, t, e);
}

status digest_tensors(char out[DIGEST_TEXT], const st_file *const *sets, size_t n, err *e) {
    hash_stream *h;
    uint8_t sum[SHA256_LEN];
    status rc = hash_open(&h, e);
    if (rc) return rc;
    for (size_t s = 0; s < n && !rc; s++)
        for (size_t i = 0; i < st_count(sets[s]) && !rc; i++)
            rc = add_tensor(h, st_name_at(sets[s], i), st_at(sets[s], i), e);
    if (!rc) rc = hash_finish(h, sum, e);
    hash_close(h);
    if (!rc) hex_encode(out, sum, (DIGEST_TEXT - 1) / 2);
    return rc;
}
