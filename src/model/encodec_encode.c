// encodec_encode.c - samples to codes; see encodec.h.
#include <assert.h>
#include <string.h>

#include "model/encodec_weights.h"

// Frames that go through at a time. All of them share one reading of the last stages' weights, and
// the first stage's rows still fit the outer cache.
#define CHUNK_FRAMES 32

typedef struct {
    const encodec *k;
    arena own;
    sea_tail first, last;
    sea_tail down[ENCODEC_RATIOS_MAX];
    sea_tail *res[ENCODEC_RATIOS_MAX]; // [res_layers]
    float *h, *cell;                   // [lstm_layers, width]
    float *a, *b;                      // rows of one stage and of the next, each with headroom
    float *hidden, *work, *z;
    float *latent, *near; // [chunk rows, dim] what is left to quantise; the chosen vectors
    float *score;         // [chunk rows, codes]
    int32_t *ids;         // [chunk rows]
    int64_t frames;       // frames encoded so far
} encode_run;

typedef struct {
    size_t rows, hidden, work; // sizes in floats
} encode_sizes;

// Follows n samples through the layers and notes the largest buffers they need on the way. Returns
// the largest number of rows before the LSTM.
static int64_t measure(const encodec *k, int64_t n, encode_sizes *m) {
    const encodec_net *net = &k->encoder;
    m->work = MAX(m->work, sea_conv_work(&net->first, n));
    int64_t rows = sea_conv_rows_max(&net->first, n);
    for (int64_t i = 0; i < k->cfg.ratio_count; i++) {
        const encodec_stage *s = &net->stage[i];
        int64_t room = 0;
        for (int64_t r = 0; r < k->cfg.res_layers; r++) {
            const sea_conv *narrow = &s->res[r].narrow;
            room += sea_res_headroom(&s->res[r]);
            m->work = MAX(m->work, sea_conv_work(narrow, rows));
            rows = sea_conv_rows_max(narrow, rows);
            m->hidden = MAX(m->hidden, (size_t)(rows * narrow->out));
        }
        m->rows = MAX(m->rows, (size_t)((rows + room) * s->down.in));
        m->work = MAX(m->work, sea_conv_work(&s->down, rows));
        rows = sea_conv_rows_max(&s->down, rows);
    }
    m->rows = MAX(m->rows, (size_t)(rows * encodec_width(&k->cfg)));
    m->work = MAX(m->work, sea_conv_work(&net->last, rows));
    return rows;
}

static bool run_init_tails(encode_run *r) {
    const encodec *k = r->k;
    const encodec_net *net = &k->encoder;
    sea_conv_tail_init(&net->first, &r->first, &r->own);
    sea_conv_tail_init(&net->last, &r->last, &r->own);
    for (int64_t i = 0; i < k->cfg.ratio_count; i++) {
        const encodec_stage *s = &net->stage[i];
        sea_conv_tail_init(&s->down, &r->down[i], &r->own);
        r->res[i] = arena_alloc(&r->own, (size_t)k->cfg.res_layers * sizeof *r->res[i]);
        for (int64_t j = 0; r->res[i] && j < k->cfg.res_layers; j++) {
            sea_res_tail_init(&s->res[j], &r->res[i][j], &r->own);
        }
    }
    return !r->own.failed;
}

static bool run_init(encode_run *r, const encodec *k, int64_t chunk) {
    encode_sizes size = {0};
    *r = (encode_run){.k = k};
    arena_init(&r->own, 0);
    size_t rows = (size_t)measure(k, chunk, &size), width = (size_t)encodec_width(&k->cfg);
    size_t latents = (size_t)sea_conv_rows_max(&k->encoder.last, (int64_t)rows);
    r->h = arena_f32(&r->own, (size_t)k->cfg.lstm_layers, width);
    r->cell = arena_f32(&r->own, (size_t)k->cfg.lstm_layers, width);
    r->a = arena_f32(&r->own, 1, size.rows);
    r->b = arena_f32(&r->own, 1, size.rows);
    r->hidden = arena_f32(&r->own, 1, size.hidden);
    r->work = arena_f32(&r->own, 1, size.work);
    r->z = arena_f32(&r->own, rows, 4 * width);
    r->latent = arena_f32(&r->own, latents, (size_t)k->cfg.dim);
    r->near = arena_f32(&r->own, latents, (size_t)k->cfg.dim);
    r->score = arena_f32(&r->own, latents, (size_t)k->cfg.codes);
    r->ids = arena_alloc(&r->own, latents * sizeof *r->ids);
    return run_init_tails(r);
}

static float *above_headroom(const encodec *k, int64_t i, float *rows) {
    const encodec_stage *s = &k->encoder.stage[i];
    for (int64_t j = 0; i < k->cfg.ratio_count && j < k->cfg.res_layers; j++) {
        rows += sea_res_headroom(&s->res[j]) * s->down.in;
    }
    return rows;
}

