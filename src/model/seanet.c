// seanet.c - see seanet.h.
//
//     codes -> sum of the codebooks' vectors                  decoder (encodec_decode.c)
//           -> convolution
//           -> LSTM: x += its layers of x
//           each stage:  ELU, transposed convolution          [t, ch] -> [ratio * t, ch / 2]
//                        each block:  x += conv(ELU(dilated conv(ELU(x))))
//           -> ELU, convolution -> samples
//
//     samples -> convolution                                  encoder (encodec_encode.c)
//             each stage:  the blocks; ELU, convolution with stride ratio
//             -> LSTM -> ELU, convolution -> latents -> codes
//
// A push lists pointers to its input rows: rows held from the push before, new rows, padding. The
// convolution reads its windows through that list, so nothing is copied to make them.
#include "model/seanet.h"

#include <assert.h>
#include <string.h>

// ---- convolution

static int64_t conv_span(const sea_conv *l) {
    return (l->k - 1) * l->dilation + 1;
}

static int64_t conv_pad_left(const sea_conv *l) {
    return l->pad - l->pad / 2;
}

// Rows of padding behind a sequence of n rows: half of the padding, and the rest of the last
// stride.
static int64_t conv_pad_right(const sea_conv *l, int64_t n) {
    return l->pad / 2 + (n + l->stride - 1) / l->stride * l->stride - n;
}

// The last rows of a sequence that a reflection at its end reads, whatever its length.
static int64_t conv_keep(const sea_conv *l) {
    return l->pad / 2 + l->stride;
}

static int64_t conv_held_max(const sea_conv *l) {
    int64_t reach = conv_span(l) + (chain_tile_rows(&l->w) - 1) * l->stride;
    return MAX(MAX(reach, conv_keep(l)), conv_pad_left(l));
}

bool sea_conv_tail_init(const sea_conv *l, sea_tail *s, arena *a) {
    size_t rows = (size_t)conv_held_max(l), in = (size_t)l->in;
    *s = (sea_tail){.rows = arena_f32(a, rows, in), .other = arena_f32(a, rows, in)};
    s->zero = arena_f32(a, 1, in);
    return s->zero != NULL;
}

void sea_tail_reset(sea_tail *s) {
    *s = (sea_tail){.rows = s->rows, .other = s->other, .zero = s->zero};
}

// The most rows that a push of n rows lists: padding, held rows, new rows.
static int64_t conv_rows_most(const sea_conv *l, int64_t n) {
    return conv_pad_left(l) + conv_held_max(l) + n + l->pad / 2 + l->stride;
}

int64_t sea_conv_rows_max(const sea_conv *l, int64_t n) {
    return conv_rows_most(l, n) / l->stride;
}

// Rows from one window of the list to the next. A dilated convolution lists the rows of its windows
// one window after another, as if they did not overlap.
static int64_t conv_step(const sea_conv *l) {
    return l->dilation > 1 ? l->k : l->stride;
}

static size_t conv_list_size(const sea_conv *l, int64_t n) {
    int64_t rows = conv_rows_most(l, n) + CHAIN_TILE;
    if (l->dilation > 1) rows += sea_conv_rows_max(l, n) * l->k;
    return size_align((size_t)rows * sizeof(float *), 64);
}

size_t sea_conv_work(const sea_conv *l, int64_t n) {
    int64_t m = sea_conv_rows_max(l, n);
    size_t size = conv_list_size(l, n) + chain_conv_work(&l->w, l->in, m, conv_step(l));
    return (size + sizeof(float) - 1) / sizeof(float);
}

// Lists the padding before the sequence. Reflection does not repeat the edge: x[-d] = x[d]; past
// the end of a short sequence it reads zeros. x: the place of the first row in the list.
static void pad_left(const sea_conv *l, const sea_tail *s, const float **x) {
    for (int64_t d = 1; d <= conv_pad_left(l); d++) {
        x[-d] = l->reflect && d < s->seen ? x[d] : s->zero;
    }
}

