// seanet.c - see seanet.h.
#include "model/seanet.h"

#include <assert.h>
#include <string.h>

// Rows are laid out in the type of the layer's weights.
static size_t row_size(const chain_weight *w, int64_t channels) {
    return (size_t)channels * dtype_size(w->type);
}

static uint8_t *row_at(const void *rows, int64_t i, size_t row) {
    return (uint8_t *)(uintptr_t)rows + i * (int64_t)row;
}

static void copy_rows(void *to, const void *from, int64_t rows, size_t row) {
    if (rows > 0) memcpy(to, from, (size_t)rows * row);
}

static void zero_rows(void *to, int64_t rows, size_t row) {
    if (rows > 0) memset(to, 0, (size_t)rows * row);
}

// Puts n new input values where the layer wants them.
static void take_in(compute *c, const chain_weight *w, void *to, const sea_input *in, int64_t n) {
    if (w->type == DT_BF16)
        chain_pack(c, to, in->x, n, in->elu);
    else if (in->elu)
        op_elu(c, to, in->x, n);
    else
        copy_rows(to, in->x, 1, (size_t)n * sizeof *in->x);
}

// ---- convolution

static int64_t conv_span(const sea_conv *l) {
    return (l->k - 1) * l->dilation + 1;
}

static int64_t conv_pad(const sea_conv *l) {
    return conv_span(l) - l->stride;
}

static int64_t conv_pad_left(const sea_conv *l) {
    return conv_pad(l) - conv_pad(l) / 2;
}

// For a whole sequence of n rows: half of the padding, and what fills the last stride.
static int64_t conv_pad_right(const sea_conv *l, int64_t n) {
    return conv_pad(l) / 2 + (n + l->stride - 1) / l->stride * l->stride - n;
}

// Rows that a reflection at the end, whatever the length will be, may look back to.
static int64_t conv_keep(const sea_conv *l) {
    return conv_pad(l) / 2 + l->stride;
}

static int64_t conv_held_max(const sea_conv *l) {
    return MAX(MAX(conv_span(l), conv_keep(l)), conv_pad_left(l));
}

bool sea_conv_tail_init(const sea_conv *l, sea_tail *s, arena *a) {
    *s = (sea_tail){.rows = arena_f32(a, (size_t)conv_held_max(l), (size_t)l->in)};
    return s->rows != NULL;
}

void sea_tail_reset(sea_tail *s) {
    *s = (sea_tail){.rows = s->rows};
}

// What a push of n rows lays out before it multiplies.
static int64_t conv_work_rows(const sea_conv *l, int64_t n) {
    return conv_pad_left(l) + conv_held_max(l) + n + conv_pad(l) / 2 + l->stride;
}

int64_t sea_conv_rows_max(const sea_conv *l, int64_t n) {
    return conv_work_rows(l, n) / l->stride;
}

size_t sea_conv_work(const sea_conv *l, int64_t n) {
    int64_t rows = conv_work_rows(l, n);
    if (l->dilation > 1) rows += sea_conv_rows_max(l, n) * l->k; // the gathered windows
    return (size_t)(rows * l->in);
}

// Reflection does not repeat the edge: x[-d] = x[d]. Past the end of a short sequence there is
// zero. x: the n rows there are so far.
static void pad_left(const sea_conv *l, void *to, const void *x, int64_t n) {
    size_t row = row_size(&l->w, l->in);
    int64_t pad = conv_pad_left(l);
    for (int64_t i = 0; i < pad; i++) {
        int64_t d = pad - i;
        if (l->reflect && d < n)
            copy_rows(row_at(to, i, row), row_at(x, d, row), 1, row);
        else
            zero_rows(row_at(to, i, row), 1, row);
    }
}

