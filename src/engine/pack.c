// pack.c - see pack.h.
#include "engine/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compute/ops.h"
#include "format/gguf.h"

#define PACKING "panels16-arithmetic2"
#define VOCABULARY "tokenizer.vocab"

// --- names

#define PACK_NAME_MAX 256

// The name in the file. False when it stays over GGUF's maximum.
static bool short_name(char out[PACK_NAME_MAX], const char *name) {
    static const char *const rules[][2] = {{"decoder.model.decoder.", "lm."},
                                           {"text_encoder.encoder.", "t5."},
                                           {"audio_encoder.", "codec."},
                                           {".parametrizations.weight.original", ".weight_norm"},
                                           {"relative_attention_bias", "rel_bias"},
                                           {"time_positional_embedding", "seconds"}};
    size_t n = 0;
    while (*name) {
        const char *with = NULL;
        for (size_t i = 0; i < ARRAY_LEN(rules) && !with; i++) {
            size_t len = strlen(rules[i][0]);
            if (strncmp(name, rules[i][0], len) != 0) continue;
            with = rules[i][1];
            name += len;
        }
        if (!with && n < PACK_NAME_MAX - 1)
            out[n++] = *name++;
        else if (!with)
            break;
        for (; with && *with && n < PACK_NAME_MAX - 1; with++) out[n++] = *with;
    }
    out[n] = 0;
    return !*name && n <= GGUF_NAME_MAX;
}

// --- packed matrices

static const struct {
    const char *name;
    dtype type;
} packings[] = {{"q8", DT_Q8},
                {"q4", DT_Q4},
                {"bf16x8", DT_BF16X8},
                {"c32", DT_CHAIN_F32},
                {"c16", DT_CHAIN_BF16}};

static const char *packing_name(dtype t) {
    for (size_t i = 0; i < ARRAY_LEN(packings); i++) {
        if (packings[i].type == t) return packings[i].name;
    }
    return NULL;
}

static dtype packing_of(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(packings); i++) {
        if (strcmp(packings[i].name, name) == 0) return packings[i].type;
    }
    return DT_OTHER;
}

static size_t packed_size(const tensor *t) {
    return weight_size(&(weight){.type = t->type, .rows = t->shape[0], .cols = t->shape[1]});
}

// --- reading

struct pack {
    gguf_file *file;
    tensor *view; // [count], sorted by name as in the file
    size_t count;
};

bool pack_is(const char *path) {
    return gguf_is(path);
}

static size_t index_of(const pack *p, const char *name) {
    size_t lo = 0, hi = p->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = strcmp(gguf_at(p->file, mid)->name, name);
        if (order == 0) return mid;
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return p->count;
}

// "NAME TYPE ROWS COLS" turns the plain bytes of a tensor into a packed matrix.
static status use_packed(void *arg, size_t i, bytes s, err *e) {
    pack *p = arg;
    char text[PACK_NAME_MAX], name[PACK_NAME_MAX], type[8];
    long long rows, cols;
    int end = 0;
    if (s.n >= sizeof text) return err_set(e, ERR_FORMAT, "stemforge.packed[%zu] is too long", i);
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    if (sscanf(text, "%255s %7s %lld %lld%n", name, type, &rows, &cols, &end) != 4 || text[end]) {
        return err_set(e, ERR_FORMAT,
                       "stemforge.packed[%zu]: expected NAME TYPE ROWS COLS, found \"%.60s\"", i,
                       text);
    }
    tensor t = {.type = packing_of(type), .dims = 2, .shape = {rows, cols}};
    size_t at = index_of(p, name);
    if (at == p->count || t.type == DT_OTHER) {
        return err_set(e, ERR_FORMAT, "stemforge.packed[%zu]: no tensor %.60s, or no type %s", i,
                       name, type);
    }
    const gguf_tensor *g = gguf_at(p->file, at);
    bool sane = rows > 0 && cols > 0 && rows < 1 << 24 && cols < 1 << 24;
    if (!sane || g->type != GGUF_I8 || packed_size(&t) != g->size) {
        return err_set(e, ERR_FORMAT,
                       "stemforge.packed[%zu]: %.60s has %zu bytes, not those of %s [%lld, %lld]",
                       i, name, g->size, type, rows, cols);
    }
    t.data = g->data;
    p->view[at] = t;
    return OK;
}