// Lists the padding behind the sequence. end: the place behind its last row; the last conv_keep
// rows are listed, or all. The reference first lengthens with zeros a sequence that is no longer
// than its padding, and so does this.
static void pad_right(const sea_conv *l, const sea_tail *s, const float **end) {
    int64_t pad = conv_pad_right(l, s->seen), longest = MAX(pad, conv_pad_left(l));
    int64_t zeros = l->reflect ? MAX(0, longest - s->seen + 1) : pad;
    for (int64_t i = 0; i < pad; i++) {
        int64_t back = 2 + i - 2 * zeros; // the mirrored row is end[-back]
        end[i] = i < zeros || back < 1 ? s->zero : end[-back];
    }
}

// Lists the held rows, the new rows, and the padding where the sequence begins or ends. Returns the
// number of rows; the first one is row s->base of the padded sequence.
static int64_t conv_list(const sea_conv *l, sea_tail *s, const sea_input *in, const float **row) {
    int64_t left = conv_pad_left(l), lead = 0;
    s->seen += in->n;
    if (!s->started && (in->last || s->seen > left)) s->started = true, lead = left;
    const float **x = row + lead;
    for (int64_t i = 0; i < s->held; i++) *x++ = s->rows + i * l->in;
    for (int64_t i = 0; i < in->n; i++) *x++ = in->x + i * l->in;
    if (lead) pad_left(l, s, row + lead);
    if (in->last) {
        pad_right(l, s, x);
        x += conv_pad_right(l, s->seen);
    }
    for (int i = 0; i < CHAIN_TILE; i++) x[i] = s->zero; // a last, partial window may look there
    return x - row;
}

// The rows of m dilated windows, side by side.
static void list_dilated(const sea_conv *l, const float **to, const float *const *row, int64_t m) {
    for (int64_t i = 0; i < m * l->k; i++) {
        to[i] = row[i / l->k * l->stride + i % l->k * l->dilation];
    }
}

// The output of a convolution.
typedef struct {
    void *y;    // [rows, out]
    dtype type; // DT_F32 or DT_BF16
    activation act;
} conv_output;

// One output channel: a dot product over each window, since one weight row cannot fill the lanes.
static void single_multiply(compute *c, const chain_conv_args *a, const weight *w) {
    const chain_linear_args *to = &a->to;
    assert(to->y_type == DT_F32);
    chain_lay(c, &(chain_lay_args){.y = a->work,
                                   .type = DT_F32,
                                   .rows = a->rows,
                                   .n = chain_conv_rows(to->w, a->in, to->n, a->step),
                                   .cols = a->in,
                                   .elu = a->elu});
    op_linear(c, &(linear_args){.y = to->y,
                                .ldy = 1,
                                .x = a->work,
                                .ldx = a->step * a->in,
                                .n = to->n,
                                .w = w,
                                .bias = to->bias,
                                .act = to->act});
}

// Multiplies m windows with the weights; the first window begins with row[0].
static void conv_multiply(compute *c, const sea_conv *l, const float **row, const sea_input *in,
                          const conv_output *to, int64_t m) {
    chain_conv_args a = {.to = {.y = to->y,
                                .y_type = to->type,
                                .ldy = l->out,
                                .n = m,
                                .w = &l->w,
                                .bias = l->bias,
                                .act = to->act},
                         .rows = row,
                         .in = l->in,
                         .step = conv_step(l),
                         .elu = in->elu,
                         .work = (uint8_t *)in->work + conv_list_size(l, in->n)};
    if (l->dilation > 1) {
        const float **list = (const float **)in->work + conv_rows_most(l, in->n) + CHAIN_TILE;
        list_dilated(l, list, row, m);
        a.rows = list;
    }
    if (l->out == 1 && l->single.data)
        single_multiply(c, &a, &l->single);
    else
        chain_conv(c, &a);
}

// How many output rows `rows` rows give from the next on. As long as more may come, whole windows
// of chain.h: so those lie at the same places however the sequence is cut.
static int64_t conv_count(const sea_conv *l, const sea_tail *s, int64_t rows, bool last) {
    int64_t left = s->base + rows - s->given * l->stride - conv_span(l);
    if (!s->started || left < 0) return 0;
    int64_t m = left / l->stride + 1;
    return last ? m : m - m % chain_tile_rows(&l->w);
}

