// weights.c - see weights.h.
#include "model/weights.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "compute/bf16x8.h"
#include "compute/chain.h"
#include "compute/quant.h"
#include "model/finite.h"

#define NAME_MAX_LEN 256

const char *weights_type_name(weights_type t) {
    static const char *const names[] = {[WEIGHTS_AS_STORED] = "stored",
                                        [WEIGHTS_F32] = "f32",
                                        [WEIGHTS_BF16] = "bf16",
                                        [WEIGHTS_Q8] = "q8",
                                        [WEIGHTS_Q4] = "q4"};
    return names[t];
}

static const tensor *find_in_st(const void *file, const char *name) {
    return st_find(file, name);
}

static void forget_in_st(const void *file, const tensor *t) {
    st_forget(file, t);
}

weights_source weights_from_st(const st_file *f) {
    return (weights_source){.find = find_in_st, .file = f, .forget = forget_in_st};
}

void weights_init(weights *w, weights_source from, arena *own, weights_type type) {
    *w = (weights){.from = from, .own = own, .type = type};
}

static void problem(weights *w, const char *text) {
    log_error("weights", "%s", text);
    w->problems++;
    size_t used = strlen(w->text), n = strlen(text);
    if (w->text_full || used + n + 2 >= sizeof w->text) {
        w->text_full = true;
        return;
    }
    snprintf(w->text + used, sizeof w->text - used, "%s%s", used ? "; " : "", text);
}

void weights_problem(weights *w, const char *fmt, ...) {
    char text[2 * NAME_MAX_LEN];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    problem(w, text);
}

void weights_bound(const weights *w, const weight *m, const char *name_fmt, ...) {
    char name[NAME_MAX_LEN];
    va_list ap;
    va_start(ap, name_fmt);
    vsnprintf(name, sizeof name, name_fmt, ap);
    va_end(ap);
    if (w->bound) w->bound(w->bound_arg, name, m);
}

void weights_count(weights *w, int64_t values, size_t bytes_kept) {
    w->values += values;
    w->bytes += bytes_kept;
}

const tensor *weights_find(const weights *w, const char *name_fmt, ...) {
    char name[NAME_MAX_LEN];
    va_list ap;
    va_start(ap, name_fmt);
    vsnprintf(name, sizeof name, name_fmt, ap);
    va_end(ap);
    return w->from.find(w->from.file, name);
}

static weights_kept *keep_name(weights *w, const char *name) {
    weights_kept *k = arena_alloc(w->own, sizeof *k);
    char *copy = arena_strdup(w->own, name);
    if (!k || !copy) return NULL;
    *k = (weights_kept){.next = w->kept, .name = copy};
    w->kept = k;
    return k;
}

static void keep(weights *w, const weight *m, const char *name) {
    weights_kept *k = keep_name(w, name);
    if (k) k->m = *m;
}

// A tensor that is read row by row is told once.
static void broken(weights *w, const char *name) {
    if (w->kept && w->kept->broken && strcmp(w->kept->name, name) == 0) return;
    log_error("weights", "%s holds a value that is not a finite number", name);
    weights_kept *k = keep_name(w, name);
    if (k) k->broken = true;
}

void weights_keep(weights *w, const weight *m, const char *name_fmt, ...) {
    char name[NAME_MAX_LEN];
    va_list ap;
    va_start(ap, name_fmt);
    vsnprintf(name, sizeof name, name_fmt, ap);
    va_end(ap);
    keep(w, m, name);
}

void weights_broken(weights *w, const char *name_fmt, ...) {
    char name[NAME_MAX_LEN];
    va_list ap;
    va_start(ap, name_fmt);
    vsnprintf(name, sizeof name, name_fmt, ap);
    va_end(ap);
    broken(w, name);
}

status weights_check_values(const weights_kept *kept, compute *c, err *e) {
    const weights_kept *first = NULL; // as bound: the list has the last in front
    for (const weights_kept *k = kept; k; k = k->next) {
        if (k->broken || !finite_weight(&k->m, weight_size(&k->m), c)) first = k;
    }
    if (!first) return OK;
    return err_set(e, ERR_FORMAT,
                   "weights: expected finite numbers, %s holds one that is not; fetch the model "
                   "again or ask its makers",
                   first->name);
}

static bool is_real(dtype t) {
    return t == DT_F32 || t == DT_BF16 || t == DT_F16;
}

// The packed types that op_linear takes.
static bool is_packed(dtype t) {
    return quant_is(t) || t == DT_BF16X8;
}

static int spec_dims(const weight_spec *s) {
    int dims = 0;
    while (dims < WEIGHT_DIMS_MAX && s->shape[dims] != 0) dims++;
    return dims;
}