static status check_packing(const pack *p, err *e) {
    bytes how;
    status rc = gguf_get_str(p->file, "stemforge.packing", &how, e);
    if (rc) return rc;
    if (how.n == strlen(PACKING) && memcmp(how.p, PACKING, how.n) == 0) return OK;
    return err_set(e, ERR_FORMAT,
                   "stemforge.packing: expected %s, found \"%.*s\"; convert the model anew with "
                   "stemforge convert, or read files of panels16-v2 with stemforge %s",
                   PACKING, (int)MIN(how.n, (size_t)40), (const char *)how.p, ARITHMETIC_1_VERSION);
}

static status read_views(pack *p, err *e) {
    p->count = gguf_count(p->file);
    p->view = mem_calloc(p->count, sizeof *p->view);
    if (!p->view) return err_set(e, ERR_OOM, "no memory for %zu tensors", p->count);
    for (size_t i = 0; i < p->count; i++) {
        if (!gguf_as_tensor(&p->view[i], gguf_at(p->file, i))) p->view[i].type = DT_OTHER;
    }
    status rc = check_packing(p, e);
    if (!rc) rc = gguf_each_str(p->file, "stemforge.packed", use_packed, p, e);
    return rc == ERR_NOT_FOUND ? OK : rc; // a file without packed matrices is fine
}

bool pack_is_of(const pack *p, const char *family) {
    bytes name = {0};
    (void)!gguf_get_str(p->file, "general.architecture", &name, NULL);
    return name.n == strlen(family) && !memcmp(name.p, family, name.n);
}

static status check_architecture(const pack *p, err *e) {
    static const char *const known[] = {"musicgen", "stable_audio"}; // keys of families
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (pack_is_of(p, known[i])) return OK;
    bytes name = bytes_of("of no architecture");
    (void)!gguf_get_str(p->file, "general.architecture", &name, NULL);
    return err_set(e, ERR_FORMAT,
                   "general.architecture: expected \"%s\" or \"%s\" (a file that stemforge convert "
                   "made), found \"%.*s\", another program's model",
                   known[0], known[1], (int)MIN(name.n, (size_t)40), (const char *)name.p);
}

status pack_open(pack **out, const char *path, err *e) {
    *out = NULL;
    pack *p = mem_calloc(1, sizeof *p);
    if (!p) return err_set(e, ERR_OOM, "no memory for a model file");
    status rc = gguf_open(&p->file, path, e);
    if (!rc) {
        rc = check_architecture(p, e);
        if (!rc) rc = read_views(p, e);
        if (rc) err_within(e, rc, "%s", path);
    }
    if (rc)
        pack_close(p);
    else
        *out = p;
    return rc;
}

void pack_close(pack *p) {
    if (!p) return;
    gguf_close(p->file);
    mem_free(p->view);
    mem_free(p);
}

const tensor *pack_find(const pack *p, const char *name) {
    char shorter[PACK_NAME_MAX];
    if (!short_name(shorter, name)) return NULL;
    size_t i = index_of(p, shorter);
    return i < p->count ? &p->view[i] : NULL;
}

void pack_forget(const pack *p, const char *prefix) {
    char shorter[PACK_NAME_MAX];
    if (short_name(shorter, prefix)) gguf_forget(p->file, shorter);
}

void pack_forget_tensor(const pack *p, const tensor *t) {
    gguf_forget_data(p->file, (bytes){t->data, packed_size(t)});
}

status pack_check(const pack *p, const char *path, err *e) {
    return gguf_check(p->file, path, e);
}

bytes pack_document(const pack *p, const char *name) {
    char key[64];
    bytes text = {0};
    snprintf(key, sizeof key, "stemforge.%s", name);
    return gguf_get_str(p->file, key, &text, NULL) == OK ? text : (bytes){0};
}

bytes pack_vocabulary(const pack *p) {
    const gguf_tensor *t = gguf_find(p->file, VOCABULARY);
    return t ? (bytes){t->data, t->size} : (bytes){0};
}

bytes pack_model_name(const pack *p) {
    bytes text = {0};
    return gguf_get_str(p->file, "general.name", &text, NULL) == OK ? text : (bytes){0};
}

