// model.c - see model.h.
#include "engine/stableaudio/model.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

// --- binding

typedef status (*bind_part)(sa_model *m, weights *w, const json *config, err *e);

static status bind_text(sa_model *m, weights *w, const json *config, err *e) {
    return t5_open(&m->text, w, config, "", &m->own, e);
}

static status bind_condition(sa_model *m, weights *w, const json *config, err *e) {
    return sa_condition_open(&m->condition, w, config, e);
}

static status bind_net(sa_model *m, weights *w, const json *config, err *e) {
    return dit_open(&m->net, w, config, &m->own, e);
}

static status bind_codec(sa_model *m, weights *w, const json *config, err *e) {
    return oobleck_open(&m->codec, w, config, &m->own, e);
}

static status bind_all(sa_model *m, weights_type type, compute *c, err *e) {
    weights_type kept = MAX(type, checkpoint_packed_type(m->files.of));
    weights_type once = m->once = kept >= WEIGHTS_BF16 ? WEIGHTS_BF16 : WEIGHTS_AS_STORED;
    struct {
        const char *folder;
        sa_part *part;
        bind_part bind;
        weights_type type;
    } list[] = {
        {"text_encoder", &m->files.text_encoder, bind_text, once},
        {"projection_model", &m->files.projection, bind_condition, WEIGHTS_AS_STORED},
        {"transformer", &m->files.transformer, bind_net, type},
        {"vae", &m->files.vae, bind_codec, once},
    };
    status rc = OK;
    _Static_assert(ARRAY_LEN(list) == ARRAY_LEN(((sa_model *)0)->kept), "one list a network");
    for (size_t i = 0; i < ARRAY_LEN(list) && !rc; i++) {
        weights w = checkpoint_part_weights(&list[i].part->tensors, &m->own, c);
        w.type = list[i].type;
        rc = list[i].bind(m, &w, list[i].part->config, e);
        if (!rc) rc = weights_finish(&w, e);
        if (rc) err_within(e, rc, "%s", list[i].folder);
        m->kept[i] = w.kept;
        m->values += w.values;
        m->size += w.bytes;
    }
    return rc;
}

static status bind_encoder(sa_model *m, compute *c, err *e) {
    oobleck_encoder *made;
    weights w = checkpoint_part_weights(&m->files.vae.tensors, &m->encoder_own, c);
    w.type = m->once;
    status rc = oobleck_encoder_open(&made, &w, oobleck_get_config(m->codec), &m->encoder_own, e);
    if (!rc) rc = weights_finish(&w, e);
    if (!rc) rc = weights_check_values(w.kept, c, e);
    if (rc) {
        err_within(e, rc, "the codec's encoder");
        arena_deinit(&m->encoder_own);
        m->encoder_own = (arena){0};
    } else {
        m->encoder = made;
    }
    return rc;
}

// --- documents

static status expect(const char *key, int64_t want, int64_t found, err *e) {
    if (want == found) return OK;
    return err_set(e, ERR_FORMAT, "%s: expected %lld, found %lld", key, (long long)want,
                   (long long)found);
}

// Whether the networks fit together.
static status check_shapes(const sa_model *m, err *e) {
    const dit_config *net = dit_get_config(m->net);
    const t5_config *text = t5_get_config(m->text);
    const sa_condition *k = &m->condition;
    status rc = expect("projection_model: text_encoder_dim", text->d_model, k->text_dim, e);
    if (!rc) rc = expect("transformer: cross_attention_input_dim", k->dim, net->context, e);
    if (!rc)
        rc = expect("transformer: global_states_input_dim", sa_condition_rows(k) * k->dim,
                    net->global, e);
    if (!rc)
        rc = expect("vae: decoder_input_channels", net->channels,
                    oobleck_get_config(m->codec)->latent, e);
    if (rc || tok_vocab_size(m->files.tokenizer) <= text->vocab) return rc;
    return err_set(e, ERR_FORMAT, "tokenizer.json has %d ids, the text encoder knows %lld",
                   tok_vocab_size(m->files.tokenizer), (long long)text->vocab);
}

// Nothing in its files tells a model that was taught loops from others: its name does.
#define FOUNDATION "foundation"

static bool is_foundation(const char *name) {
    for (; *name; name++)
        if (strncasecmp(name, FOUNDATION, strlen(FOUNDATION)) == 0) return true;
    return false;
}

