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

static void silu_part(void *arg, int part, int parts) {
    const dit_mlp *a = arg;
    int64_t n = a->n * a->w0->rows;
    for (int64_t i = n * part / parts; i < n * (part + 1) / parts; i++)
        a->hidden[i] = a->hidden[i] * math_sigmoid(a->hidden[i]);
}

void dit_run_mlp(compute *c, const dit_mlp *a) {
    linear(c, a->hidden, a->x, a->n, a->w0, a->b0);
    op_parallel(c, (int)MIN(compute_threads(c), a->n), silu_part, (void *)(uintptr_t)a);
    linear(c, a->y, a->hidden, a->n, a->w2, a->b2);
}

// --- attention

attend_rows_shape dit_attention_shape(const dit_config *cfg, bool context) {
    return (attend_rows_shape){.heads = cfg->heads,
                               .kv_heads = context ? cfg->kv_heads : cfg->heads,
                               .dh = cfg->dh,
                               .scale = 1 / sqrtf((float)cfg->dh)};
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

// Of all rows of h, into norm and norm_q.
static void norm(const dit *m, compute *c, dit_room *s, const float *w, const float *b) {
    op_layer_norm(c, &(norm_args){.y = s->norm,
                                  .yq = s->norm_q,
                                  .x = s->h,
                                  .w = w,
                                  .b = b,
                                  .n = s->frames + 1,
                                  .d = m->cfg.d,
                                  .eps = NORM_EPS});
}

// y = norm w^T
static linear_args of_norm(const dit_room *s, float *y, const weight *w) {
    return (linear_args){.y = y,
                         .ldy = w->rows,
                         .x = s->norm,
                         .xq = s->norm_q,
                         .ldx = w->cols,
                         .n = s->frames + 1,
                         .w = w};
}

static void self_attention(const dit *m, compute *c, dit_room *s, const dit_attention *b) {
    const dit_config *cfg = &m->cfg;
    int64_t n = s->frames + 1;
    const attend_rows_shape shape = dit_attention_shape(cfg, false);
    norm(m, c, s, b->norm_w, b->norm_b);
    const linear_args qkv[] = {of_norm(s, s->q, &b->q), of_norm(s, s->k, &b->k),
                               of_norm(s, s->v, &b->v)};
    op_linear_many(c, qkv, 3);
    norm_heads(c, cfg, s->q, b->q_norm_w, b->q_norm_b, n * cfg->heads);
    norm_heads(c, cfg, s->k, b->k_norm_w, b->k_norm_b, n * cfg->heads);
    op_parallel(c, compute_threads(c), turn_part, &(turn_job){cfg, s, s->q});
    op_parallel(c, compute_threads(c), turn_part, &(turn_job){cfg, s, s->k});
    op_attend_lay(c, &shape, s->kv.k, s->kv.v, s->k, s->v, n);
    op_attend_rows(c, &shape,
                   &(attend_rows_args){
                       .out = s->ctx, .q = s->q, .n = n, .k = s->kv.k, .v = s->kv.v, .len = n});
    linear_add(c, s->h, s->ctx, n, &b->o, NULL);
}

void dit_put_context(const dit *m, compute *c, const dit_block *b, const float *rows, int64_t n,
                     float *k, float *v, dit_kv kv) {
    const dit_config *cfg = &m->cfg;
    const attend_rows_shape shape = dit_attention_shape(cfg, true);
    linear(c, k, rows, n, &b->cross.k, NULL);
    linear(c, v, rows, n, &b->cross.v, NULL);
    norm_heads(c, cfg, k, b->cross.k_norm_w, b->cross.k_norm_b, n * cfg->kv_heads);
    op_attend_lay(c, &shape, kv.k, kv.v, k, v, n);
}

static void cross_attention(const dit *m, compute *c, dit_room *s, const dit_attention *b,
                            const dit_context *x, int64_t block) {
    const dit_config *cfg = &m->cfg;
    int64_t n = s->frames + 1;
    norm(m, c, s, b->norm_w, b->norm_b);
    const linear_args q = of_norm(s, s->q, &b->q);
    op_linear(c, &q);
    norm_heads(c, cfg, s->q, b->q_norm_w, b->q_norm_b, n * cfg->heads);
    const attend_rows_shape shape = dit_attention_shape(cfg, true);
    op_attend_rows(c, &shape,
                   &(attend_rows_args){.out = s->ctx,
                                       .q = s->q,
                                       .n = n,
                                       .k = x->kv[block].k,
                                       .v = x->kv[block].v,
                                       .len = x->n});
    linear_add(c, s->h, s->ctx, n, &b->o, NULL);
}

static void feed_forward(const dit *m, compute *c, dit_room *s, const dit_block *b) {
    linear_args up = of_norm(s, s->hidden, &b->up);
    linear_args down = {.y = s->h,
                        .ldy = m->cfg.d,
                        .x = s->gated,
                        .xq = s->gated_q,
                        .ldx = m->cfg.ff,
                        .n = up.n,
                        .w = &b->down,
                        .bias = b->down_b,
                        .add = true};
    norm(m, c, s, b->norm_w, b->norm_b);
    up.bias = b->up_b, up.yq = s->gated_q, up.gate = s->gated_q != NULL;
    op_linear(c, &up);
    if (!up.gate) op_gate(c, s->gated, s->hidden, up.n, m->cfg.ff);
    op_linear(c, &down);
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
