// dit_run.c - one pass of the diffusion transformer; see dit.h.
//
//     p = global + time(t)                          the token in front
//     h = [p; (x + before x) Win]
//     each block:
//         h += attention(norm(h)) Wo                q and k turned by their positions; in Open
//                                                   Small each head of q and k is normalised first
//         h += attention(norm(h), context) Wo       heads share keys and values
//         u, g = norm(h) Wup + b;  h += (u * silu(g)) Wdown + b
//     z = h Wout without the first row;  y = z + after z
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "compute/math.h"
#include "model/dit_inside.h"

#define NORM_EPS 1e-5f

static void linear(compute *c, float *y, const float *x, int64_t n, const weight *w,
                   const float *bias) {
    op_linear(c, &(linear_args){
                     .y = y, .ldy = w->rows, .x = x, .ldx = w->cols, .n = n, .w = w, .bias = bias});
}

static void linear_add(compute *c, float *y, const float *x, int64_t n, const weight *w,
                       const float *bias) {
    op_linear(c, &(linear_args){.y = y,
                                .ldy = w->rows,
                                .x = x,
                                .ldx = w->cols,
                                .n = n,
                                .w = w,
                                .bias = bias,
                                .add = true});
}

void dit_run_mlp(compute *c, const dit_mlp *a) {
    linear(c, a->hidden, a->x, a->n, a->w0, a->b0);
    for (int64_t i = 0; i < a->n * a->w0->rows; i++)
        a->hidden[i] = a->hidden[i] * math_sigmoid(a->hidden[i]);
    linear(c, a->y, a->hidden, a->n, a->w2, a->b2);
}

// --- attention

// Attention of n rows of q [n, heads * dh] over len keys; `heads / kv_heads` heads in a row share
// the keys of one. Each head of each row is an item of its own.
typedef struct {
    const float *q;
    float *out;
    kv_cache kv;
    int64_t n, len, kv_heads;
} attention_args;

static void attend(const dit_config *cfg, compute *c, dit_room *s, const attention_args *a) {
    const attend_shape one = {
        .heads = 1, .dh = cfg->dh, .kv_type = DT_F32, .scale = 1 / sqrtf((float)cfg->dh)};
    int64_t stride = attend_stride(&one, a->kv.cap), share = cfg->heads / a->kv_heads;
    for (int64_t h = 0; h < cfg->heads; h++) {
        const float *k = (const float *)a->kv.k + h / share * stride;
        const float *v = (const float *)a->kv.v + h / share * stride;
        for (int64_t i = 0; i < a->n; i++) {
            int64_t at = i * cfg->d + h * cfg->dh;
            s->item[h * a->n + i] = (attend_item){.q = a->q + at,
                                                  .out = a->out + at,
                                                  .k = k,
                                                  .v = v,
                                                  .len = a->len,
                                                  .kv_stride = stride};
        }
    }
    op_attend(c, &one, s->item, a->n * cfg->heads);
}

typedef struct {
    const dit_config *cfg;
    const dit_room *s;
    float *x;
} turn_job;

// Turns the pairs (i, i + half) of each head by the angle of the row's position.
static void turn_row(const turn_job *j, int64_t row) {
    int64_t half = j->cfg->rotary / 2;
    const float *cs = j->s->cosines + row * half, *sn = j->s->sines + row * half;
    for (int64_t h = 0; h < j->cfg->heads; h++) {
        float *x = j->x + row * j->cfg->d + h * j->cfg->dh;
        for (int64_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half];
            x[i] = a * cs[i] - b * sn[i];
            x[i + half] = b * cs[i] + a * sn[i];
        }
    }
}

static void turn_part(void *arg, int part, int parts) {
    const turn_job *j = arg;
    int64_t rows = j->s->frames + 1;
    for (int64_t i = rows * part / parts; i < rows * (part + 1) / parts; i++) turn_row(j, i);
}

#define HEAD_NORM_EPS 1e-6f

// Of n heads of x, in place; nothing without weights.
static void norm_heads(compute *c, const dit_config *cfg, float *x, const float *w, const float *b,
                       int64_t n) {
    if (!w) return;
    op_layer_norm(
        c,
        &(norm_args){.y = x, .x = x, .w = w, .b = b, .n = n, .d = cfg->dh, .eps = HEAD_NORM_EPS});
}

static void norm(compute *c, float *y, const float *x, const float *w, const float *b, int64_t n,
                 int64_t d) {
    op_layer_norm(c, &(norm_args){.y = y, .x = x, .w = w, .b = b, .n = n, .d = d, .eps = NORM_EPS});
}

static void put_rows(compute *c, const attend_shape *shape, dit_room *s, kv_cache to) {
    int64_t n = s->frames + 1, d = shape->heads * shape->dh;
    for (int64_t i = 0; i < n; i++)
        s->row[i] = (kv_row){.to = to, .k = s->k + i * d, .v = s->v + i * d, .pos = i};
    op_cache_put(c, shape, s->row, n);
}