static bool shape_fits(const weight_spec *s, const tensor *t) {
    if (t->dims != spec_dims(s)) return false;
    for (int i = 0; i < t->dims; i++) {
        if (t->shape[i] < 1) return false;
        if (s->shape[i] != DIM_ANY && s->shape[i] != t->shape[i]) return false;
    }
    return true;
}

// Finds the first of the names in s->name that the file has, below prefix. full gets that name, or
// the first one when the file has none.
static const tensor *find_any(const weights *w, const weight_spec *s, const char *prefix,
                              char full[NAME_MAX_LEN]) {
    const tensor *t = NULL;
    for (const char *p = s->name; p && !t;) {
        int n = (int)strcspn(p, "|");
        char name[NAME_MAX_LEN];
        int len = snprintf(name, sizeof name, "%s%.*s", prefix, n, p);
        assert(len > 0 && len < NAME_MAX_LEN); // names and prefixes are ours
        t = w->from.find(w->from.file, name);
        if (t || p == s->name) memcpy(full, name, sizeof name);
        p = p[n] ? p + n + 1 : NULL;
    }
    return t;
}

// "[2, any]" into out.
static void shape_text(char *out, size_t cap, const weight_spec *s) {
    int n = snprintf(out, cap, "[");
    for (int i = 0; i < spec_dims(s) && n > 0 && (size_t)n < cap; i++) {
        char len[24];
        snprintf(len, sizeof len, "%lld", (long long)s->shape[i]);
        n += snprintf(out + n, cap - (size_t)n, "%s%s", i ? ", " : "",
                      s->shape[i] == DIM_ANY ? "any" : len);
    }
    if (n > 0 && (size_t)n < cap) snprintf(out + n, cap - (size_t)n, "]");
}

static void say_missing(weights *w, const weight_spec *s, const char *name) {
    char want[96];
    shape_text(want, sizeof want, s);
    const char *other = strchr(s->name, '|');
    weights_problem(w, "%s %s is missing%s%s", name, want, other ? ", and so is " : "",
                    other ? other + 1 : "");
}

static void say_wrong(weights *w, const weight_spec *s, const tensor *t, const char *name) {
    char want[96], have[96];
    shape_text(want, sizeof want, s);
    tensor_shape_text(have, sizeof have, t->shape, t->dims);
    weights_problem(w, "%s is %s %s, expected %s%s", name, dtype_name(t->type), have,
                    is_real(t->type) ? "" : "F32, F16 or BF16 ", want);
}

size_t weight_size(const weight *m) {
    size_t size = 0;
    switch (m->type) {
    case DT_Q8:
    case DT_Q4: return quant_size(m->type, m->rows, m->cols);
    case DT_BF16X8: return bf16x8_size(m->rows, m->cols);
    case DT_CHAIN_F32: return chain_size(&size, DT_F32, m->rows, m->cols) ? size : 0;
    case DT_CHAIN_BF16: return chain_size(&size, DT_BF16, m->rows, m->cols) ? size : 0;
    default: return (size_t)(m->rows * m->cols) * dtype_size(m->type);
    }
}

static void widen(float *to, const weight *m, int64_t from, int64_t end) {
    tensor t = {.type = m->type, .dims = 2, .shape = {m->rows, m->cols}, .data = m->data};
    tensor_read_f32(to + from * m->cols, &t, from * m->cols, (end - from) * m->cols);
}

// Rows that a conversion packs together: a multiple of every layout's panel.
#define CONVERT_ROWS 16

typedef struct {
    void *to;
    dtype type;
    const weight *from;
} convert_job;

static void convert_part(void *arg, int part, int parts) {
    const convert_job *j = arg;
    int64_t rows = j->from->rows, units = (rows + CONVERT_ROWS - 1) / CONVERT_ROWS;
    int64_t from = units * part / parts * CONVERT_ROWS;
    int64_t to = MIN(rows, units * (part + 1) / parts * CONVERT_ROWS);
    if (quant_is(j->type))
        quant_pack_panels(j->to, j->type, j->from, from / QUANT_ROWS, quant_panels(to));
    else if (j->type == DT_BF16X8)
        bf16x8_pack_rows(j->to, j->from, from, to);
    else
        widen(j->to, j->from, from, to);
}

bool weight_convert(weight *out, const weight *m, dtype to, arena *own, compute *c) {
    weight made = {.type = to, .rows = m->rows, .cols = m->cols};
    size_t size = weight_size(&made);
    void *p = size ? arena_alloc(own, size) : NULL;
    if (!p) return false;
    convert_job j = {p, to, m};
    if (c)
        op_parallel(c, 4 * compute_threads(c), convert_part, &j);
    else
        convert_part(&j, 0, 1);
    made.data = p;
    *out = made;
    return true;
}