// Sends n samples x through all stages. Returns the rows before the LSTM, *count of them, in r->a.
static float *push_stages(encode_run *r, compute *c, const float *x, int64_t n, bool last,
                          int64_t *count) {
    const encodec *k = r->k;
    const encodec_net *net = &k->encoder;
    float *rows = above_headroom(k, 0, r->a);
    sea_input in = {.x = x, .n = n, .last = last, .work = r->work};
    int64_t m = sea_conv_push(c, &net->first, &r->first, &in, rows);
    for (int64_t i = 0; i < k->cfg.ratio_count; i++) {
        const encodec_stage *s = &net->stage[i];
        for (int64_t j = 0; j < k->cfg.res_layers; j++) {
            sea_input step = {.x = rows, .n = m, .last = last, .elu = true, .work = r->work};
            m = sea_res_push(c, &s->res[j], &r->res[i][j], &step, rows, r->hidden, &rows);
        }
        sea_input step = {.x = rows, .n = m, .last = last, .elu = true, .work = r->work};
        float *next = above_headroom(k, i + 1, r->b);
        m = sea_conv_push(c, &s->down, &r->down[i], &step, next);
        rows = next;
        float *swap = r->a;
        r->a = r->b;
        r->b = swap;
    }
    *count = m;
    return rows;
}

static int32_t nearest(const float *score, const float *half_norm, int64_t codes) {
    int32_t best = 0;
    float most = score[0] - half_norm[0];
    for (int64_t i = 1; i < codes; i++) {
        float s = score[i] - half_norm[i];
        if (s > most) most = s, best = (int32_t)i; // the first of equals stays
    }
    return best;
}

// Quantises n latents, residual after residual. The vector e nearest to r maximises r.e - |e|^2/2.
static void quantise(encode_run *r, compute *c, int64_t n, int32_t *codes, int64_t ld) {
    const encodec *k = r->k;
    for (int64_t q = 0; q < k->cfg.quantizers; q++) {
        op_linear(c, &(linear_args){.y = r->score,
                                    .ldy = k->cfg.codes,
                                    .x = r->latent,
                                    .ldx = k->cfg.dim,
                                    .n = n,
                                    .w = &k->book[q]});
        for (int64_t t = 0; t < n; t++) {
            r->ids[t] = nearest(r->score + t * k->cfg.codes, k->half_norm[q], k->cfg.codes);
            codes[q * ld + t] = r->ids[t];
        }
        op_embed(r->near, &k->book[q], r->ids, n, false);
        for (int64_t i = 0; i < n * k->cfg.dim; i++) r->latent[i] -= r->near[i];
    }
}

static void push_chunk(encode_run *r, compute *c, const float *x, int64_t n, bool last,
                       const encodec_encoded *out, int64_t frames) {
    const encodec *k = r->k;
    int64_t m;
    float *rows = push_stages(r, c, x, n, last, &m);
    sea_lstm_run run = {.layer = k->encoder.lstm,
                        .layers = (int)k->cfg.lstm_layers,
                        .d = encodec_width(&k->cfg),
                        .streams = 1,
                        .h = r->h,
                        .cell = r->cell};
    sea_lstm_push(c, &run, rows, m, r->z, r->b);
    sea_input in = {.x = rows, .n = m, .last = last, .elu = true, .work = r->work};
    m = sea_conv_push(c, &k->encoder.last, &r->last, &in, r->latent);
    if (out->latents) {
        memcpy(out->latents + r->frames * k->cfg.dim, r->latent,
               (size_t)(m * k->cfg.dim) * sizeof *r->latent);
    }
    quantise(r, c, m, out->codes + r->frames, frames);
    r->frames += m;
}

status encodec_encode(const encodec *k, compute *c, const float *samples, int64_t n,
                      const encodec_encoded *out, err *e) {
    assert(k->parts & ENCODEC_ENCODER);
    if (n < 1 || n > ENCODEC_SAMPLES_MAX) {
        return err_set(e, ERR_ARG, "audio to encode: expected 1 to %lld samples, found %lld",
                       (long long)ENCODEC_SAMPLES_MAX, (long long)n);
    }
    int64_t frames = encodec_frame_count(k, n), chunk = MIN(n, CHUNK_FRAMES * k->cfg.hop);
    encode_run r;
    bool ok = run_init(&r, k, chunk);
    for (int64_t at = 0; ok && at < n; at += chunk) {
        int64_t take = MIN(chunk, n - at);
        push_chunk(&r, c, samples + at, take, at + take == n, out, frames);
    }
    assert(!ok || r.frames == frames);
    arena_deinit(&r.own);
    return ok ? OK : err_set(e, ERR_OOM, "no memory for the codec's encoder");
}