// end: behind the last of n rows, of which the last conv_keep (or all) are there. A sequence no
// longer than its padding is first drawn out with zeros, as the reference does.
static void pad_right(const sea_conv *l, void *end, int64_t n) {
    size_t row = row_size(&l->w, l->in);
    int64_t pad = conv_pad_right(l, n), longest = MAX(pad, conv_pad_left(l));
    int64_t zeros = l->reflect ? MAX(0, longest - n + 1) : pad;
    for (int64_t i = 0; i < pad; i++) {
        int64_t back = 2 + i - 2 * zeros; // how far before end the mirrored row begins
        if (i < zeros || back < 1)
            zero_rows(row_at(end, i, row), 1, row);
        else
            copy_rows(row_at(end, i, row), row_at(end, -back, row), 1, row);
    }
}

// Lays out in work what was held, the new rows, and padding where the sequence begins or ends.
// Returns the number of rows; the first is row s->base of the padded sequence.
static int64_t conv_gather(compute *c, const sea_conv *l, sea_tail *s, const sea_input *in) {
    size_t row = row_size(&l->w, l->in);
    bool start = !s->started && (in->last || s->seen + in->n > conv_pad_left(l));
    int64_t lead = start ? conv_pad_left(l) : 0;
    uint8_t *x = row_at(in->work, lead, row);
    copy_rows(x, s->rows, s->held, row);
    take_in(c, &l->w, row_at(x, s->held, row), in, in->n * l->in);
    int64_t rows = lead + s->held + in->n;
    s->seen += in->n;
    if (start) pad_left(l, in->work, x, s->seen);
    s->started |= start;
    if (!in->last) return rows;
    pad_right(l, row_at(in->work, rows, row), s->seen);
    return rows + conv_pad_right(l, s->seen);
}

// The windows of a dilated convolution are not in a row: copy them together. [m, k*in]
static void gather_dilated(const sea_conv *l, uint8_t *to, const uint8_t *x, int64_t m) {
    size_t row = row_size(&l->w, l->in);
    for (int64_t t = 0; t < m; t++) {
        for (int64_t j = 0; j < l->k; j++) {
            const uint8_t *from = row_at(x, t * l->stride + j * l->dilation, row);
            copy_rows(row_at(to, t * l->k + j, row), from, 1, row);
        }
    }
}

// Where the rows of a convolution go, and how.
typedef struct {
    void *y;    // [rows, out]
    dtype type; // DT_F32 or DT_BF16
    activation act;
} conv_output;

static void conv_multiply(compute *c, const sea_conv *l, uint8_t *x, uint8_t *gathered,
                          const conv_output *to, int64_t m) {
    chain_linear_args a = {.y = to->y,
                           .y_type = to->type,
                           .ldy = l->out,
                           .x = x,
                           .ldx = l->stride * l->in,
                           .n = m,
                           .w = &l->w,
                           .bias = l->bias,
                           .act = to->act};
    if (l->dilation > 1) {
        gather_dilated(l, gathered, x, m);
        a.x = gathered;
        a.ldx = l->k * l->in;
    }
    if (l->out > 1) {
        chain_linear(c, &a);
        return;
    }
    // Lanes across the window, since there are no rows of weights to fill them.
    assert(to->type == DT_F32);
    op_linear(c, &(linear_args){.y = to->y,
                                .ldy = 1,
                                .x = a.x,
                                .ldx = a.ldx,
                                .n = m,
                                .w = &l->single,
                                .bias = l->bias,
                                .act = to->act});
}

static int64_t conv_push(compute *c, const sea_conv *l, sea_tail *s, const sea_input *in,
                         const conv_output *to) {
    size_t row = row_size(&l->w, l->in);
    int64_t rows = conv_gather(c, l, s, in), span = conv_span(l);
    int64_t next = s->given * l->stride; // where the next window begins, in the padded sequence
    int64_t m = 0;
    if (s->started && s->base + rows >= next + span) {
        m = (s->base + rows - span - next) / l->stride + 1;
        conv_multiply(c, l, row_at(in->work, next - s->base, row), row_at(in->work, rows, row), to,
                      m);
    }
    s->given += m;
    next += m * l->stride;
    int64_t keep = s->base;
    if (s->started) keep = MAX(keep, MIN(next, s->base + rows - conv_keep(l)));
    s->held = in->last ? 0 : s->base + rows - keep;
    assert(s->held <= conv_held_max(l));
    copy_rows(s->rows, row_at(in->work, keep - s->base, row), s->held, row);
    s->base = keep;
    return m;
}