// Smaller ones lie in caches, and a model of such is open in milliseconds.
#define COPY_MIN ((size_t)1 << 20)

typedef struct {
    uint8_t *to;
    const uint8_t *from;
    size_t size;
} copy_job;

static void copy_part(void *arg, int part, int parts) {
    const copy_job *j = arg;
    size_t from = j->size * (size_t)part / (size_t)parts;
    size_t to = j->size * (size_t)(part + 1) / (size_t)parts;
    memcpy(j->to + from, j->from + from, to - from);
}

static void copy_matrix(weights *w, weight *m) {
    copy_job j = {.from = m->data, .size = weight_size(m)};
    if (!w->copy || !w->c || j.size < COPY_MIN) return;
    j.to = arena_alloc(w->own, j.size);
    if (!j.to) return; // the arena says so in the end
    op_parallel(w->c, 4 * compute_threads(w->c), copy_part, &j);
    m->data = j.to;
}

static void bind_matrix(weights *w, const weight_spec *s, const tensor *t, const char *name,
                        unsigned kind) {
    static const dtype types[] = {[WEIGHTS_F32] = DT_F32,
                                  [WEIGHTS_BF16] = DT_BF16X8,
                                  [WEIGHTS_Q8] = DT_Q8,
                                  [WEIGHTS_Q4] = DT_Q4};
    weight m = {.type = t->type, .rows = t->shape[0], .cols = t->shape[1], .data = t->data};
    bool as_is = w->type == WEIGHTS_AS_STORED || is_packed(t->type);
    dtype want = as_is ? t->type : types[w->type];
    if (kind == BIND_MATRIX && want != t->type) {
        if (!finite_weight(&m, weight_size(&m), w->c)) broken(w, name);
        if (!weight_convert(&m, &m, want, w->own, w->c)) return;
        if (w->from.forget) w->from.forget(w->from.file, t);
    } else {
        if (kind == BIND_MATRIX) copy_matrix(w, &m);
        if (m.data != t->data && w->from.forget) w->from.forget(w->from.file, t);
        keep(w, &m, name);
    }
    weights_count(w, tensor_count(t), weight_size(&m));
    *(weight *)s->to = m;
    if (w->bound) w->bound(w->bound_arg, name, &m);
}

static void bind_vector(weights *w, const weight_spec *s, const tensor *t, const char *name) {
    float *v = arena_f32(w->own, 1, (size_t)t->shape[0]);
    if (!v) return;
    tensor_read_f32(v, t, 0, t->shape[0]);
    if (!finite_f32(v, t->shape[0])) broken(w, name);
    weights_count(w, t->shape[0], (size_t)t->shape[0] * sizeof *v);
    *(const float **)s->to = v;
}

static void bind_one(weights *w, const weight_spec *s, const char *prefix) {
    char name[NAME_MAX_LEN];
    const tensor *t = find_any(w, s, prefix, name);
    if (!t) {
        if (!(s->kind & BIND_OPTIONAL)) say_missing(w, s, name);
        return;
    }
    unsigned kind = s->kind & ~(unsigned)BIND_OPTIONAL;
    bool usable = is_real(t->type) || (kind == BIND_MATRIX && is_packed(t->type));
    if (!shape_fits(s, t) || !usable) {
        say_wrong(w, s, t, name);
        return;
    }
    switch (kind) {
    case BIND_MATRIX:
    case BIND_TABLE: bind_matrix(w, s, t, name, kind); break;
    case BIND_VECTOR: bind_vector(w, s, t, name); break;
    default:
        assert(kind == BIND_TENSOR);
        *(tensor *)s->to = *t;
        break;
    }
}

void weights_bind(weights *w, const weight_spec *spec, size_t n, const char *prefix_fmt, ...) {
    char prefix[NAME_MAX_LEN];
    va_list ap;
    va_start(ap, prefix_fmt);
    vsnprintf(prefix, sizeof prefix, prefix_fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < n; i++) bind_one(w, &spec[i], prefix);
}

status weights_finish(const weights *w, err *e) {
    if (w->problems) {
        return err_set(e, ERR_FORMAT, "%d tensor%s missing or wrong: %s%s", w->problems,
                       w->problems == 1 ? " is" : "s are", w->text,
                       w->text_full ? "; ... (the log names all)" : "");
    }
    if (w->own->failed) return err_set(e, ERR_OOM, "no memory for weights");
    return OK;
}
