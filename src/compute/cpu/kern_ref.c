// kern_ref.c - plain C for every kernel: the specification, and what the level "scalar" runs.
//
// Nothing here is tuned. It is compiled for the baseline CPU, where fmaf is a call.
#include <math.h>

#include "compute/cpu/kern.h"
#include "compute/math.h"

static float value(const void *p, dtype type, int64_t i) {
    const uint8_t *at = (const uint8_t *)p + (size_t)i * dtype_size(type);
    uint16_t h;
    float f;
    if (type == DT_F32) {
        memcpy(&f, at, sizeof f);
        return f;
    }
    memcpy(&h, at, sizeof h);
    return type == DT_BF16 ? bf16_to_f32(h) : f16_to_f32(h);
}

static float sum16(const float lane[16]) {
    float s[16];
    memcpy(s, lane, sizeof s);
    for (int half = 8; half; half /= 2)
        for (int j = 0; j < half; j++) s[j] = s[j] + s[j + half];
    return s[0];
}

static float max16(const float lane[16]) {
    float s[16];
    memcpy(s, lane, sizeof s);
    for (int half = 8; half; half /= 2)
        for (int j = 0; j < half; j++) s[j] = s[j] > s[j + half] ? s[j] : s[j + half];
    return s[0];
}

// dot16 of x [n] with the values of p from index `from` on.
static float dot16(const void *p, dtype type, int64_t from, const float *x, int64_t n) {
    float lane[16] = {0};
    for (int64_t i = 0; i < (n + 15) / 16 * 16; i++) {
        float a = i < n ? value(p, type, from + i) : 0, b = i < n ? value(x, DT_F32, i) : 0;
        lane[i % 16] = fmaf(a, b, lane[i % 16]);
    }
    return sum16(lane);
}

// dot16 of x with interleaved row r.
static float strip_dot16(const dots_args *a, int64_t r, const float *x) {
    int64_t row = r / BF16X8_ROWS * bf16x8_values(a->cols) + r % BF16X8_ROWS * BF16X8_COLS;
    float lane[16] = {0};
    for (int64_t i = 0; i < (a->cols + 15) / 16 * 16; i++) {
        int64_t at = row + i / BF16X8_COLS * BF16X8_ROWS * BF16X8_COLS + i % BF16X8_COLS;
        lane[i % 16] = fmaf(value(a->w, a->type, at), i < a->cols ? x[i] : 0, lane[i % 16]);
    }
    return sum16(lane);
}

static void dots(const dots_args *a) {
    for (int64_t j = 0; j < a->n; j++) {
        const float *x = a->x + j * a->ldx;
        for (int64_t r = 0; r < a->rows; r++) {
            a->out[j * a->ldo + r] = a->interleaved ? strip_dot16(a, r, x)
                                                    : dot16(a->w, a->type, r * a->ldw, x, a->cols);
        }
    }
}

// d and the integer of row r and column i of a panel.
typedef struct {
    float d;
    int32_t q;
} packed_value;

static packed_value packed_at(const uint8_t *panel, dtype type, int r, int64_t i) {
    const uint8_t *block = panel + (size_t)(i / QUANT_BLOCK) * quant_panel_size(type, QUANT_BLOCK);
    const uint8_t *at = block + quant_head_size(type) + 4 * r + i % 4;
    float d = value(block, DT_F32, r);
    i %= QUANT_BLOCK;
    if (type == DT_Q8) return (packed_value){d, at[i / 4 * 64] - 128};
    int s = block[64 + 4 * r + i / 64] >> (i / 32 % 2 * 4) & 15;
    int n = (at[i / 32 * 256 + i % 16 / 4 * 64] >> (i / 16 % 2 * 4) & 15) - 8;
    return (packed_value){d, s * n};
}

// The product of one row of a panel with a row of x.
static float qdot(const qdots_args *a, const uint8_t *panel, int r, const qblock *x) {
    float acc = 0;
    for (int64_t c = 0; c < a->cols; c += QUANT_BLOCK, x++) {
        int32_t sum = 0;
        for (int64_t i = c; i < MIN(c + QUANT_BLOCK, a->cols); i++)
            sum += packed_at(panel, a->type, r, i).q * x->q[i - c];
        acc = fmaf((float)sum, packed_at(panel, a->type, r, c).d * x->scale, acc);
    }
    return acc;
}

static void qdots(const qdots_args *a) {
    for (int64_t j = 0; j < a->n; j++) {
        for (int64_t r = 0; r < a->panels * QUANT_ROWS; r++) {
            size_t panel = (size_t)(r / QUANT_ROWS) * quant_panel_size(a->type, a->cols);
            const qblock *x = a->x + j * quant_blocks(a->cols);
            a->out[j * a->ldo + r] = qdot(a, a->w + panel, (int)(r % QUANT_ROWS), x);
        }
    }
}

