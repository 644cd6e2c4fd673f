// packing.c - see packing.h.
#include "engine/packing.h"

#include <assert.h>

#include "base/os.h"

#define DOCUMENT_MAX ((size_t)64 << 20)

static buf *begin(packing *p) {
    assert(p->n < PACK_TEXTS_MAX); // families are ours
    buf_init(&p->text[p->n], DOCUMENT_MAX);
    return &p->text[p->n];
}

// The text that was begun is whole.
static status keep(packing *p, const char *name, err *e) {
    status rc = buf_status(&p->text[p->n], e);
    if (rc) {
        buf_deinit(&p->text[p->n]);
        return err_within(e, rc, "%s", name);
    }
    p->list[p->n] = (pack_text){name, buf_bytes(&p->text[p->n])};
    p->n++;
    return OK;
}

static status map_document(os_file_map *out, const char *path, err *e) {
    status rc = os_map_open(out, path, e);
    if (rc || out->data.n <= DOCUMENT_MAX) return rc;
    os_map_close(out);
    return err_set(e, ERR_LIMIT, "%s: expected at most %zu bytes, found more", path, DOCUMENT_MAX);
}

status packing_add_file(packing *p, const char *name, const char *dir, const char *file,
                        bool required, err *e) {
    char path[OS_PATH_MAX];
    os_file_map map;
    status rc = os_path_join(path, sizeof path, dir, file, e);
    if (rc || (!required && !os_exists(path))) return rc;
    rc = map_document(&map, path, e);
    if (rc) return rc;
    buf_add(begin(p), map.data.p, map.data.n);
    os_map_close(&map);
    return keep(p, name, e);
}

status packing_add_json(packing *p, const char *name, const json *j, err *e) {
    buf *to = begin(p);
    status rc = json_write(to, j, JSON_TIGHT, e);
    if (rc) buf_deinit(to);
    return rc ? rc : keep(p, name, e);
}

status packing_add_tokenizer(packing *p, const tokenizer *t, const char *path, err *e) {
    os_file_map map;
    status rc = map_document(&map, path, e);
    if (rc) return rc;
    buf *to = begin(p);
    buf_init(&p->vocabulary, DOCUMENT_MAX);
    rc = tok_pack(t, map.data, to, &p->vocabulary, e);
    os_map_close(&map);
    if (!rc) rc = buf_status(&p->vocabulary, e);
    if (rc) buf_deinit(to);
    return rc ? rc : keep(p, "tokenizer", e);
}

void packing_deinit(packing *p) {
    for (size_t i = 0; i < p->n; i++) buf_deinit(&p->text[i]);
    buf_deinit(&p->vocabulary);
    *p = (packing){0};
}