weights_type pack_weights(const pack *p) {
    bytes text;
    if (gguf_get_str(p->file, "stemforge.weights", &text, NULL)) return WEIGHTS_AS_STORED;
    for (int t = WEIGHTS_F32; t <= WEIGHTS_Q4; t++) {
        const char *name = weights_type_name((weights_type)t);
        if (text.n == strlen(name) && memcmp(text.p, name, text.n) == 0) return (weights_type)t;
    }
    return WEIGHTS_AS_STORED;
}

// --- writing

static status add_bytes(gguf_writer *w, const char *name, bytes b, err *e) {
    return gguf_add(
        w,
        &(gguf_tensor){
            .name = name, .type = GGUF_I8, .dims = 1, .shape = {(int64_t)b.n}, .data = b.p},
        e);
}

static status add_tensor(gguf_writer *w, const pack_entry *en, err *e) {
    char name[PACK_NAME_MAX];
    gguf_tensor g = {.name = name, .data = en->t.data};
    if (!short_name(name, en->name))
        return err_set(e, ERR_FORMAT, "%s: the name is too long for GGUF", en->name);
    if (packing_name(en->t.type))
        return add_bytes(w, name, (bytes){en->t.data, packed_size(&en->t)}, e);
    if (!gguf_type_of(&g.type, en->t.type) || en->t.dims > GGUF_DIMS_MAX) {
        return err_set(e, ERR_FORMAT, "%s: %s does not go into GGUF", en->name,
                       dtype_name(en->t.type));
    }
    g.dims = MAX(en->t.dims, 1);
    for (int i = 0; i < g.dims; i++) g.shape[i] = en->t.dims ? en->t.shape[i] : 1;
    return gguf_add(w, &g, e);
}

static status put_packed(gguf_writer *w, const pack_contents *c, err *e) {
    char(*text)[PACK_NAME_MAX] = mem_calloc(c->count + 1, sizeof *text);
    bytes *list = mem_calloc(c->count + 1, sizeof *list);
    size_t n = 0;
    status rc = text && list ? OK : err_set(e, ERR_OOM, "no memory for %zu names", c->count);
    for (size_t i = 0; !rc && i < c->count; i++) {
        const tensor *t = &c->list[i].t;
        char name[PACK_NAME_MAX];
        const char *type = packing_name(t->type);
        if (!type || !short_name(name, c->list[i].name)) continue;
        snprintf(text[n], sizeof text[n], "%.100s %s %lld %lld", name, type, (long long)t->shape[0],
                 (long long)t->shape[1]);
        list[n] = bytes_of(text[n]);
        n++;
    }
    if (!rc && n) rc = gguf_put_strs(w, "stemforge.packed", list, n, e);
    mem_free(text);
    mem_free(list);
    return rc;
}

static status put_texts(gguf_writer *w, const pack_contents *c, err *e) {
    const struct {
        const char *key;
        bytes text;
    } texts[] = {
        {"general.architecture", bytes_of(c->family)},
        {"general.name", bytes_of(c->model)},
        {"general.license", bytes_of(c->license)},
        {"stemforge.version", bytes_of(STEMFORGE_VERSION)},
        {"stemforge.digest", bytes_of(c->digest)},
        {"stemforge.weights", bytes_of(c->weights)},
        {"stemforge.packing", bytes_of(PACKING)},
    };
    status rc = OK;
    for (size_t i = 0; !rc && i < ARRAY_LEN(texts); i++) {
        if (texts[i].text.n) rc = gguf_put_str(w, texts[i].key, texts[i].text, e);
    }
    for (size_t i = 0; !rc && i < c->text_count; i++) {
        char key[64];
        snprintf(key, sizeof key, "stemforge.%s", c->texts[i].name);
        rc = gguf_put_str(w, key, c->texts[i].text, e);
    }
    return rc;
}

status pack_write(const char *path, const pack_contents *c, err *e) {
    gguf_writer *w;
    status rc = gguf_writer_open(&w, e);
    if (rc) return rc;
    rc = put_texts(w, c, e);
    if (!rc) rc = put_packed(w, c, e);
    if (!rc && c->vocabulary.n) rc = add_bytes(w, VOCABULARY, c->vocabulary, e);
    for (size_t i = 0; !rc && i < c->count; i++) rc = add_tensor(w, &c->list[i], e);
    if (!rc) rc = gguf_write(w, path, NULL, NULL, e);
    gguf_writer_close(w);
    return rc;
}