// v * by rounded to the nearest integer, halves to even, and limited to [-127, 127]. NaN gives
// -127.
static int8_t quantum(float v, float by) {
    float t = (v * by + MATH_ROUND) - MATH_ROUND;
    t = t > -127.0f ? t : -127.0f;
    return (int8_t)(t < 127.0f ? t : 127.0f);
}

static float chain_f32(const float *w, const float *x, int64_t cols) {
    float sum = 0;
    for (int64_t k = 0; k < cols; k++) sum = fmaf(w[16 * k], x[k], sum);
    return sum;
}

static float chain_bf16(const uint16_t *w, const uint16_t *x, int64_t cols) {
    float sum = 0;
    for (int64_t k = 0; k < cols; k += 2) {
        float second = k + 1 < cols ? bf16_to_f32(x[k + 1]) : 0;
        sum = fmaf(bf16_to_f32(w[16 * k + 1]), second, sum);
        sum = fmaf(bf16_to_f32(w[16 * k]), bf16_to_f32(x[k]), sum);
    }
    return sum;
}

static float activate(float v, activation act) {
    switch (act) {
    case ACT_RELU: return 0.0f < v ? v : 0.0f;
    case ACT_GELU: return math_gelu(v);
    case ACT_ELU: return math_elu(v);
    case ACT_NONE: break;
    }
    return v;
}

static void finish(float *y, const float *s, const float *bias, int64_t n, activation act,
                   bool add) {
    for (int64_t i = 0; i < n; i++) {
        float v = activate(bias ? s[i] + bias[i] : s[i], act);
        y[i] = add ? y[i] + v : v;
    }
}

static void pack(uint16_t *y, const float *x, int64_t n, bool elu_first) {
    for (int64_t i = 0; i < n; i++) {
        float v = elu_first ? math_elu(x[i]) : x[i];
        y[i] = f32_to_bf16(fabsf(v) < CHAIN_TINY ? 0.0f : v);
    }
}

static void winograd(const winograd_args *a) {
    for (int64_t i = 0; i < a->n * a->cols; i++) {
        int64_t g = i / a->cols, k = i % a->cols;
        float d[CHAIN_TILE];
        for (int j = 0; j < CHAIN_TILE; j++) {
            float v = a->rows[g * a->step + j][k];
            d[j] = a->elu ? math_elu(v) : v;
        }
        const float e[CHAIN_TILE] = {d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]};
        for (int j = 0; j < CHAIN_TILE; j++) {
            int64_t to = (g * CHAIN_TILE + j) * a->cols + k;
            if (a->type == DT_F32)
                ((float *)a->y)[to] = e[j];
            else
                pack((uint16_t *)a->y + to, &e[j], 1, false);
        }
    }
}

// The sum over columns from..to-1 of weight row r and x.
static float chain_sum(const chain_args *a, int64_t r, const void *x, int64_t from, int64_t to) {
    int64_t panel = r / 16 * (a->type == DT_F32 ? a->cols : (a->cols + 1) / 2) * 16;
    if (a->type == DT_F32)
        return chain_f32((const float *)a->w + panel + r % 16 + 16 * from, (const float *)x + from,
                         to - from);
    return chain_bf16((const uint16_t *)a->w + 2 * (panel + r % 16) + 16 * from,
                      (const uint16_t *)x + from, to - from);
}

// Value r of row j of y, before the bias.
static float chain_row(const chain_args *a, int64_t j, int64_t r) {
    int64_t rows = a->taps ? CHAIN_TILE + 1 - a->taps : 1, at = j % rows;
    const uint8_t *x = (const uint8_t *)a->x + (size_t)(j / rows * a->ldx) * dtype_size(a->type);
    if (!a->taps) return chain_sum(a, r, x, 0, a->cols);
    float p[CHAIN_TILE];
    for (int i = 0; i < CHAIN_TILE; i++) {
        int64_t in = a->cols / CHAIN_TILE;
        p[i] = chain_sum(a, r, x, i * in, (i + 1) * in);
    }
    float v = at % 2 ? p[1] - p[2] : p[1] + p[2];
    if (at == 0) v = p[0] + v;
    return at == rows - 1 ? v + p[3] : v;
}

static void chain(const chain_args *a) {
    for (int64_t j = 0; j < a->n; j++) {
        for (int64_t r = 0; r < a->rows; r++) {
            float *y = (float *)a->y + j * a->ldy + r, v = chain_row(a, j, r);
            v = activate(a->bias ? v + a->bias[r] : v, a->act);
            if (a->y_type == DT_BF16)
                pack((uint16_t *)a->y + j * a->ldy + r, &v, 1, false);
            else
                *y = a->add ? *y + v : v;
        }
    }
}