int64_t sea_conv_push(compute *c, const sea_conv *l, sea_tail *s, const sea_input *in, float *y) {
    return conv_push(c, l, s, in, &(conv_output){.y = y, .type = DT_F32});
}

// ---- transposed convolution

bool sea_up_tail_init(const sea_up *l, sea_tail *s, arena *a) {
    *s = (sea_tail){.rows = arena_f32(a, 1, (size_t)l->in)};
    return s->rows != NULL;
}

size_t sea_up_work(const sea_up *l, int64_t n) {
    return (size_t)((n + 2) * l->in);
}

int64_t sea_up_rows_max(const sea_up *l, int64_t n) {
    return (n + 1) * l->stride;
}

int64_t sea_up_push(compute *c, const sea_up *l, sea_tail *s, const sea_input *in, float *y,
                    float **first) {
    size_t row = row_size(&l->w, l->in);
    uint8_t *x = row_at(in->work, 0, row);
    // [1 + n (+ 1), in]: the row before, the new ones, a zero row at the end
    if (s->started)
        copy_rows(x, s->rows, 1, row);
    else
        zero_rows(x, 1, row);
    take_in(c, &l->w, row_at(x, 1, row), in, in->n * l->in);
    if (in->last) zero_rows(row_at(x, 1 + in->n, row), 1, row);
    int64_t m = in->n + in->last;
    int64_t trim_right = l->stride / 2, trim_left = l->stride - trim_right;
    if (m > 0) {
        chain_linear(c, &(chain_linear_args){.y = y,
                                             .ldy = l->stride * l->out,
                                             .x = x,
                                             .ldx = l->in,
                                             .n = m,
                                             .w = &l->w,
                                             .bias = l->bias});
    }
    int64_t skip = s->started || m == 0 ? 0 : trim_left;
    copy_rows(s->rows, row_at(x, in->n, row), 1, row);
    s->started |= m > 0;
    *first = y + skip * l->out;
    return m * l->stride - skip - (in->last ? trim_right : 0);
}

// ---- residual block

// Rows that wait for the right half of the window of `narrow`.
static int64_t res_raw_max(const sea_res *l) {
    return conv_held_max(&l->narrow);
}

int64_t sea_res_headroom(const sea_res *l) {
    return res_raw_max(l);
}

bool sea_res_tail_init(const sea_res *l, sea_res_tail *s, arena *a) {
    *s = (sea_res_tail){.raw = arena_f32(a, (size_t)res_raw_max(l), (size_t)l->narrow.in)};
    return sea_conv_tail_init(&l->narrow, &s->tail, a);
}

void sea_res_tail_reset(sea_res_tail *s) {
    s->held = 0;
    sea_tail_reset(&s->tail);
}

int64_t sea_res_push(compute *c, const sea_res *l, sea_res_tail *s, const sea_input *in, float *x,
                     void *hidden, float **first) {
    int64_t ch = l->narrow.in;
    size_t row = (size_t)ch * sizeof *x;
    assert(l->narrow.stride == 1 && in->x == x);
    float *y = x - s->held * ch; // [held + n, ch]
    copy_rows(y, s->raw, s->held, row);
    const conv_output to = {.y = hidden, .type = l->widen.w.type, .act = ACT_ELU};
    int64_t m = conv_push(c, &l->narrow, &s->tail, in, &to);
    chain_linear(c, &(chain_linear_args){.y = y,
                                         .ldy = ch,
                                         .x = hidden,
                                         .ldx = l->widen.in,
                                         .n = m,
                                         .w = &l->widen.w,
                                         .bias = l->widen.bias,
                                         .add = true});
    s->held += in->n - m;
    assert(s->held >= 0 && s->held <= res_raw_max(l));
    copy_rows(s->raw, y + m * ch, s->held, row);
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