static void self_attention(const dit *m, compute *c, dit_room *s, const dit_attention *b) {
    const dit_config *cfg = &m->cfg;
    int64_t n = s->frames + 1, d = cfg->d;
    const attend_shape all = {.heads = cfg->heads, .dh = cfg->dh, .kv_type = DT_F32, .scale = 1};
    const kv_cache kv = {s->kc, s->vc, n};
    norm(c, s->norm, s->h, b->norm_w, b->norm_b, n, d);
    const linear_args qkv[] = {
        {.y = s->q, .ldy = d, .x = s->norm, .ldx = d, .n = n, .w = &b->q},
        {.y = s->k, .ldy = d, .x = s->norm, .ldx = d, .n = n, .w = &b->k},
        {.y = s->v, .ldy = d, .x = s->norm, .ldx = d, .n = n, .w = &b->v},
    };
    op_linear_many(c, qkv, 3);
    norm_heads(c, cfg, s->q, b->q_norm_w, b->q_norm_b, n * cfg->heads);
    norm_heads(c, cfg, s->k, b->k_norm_w, b->k_norm_b, n * cfg->heads);
    op_parallel(c, compute_threads(c), turn_part, &(turn_job){cfg, s, s->q});
    op_parallel(c, compute_threads(c), turn_part, &(turn_job){cfg, s, s->k});
    put_rows(c, &all, s, kv);
    attend(cfg, c, s,
           &(attention_args){
               .q = s->q, .out = s->ctx, .kv = kv, .n = n, .len = n, .kv_heads = cfg->heads});
    linear_add(c, s->h, s->ctx, n, &b->o, NULL);
}

void dit_put_context(const dit *m, compute *c, const dit_block *b, const float *rows, int64_t n,
                     float *k, float *v, kv_cache kv) {
    const dit_config *cfg = &m->cfg;
    const attend_shape shape = {.heads = cfg->kv_heads, .dh = cfg->dh, .kv_type = DT_F32};
    linear(c, k, rows, n, &b->cross.k, NULL);
    linear(c, v, rows, n, &b->cross.v, NULL);
    norm_heads(c, cfg, k, b->cross.k_norm_w, b->cross.k_norm_b, n * cfg->kv_heads);
    for (int64_t i = 0; i < n; i++) {
        const kv_row row = {kv, k + i * cfg->cross, v + i * cfg->cross, i};
        op_cache_put(c, &shape, &row, 1);
    }
}

static void cross_attention(const dit *m, compute *c, dit_room *s, const dit_attention *b,
                            const dit_context *x, int64_t block) {
    const dit_config *cfg = &m->cfg;
    int64_t n = s->frames + 1;
    norm(c, s->norm, s->h, b->norm_w, b->norm_b, n, cfg->d);
    linear(c, s->q, s->norm, n, &b->q, NULL);
    norm_heads(c, cfg, s->q, b->q_norm_w, b->q_norm_b, n * cfg->heads);
    attend(cfg, c, s,
           &(attention_args){.q = s->q,
                             .out = s->ctx,
                             .kv = x->kv[block],
                             .n = n,
                             .len = x->n,
                             .kv_heads = cfg->kv_heads});
    linear_add(c, s->h, s->ctx, n, &b->o, NULL);
}

static void feed_forward(const dit *m, compute *c, dit_room *s, const dit_block *b) {
    int64_t n = s->frames + 1;
    norm(c, s->norm, s->h, b->norm_w, b->norm_b, n, m->cfg.d);
    linear(c, s->hidden, s->norm, n, &b->up, b->up_b);
    op_gate(c, s->gated, s->hidden, n, m->cfg.ff);
    linear_add(c, s->h, s->gated, n, &b->down, b->down_b);
}

// --- the whole

void dit_global(const dit *m, compute *c, dit_room *s, float *out, const float *global) {
    dit_run_mlp(c, &(dit_mlp){.y = out,
                              .x = global,
                              .w0 = &m->global0,
                              .w2 = &m->global2,
                              .hidden = s->wide,
                              .n = 1});
}

// The token in front of the frames.
static void first_row(const dit *m, compute *c, dit_room *s, const dit_args *a) {
    int64_t half = m->cfg.waves / 2;
    float whole = (float)(2 * NUM_PI * (double)a->t);
    for (int64_t i = 0; i < half; i++) {
        double turns = (double)(whole * m->waves[i]) / (2 * NUM_PI);
        s->waves[i] = (float)num_cos_turns(turns);
        s->waves[half + i] = (float)num_sin_turns(turns);
    }
    dit_run_mlp(c, &(dit_mlp){.y = s->h,
                              .x = s->waves,
                              .w0 = &m->time0,
                              .w2 = &m->time2,
                              .b0 = m->time0_b,
                              .b2 = m->time2_b,
                              .hidden = s->wide,
                              .n = 1});
    op_add(c, s->h, a->global, m->cfg.d);
}

void dit_run(const dit *m, compute *c, dit_room *s, const dit_args *a) {
    assert(a->frames >= 1 && a->frames <= s->cap);
    s->frames = a->frames;
    int64_t values = s->frames * m->cfg.channels;
    memcpy(s->latent, a->x, (size_t)values * sizeof *s->latent);
    linear_add(c, s->latent, a->x, s->frames, &m->before, NULL);
    first_row(m, c, s, a);
    linear(c, s->h + m->cfg.d, s->latent, s->frames, &m->in, NULL);
    for (int64_t i = 0; i < m->cfg.layers; i++) {
        const dit_block *b = &m->block[i];
        self_attention(m, c, s, &b->self);
        if (a->context) cross_attention(m, c, s, &b->cross, a->context, i);
        feed_forward(m, c, s, b);
    }
    linear(c, s->back, s->h + m->cfg.d, s->frames, &m->out, NULL);
    memcpy(a->y, s->back, (size_t)values * sizeof *a->y);
    linear_add(c, a->y, s->back, s->frames, &m->after, NULL);
}