static void layer_norm(float *y, const float *x, const float *w, const float *b, int64_t d,
                       float eps) {
    float lane[16] = {0};
    for (int64_t i = 0; i < d; i++) lane[i % 16] = lane[i % 16] + x[i];
    float mean = sum16(lane) / (float)d;
    memset(lane, 0, sizeof lane);
    for (int64_t i = 0; i < d; i++) {
        float c = x[i] - mean;
        lane[i % 16] = fmaf(c, c, lane[i % 16]);
    }
    float scale = 1.0f / sqrtf(sum16(lane) / (float)d + eps);
    for (int64_t i = 0; i < d; i++) y[i] = fmaf((x[i] - mean) * scale, w[i], b[i]);
}

static void rms_norm(float *y, const float *x, const float *w, int64_t d, float eps) {
    float scale = 1.0f / sqrtf(dot16(x, DT_F32, 0, x, d) / (float)d + eps);
    for (int64_t i = 0; i < d; i++) y[i] = (x[i] * scale) * w[i];
}

// The largest of the first len values in max16's order. Fills s up to a multiple of 16 with -inf.
static float fill_up(float *s, int64_t len) {
    float lane[16];
    for (int i = 0; i < 16; i++) lane[i] = -INFINITY;
    for (int64_t j = 0; j < (len + 15) / 16 * 16; j++) {
        if (j >= len) s[j] = -INFINITY;
        lane[j % 16] = lane[j % 16] > s[j] ? lane[j % 16] : s[j];
    }
    return max16(lane);
}

static float scores(float *s, const float *q, const kv_rows *k, float scale, const float *bias) {
    for (int64_t j = 0; j < k->len; j++) {
        float v = dot16(k->p, k->type, j * k->dh, q, k->dh);
        s[j] = bias ? v * scale + bias[j] : v * scale;
    }
    return fill_up(s, k->len);
}

static void score_rows(const query_rows *a) {
    for (int64_t i = 0; i < a->n; i++) {
        for (int64_t j = 0; j < a->len; j++) {
            const float *k = a->k + j / 16 * a->dh * 16 + j % 16, *q = a->q + i * a->ldq;
            float lane[16] = {0};
            for (int64_t d = 0; d < a->dh; d++) lane[d % 16] = fmaf(q[d], k[d * 16], lane[d % 16]);
            a->s[i * a->lds + j] = sum16(lane) * a->scale;
        }
        a->max[i] = fill_up(a->s + i * a->lds, a->len);
    }
}

static float softmax(float *s, int64_t len, float max) {
    float lane[16] = {0};
    for (int64_t j = 0; j < (len + 15) / 16 * 16; j++) {
        s[j] = math_exp(s[j] - max);
        lane[j % 16] = lane[j % 16] + s[j];
    }
    return sum16(lane);
}

static void weigh(float *out, const float *s, const kv_rows *v, float by) {
    for (int64_t i = 0; i < v->dh; i++) {
        float sum = 0;
        for (int64_t j = 0; j < v->len; j++)
            sum = fmaf(s[j], value(v->p, v->type, j * v->dh + i), sum);
        out[i] = sum * by;
    }
}

static float largest(const float *x, int64_t n) {
    float lane[16] = {0};
    for (int64_t i = 0; i < (n + 15) / 16 * 16; i++) {
        float a = i < n ? fabsf(x[i]) : 0;
        lane[i % 16] = lane[i % 16] > a ? lane[i % 16] : a;
    }
    return max16(lane);
}

static void quantise_row(int8_t *q, float *unit, const float *x, int64_t n) {
    float m = largest(x, n), by = m > 0.0f ? 127.0f / m : 0.0f;
    *unit = m * (1.0f / 127.0f);
    for (int64_t i = 0; i < n; i++) q[i] = quantum(x[i], by);
}

static void quantise(qblock *out, const float *x, int64_t cols) {
    for (int64_t from = 0; from < cols; from += QUANT_BLOCK, out++) {
        memset(out, 0, sizeof *out);
        quantise_row(out->q, &out->scale, x + from, MIN(QUANT_BLOCK, cols - from));
        for (int i = 0; i < QUANT_BLOCK; i++) {
            out->less8[i / 32 % 4][i / 128] -= (int16_t)(8 * out->q[i]);
            out->less128 -= 128 * out->q[i];
        }
    }
}

// Splits x into two digits, to[i] = 128 hi + lo, and returns their unit.
static float digits_of(int32_t *to, const float *x, int64_t n) {
    float m = largest(x, n), by = 127.0f / (m > DIGITS_LEAST ? m : DIGITS_LEAST);
    for (int64_t i = 0; i < n; i++) {
        int8_t hi = quantum(x[i], by);
        to[i] = 128 * hi + quantum(x[i] * by - (float)hi, 128.0f);
    }
    return m * (1.0f / 16256.0f);
}