// As its own program runs it.
static void as_foundation(sa_model *m) {
    m->loops = true;
    if (!m->files.original) return;
    m->schedule.steps = 75;
    m->schedule.sigma_min = 0.03;
}

// Else the first given sound binds the encoder. A model may have none that fits: then the record
// has none.
static void record_encoder(sa_model *m, checkpoint_record *r, compute *c) {
    size_t before = r->count;
    if (bind_encoder(m, c, NULL)) r->count = before;
}

static status open_parts(sa_model *m, const checkpoint *files, weights_type type, compute *c,
                         err *e) {
    status rc = checkpoint_check_packed(files, type, e);
    if (!rc) rc = sa_files_open(&m->files, files, e);
    if (!rc) rc = bind_all(m, type, c, e);
    if (!rc && files->record) record_encoder(m, files->record, c);
    if (rc) return rc;
    m->schedule = m->files.schedule;
    m->tokens = m->files.tokens;
    if (is_foundation(files->name)) as_foundation(m);
    return check_shapes(m, e);
}

status sa_model_open(sa_model *out, const checkpoint *files, weights_type type, compute *c,
                     err *e) {
    *out = (sa_model){0};
    status rc = open_parts(out, files, type, c, e);
    return rc ? err_within(e, rc, "%.200s", files->path) : OK;
}

void sa_model_close(sa_model *m) {
    arena_deinit(&m->own);
    arena_deinit(&m->encoder_own);
    sa_files_close(&m->files);
    *m = (sa_model){0};
}

double sa_model_seconds(const sa_model *m) {
    int64_t samples = oobleck_samples(m->codec, dit_get_config(m->net)->frames);
    return (double)samples / (double)oobleck_get_config(m->codec)->sample_rate;
}

int64_t sa_model_rows(const sa_model *m) {
    return m->tokens + sa_condition_rows(&m->condition);
}

// --- conditions

status sa_model_tokens(const sa_model *m, const char *text, tok_ids *ids, size_t *cut, err *e) {
    status rc = tok_encode(m->files.tokenizer, bytes_of(text), ids, e);
    if (rc) return rc;
    size_t most = (size_t)m->tokens;
    *cut = ids->cut;
    if (ids->count > most) {
        *cut += ids->count - most;
        ids->ids[ids->first + most - 1] = ids->ids[ids->first + ids->count - 1];
        ids->count = most;
    }
    return ids->count ? OK : err_field(e, "prompt", "expected at least 1 token, found 0");
}

status sa_model_rows_of(const sa_model *m, compute *c, const sa_text *t, float *rows, float *global,
                        err *e) {
    const sa_condition *k = &m->condition;
    arena work = {0};
    float *text = arena_f32(&work, (size_t)t->n, (size_t)k->text_dim);
    status rc = text ? OK : err_set(e, ERR_OOM, "no memory for the conditions of a stem");
    if (!rc) rc = t5_encode(m->text, c, text, t->ids, t->n, &work, e);
    const sa_condition_args a = {.text = text,
                                 .n = t->n,
                                 .tokens = m->tokens,
                                 .start = t->start,
                                 .end = k->with_start ? t->end : t->end - t->start,
                                 .rows = rows,
                                 .global = global};
    if (!rc) rc = sa_condition_run(k, c, &a, e);
    arena_deinit(&work);
    return rc;
}

status sa_model_condition(const sa_model *m, compute *c, const sa_text *t, dit_context **context,
                          float *global, err *e) {
    int64_t n = sa_model_rows(m);
    float *rows = mem_alloc((size_t)(n * m->condition.dim) * sizeof *rows);
    status rc = rows ? OK : err_set(e, ERR_OOM, "no memory for the conditions of a stem");
    if (!rc) rc = sa_model_rows_of(m, c, t, rows, global, e);
    if (!rc) rc = dit_context_create(context, m->net, c, rows, n, e);
    mem_free(rows);
    return rc;
}

void sa_model_rest_text(const sa_model *m) {
    checkpoint_rest(m->files.of, "text_encoder.encoder.");
}

void sa_model_rest_codec(const sa_model *m) {
    checkpoint_rest(m->files.of, "vae.");
}

// --- given sounds

status sa_model_encode(sa_model *m, compute *c, const oobleck_encode_args *a, err *e) {
    status rc = m->encoder ? OK : bind_encoder(m, c, e);
    return rc ? rc : oobleck_encode(m->encoder, c, a, e);
}