// Keeps the rows that later windows or a reflection at the end will read.
static void conv_hold(const sea_conv *l, sea_tail *s, const float *const *row, int64_t rows) {
    int64_t keep = s->base;
    if (s->started) keep = MAX(keep, MIN(s->given * l->stride, s->base + rows - conv_keep(l)));
    s->held = s->base + rows - keep;
    assert(s->held <= conv_held_max(l));
    for (int64_t i = 0; i < s->held; i++) {
        memcpy(s->other + i * l->in, row[keep - s->base + i], (size_t)l->in * sizeof **row);
    }
    float *old = s->rows;
    s->rows = s->other;
    s->other = old;
    s->base = keep;
}

static int64_t conv_push(compute *c, const sea_conv *l, sea_tail *s, const sea_input *in,
                         const conv_output *to) {
    const float **row = in->work;
    int64_t rows = conv_list(l, s, in, row), m = conv_count(l, s, rows, in->last);
    if (m) conv_multiply(c, l, row + s->given * l->stride - s->base, in, to, m);
    s->given += m;
    if (in->last)
        s->held = 0;
    else
        conv_hold(l, s, row, rows);
    return m;
}

int64_t sea_conv_push(compute *c, const sea_conv *l, sea_tail *s, const sea_input *in, float *y) {
    return conv_push(c, l, s, in, &(conv_output){.y = y, .type = DT_F32});
}

// ---- transposed convolution

bool sea_up_tail_init(const sea_up *l, sea_tail *s, arena *a) {
    return sea_conv_tail_init(&l->conv, s, a);
}

size_t sea_up_work(const sea_up *l, int64_t n) {
    return sea_conv_work(&l->conv, n);
}

int64_t sea_up_rows_max(const sea_up *l, int64_t n) {
    return sea_conv_rows_max(&l->conv, n) * l->stride;
}

int64_t sea_up_push(compute *c, const sea_up *l, sea_tail *s, const sea_input *in, float *y,
                    float **first) {
    int64_t trim_right = l->stride / 2, trim_left = l->stride - trim_right, before = s->given;
    int64_t m = sea_conv_push(c, &l->conv, s, in, y);
    int64_t skip = before || !m ? 0 : trim_left;
    *first = y + skip * l->out;
    return m * l->stride - skip - (in->last ? trim_right : 0);
}

// ---- residual block

int64_t sea_res_headroom(const sea_res *l) {
    return conv_held_max(&l->narrow);
}

bool sea_res_tail_init(const sea_res *l, sea_tail *s, arena *a) {
    return sea_conv_tail_init(&l->narrow, s, a);
}

int64_t sea_res_push(compute *c, const sea_res *l, sea_tail *s, const sea_input *in, float *x,
                     void *hidden, float **first) {
    int64_t ch = l->narrow.in, waiting = s->seen - s->given; // waiting: input rows without output
    float *y = x - waiting * ch;                             // [waiting + n, ch]
    assert(l->narrow.stride == 1 && in->x == x && waiting <= s->held);
    if (waiting) {
        memcpy(y, s->rows + (s->held - waiting) * ch, (size_t)(waiting * ch) * sizeof *y);
    }
    const conv_output to = {.y = hidden, .type = l->widen.w.type, .act = ACT_ELU};
    int64_t m = conv_push(c, &l->narrow, s, in, &to);
    chain_linear(c, &(chain_linear_args){.y = y,
                                         .ldy = ch,
                                         .x = hidden,
                                         .ldx = l->widen.in,
                                         .n = m,
                                         .w = &l->widen.w,
                                         .bias = l->widen.bias,
                                         .add = true});
    *first = y;
    return m;
}

// ---- LSTM

void sea_lstm_push(compute *c, const sea_lstm_run *r, float *x, int64_t n, float *z, float *y) {
    int64_t row = r->streams * r->d;
    for (int i = 0; i < r->layers && n > 0; i++) {
        // The input half of all steps at once; steps of one layer run before the next begins, so
        // that one recurrent matrix at a time stays in cache.
        const sea_lstm *l = &r->layer[i];
        op_linear(c, &(linear_args){.y = z,
                                    .ldy = 4 * r->d,
                                    .x = i ? y : x,
                                    .ldx = r->d,
                                    .n = n * r->streams,
                                    .w = &l->w_ih,
                                    .bias = l->bias});
        op_lstm(c, &(lstm_args){.y = y,
                                .z = z,
                                .h = r->h + i * row,
                                .cell = r->cell + i * row,
                                .w = &l->w_hh,
                                .n = n,
                                .rows = r->streams,
                                .d = r->d});
    }
    op_add(c, x, y, n * row);
}