static const uint8_t *panel_of(const kv_panels *p, int64_t h, int64_t j) {
    return p->p + j / 16 * p->stride + h * kvpack_panel_size(p->dh);
}

static float kept_unit(const kv_panels *p, int64_t h, int64_t j) {
    return value(panel_of(p, h, j), DT_F32, j % 16);
}

// q of row j and column i of a key.
static int32_t kept_key(const kv_panels *p, int64_t h, int64_t j, int64_t i) {
    return panel_of(p, h, j)[64 + i / 4 * 64 + 4 * (j % 16) + i % 4] - 128;
}

// q of row j and column i of a value.
static int32_t kept_value(const kv_panels *p, int64_t h, int64_t j, int64_t i) {
    int64_t row = j % 16, width = kvpack_width(p->dh);
    return panel_of(p, h, j)[64 + row / 4 * 4 * width + 4 * i + row % 4] - 128;
}

static float qscores_head(float *s, const float *q, const kv_panels *k, int64_t h, float scale) {
    int32_t d[KVPACK_WIDTH];
    float lane[16], unit = digits_of(d, q, k->dh) * scale;
    for (int i = 0; i < 16; i++) lane[i] = -INFINITY;
    for (int64_t j = 0; j < k->len; j++) {
        int32_t sum = 0;
        for (int64_t i = 0; i < k->dh; i++) sum += d[i] * kept_key(k, h, j, i);
        s[j] = ((float)sum * kept_unit(k, h, j)) * unit;
        lane[j % 16] = lane[j % 16] > s[j] ? lane[j % 16] : s[j];
    }
    for (int64_t j = k->len; j % 16; j++) s[j] = -INFINITY;
    return max16(lane);
}

static void qscores(float *s, float *max, const float *q, const kv_panels *k, float scale) {
    for (int64_t h = 0; h < k->heads; h++)
        max[h] = qscores_head(s + h * k->lds, q + h * k->dh, k, h, scale);
}

// Adds n rows of head h, at most KVPACK_RUN, from row `from` on, to the sums of its columns.
static void qweigh_run(float *sum, const float *s, const kv_panels *v, int64_t h, int64_t from,
                       int64_t n) {
    int32_t d[KVPACK_RUN];
    float x[KVPACK_RUN];
    for (int64_t j = 0; j < n; j++) {
        float e = s[from + j];
        x[j] = e > 0.0f ? e * kept_unit(v, h, from + j) : 0.0f;
    }
    float unit = digits_of(d, x, n);
    for (int64_t i = 0; i < v->dh; i++) {
        int32_t exact = 0;
        for (int64_t j = 0; j < n; j++) exact += d[j] * kept_value(v, h, from + j, i);
        sum[i] = fmaf((float)exact, unit, sum[i]);
    }
}

static void qweigh(float *out, const float *s, const kv_panels *v, const float *by) {
    memset(out, 0, (size_t)(v->heads * v->dh) * sizeof *out);
    for (int64_t h = 0; h < v->heads; h++, out += v->dh) {
        for (int64_t j = 0; j < v->len; j += KVPACK_RUN)
            qweigh_run(out, s + h * v->lds, v, h, j, MIN(KVPACK_RUN, v->len - j));
        for (int64_t i = 0; i < v->dh; i++) out[i] = out[i] * by[h];
    }
}

static void elu(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = math_elu(x[i]);
}

static void add(float *y, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = y[i] + x[i];
}

static void gate(float *y, const float *x, const float *g, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * (g[i] * math_sigmoid(g[i]));
}

static void snake(float *y, const float *x, const float *a, const float *by, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = fmaf(math_sin2(a[i] * x[i]), by[i], x[i]);
}

static void lstm(float *h, float *cell, const float *z, int64_t ld, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float in = math_sigmoid(z[i]), forget = math_sigmoid(z[ld + i]);
        float gate = math_tanh(z[2 * ld + i]), out = math_sigmoid(z[3 * ld + i]);
        cell[i] = fmaf(forget, cell[i], in * gate);
        h[i] = out * math_tanh(cell[i]);
    }
}

static void widen(float *out, const void *p, dtype type, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = value(p, type, i);
}

void kern_init_ref(kern_table *k) {
    *k = (kern_table){
        .products = {.dots = dots, .finish = finish},
        .packed = {.dots = qdots},
        .attention = {.score_rows = score_rows,
                      .scores = scores,
                      .softmax = softmax,
                      .weigh = weigh},
        .packed_attention = {.scores = qscores, .weigh = qweigh},
        .norms = {.layer_norm = layer_norm, .rms_norm = rms_norm},
        .rows = {.quantise = quantise,
                 .quantise_row = quantise_row,
                 .add = add,
                 .gate = gate,
                 .snake = snake,
                 .widen = widen},
        .codec = {.chain = chain, .winograd = winograd, .pack = pack, .elu = elu, .lstm = lstm},
    };
}
