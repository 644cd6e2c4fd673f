// encodec_decode.c - codes to samples; see encodec.h.
//
// The network has two halves. Up to the LSTM there is one row a frame and the weights take tens of
// megabytes, so all streams go through together, many frames at a time. Behind the LSTM each stage
// makes more rows (640 a frame in the end) and has fewer weights, so each stream goes through
// alone, and each stage hands its rows to the next in pieces that stay in cache. The widest
// activations never exist as a whole.
#include <assert.h>
#include <string.h>

#include "model/encodec_weights.h"
#include "model/finite.h"

// Frames that go through the front at a time: at most FRONT_ROWS rows over all streams, at least
// FRONT_FRAMES_MIN frames each. More rows share one reading of the first convolution's weights, and
// the LSTM's two matrices evict each other from cache less often.
#define FRONT_ROWS 256
#define FRONT_FRAMES_MIN 32
// Bytes of rows that a stage hands on at a time: twice a core's second-level cache, so that threads
// wait for each other less often; or a sixteenth of the stage's weights when that is more.
#define PIECE_BYTES ((int64_t)2 << 20)
#define PIECE_WEIGHT_SHARE 16

typedef struct {
    sea_tail first, last;
    sea_tail up[ENCODEC_RATIOS_MAX];
    sea_tail *res[ENCODEC_RATIOS_MAX]; // [res_layers]
    float *out;                        // the place of the next sample
} decode_stream;

struct encodec_decoder {
    const encodec *k;
    arena own;
    int streams, streams_max;
    decode_stream *stream; // [streams_max]
    int64_t frames, given; // frames taken and samples given so far, of each stream
    float *h, *cell;       // [lstm_layers, streams, width]
    // Scratch for any number of streams. F: rows that the first convolution gives at a time.
    int64_t front;                      // frames that go through the front at a time
    int64_t piece[ENCODEC_RATIOS_MAX];  // input rows that a stage takes at a time
    float *latent;                      // [front, dim]
    float *row;                         // [F, width] rows of one stream
    float *x, *y, *z;                   // [F, streams, width] twice, [F, streams, 4*width]
    float *stage_x[ENCODEC_RATIOS_MAX]; // rows of a stage's blocks, below them the headroom
    float *hidden, *work;
};

static int64_t piece_rows(const sea_up *up) {
    int64_t row = up->stride * up->out * (int64_t)sizeof(float);
    int64_t weights_size = up->conv.w.rows * up->conv.w.cols * (int64_t)sizeof(float);
    return MAX(1, MAX(PIECE_BYTES, weights_size / PIECE_WEIGHT_SHARE) / row);
}

static int64_t headroom(const encodec *k, const encodec_stage *s) {
    int64_t rows = 0;
    for (int64_t r = 0; r < k->cfg.res_layers; r++) rows += sea_res_headroom(&s->res[r]);
    return rows;
}

static bool init_stream(encodec_decoder *d, decode_stream *s) {
    const encodec *k = d->k;
    const encodec_net *net = &k->decoder;
    sea_conv_tail_init(&net->first, &s->first, &d->own);
    sea_conv_tail_init(&net->last, &s->last, &d->own);
    for (int64_t i = 0; i < k->cfg.ratio_count; i++) {
        const encodec_stage *st = &net->stage[i];
        sea_up_tail_init(&st->up, &s->up[i], &d->own);
        s->res[i] = arena_alloc(&d->own, (size_t)k->cfg.res_layers * sizeof *s->res[i]);
        for (int64_t r = 0; s->res[i] && r < k->cfg.res_layers; r++) {
            sea_res_tail_init(&st->res[r], &s->res[i][r], &d->own);
        }
    }
    return !d->own.failed;
}

static void reset_stream(const encodec *k, decode_stream *s) {
    sea_tail_reset(&s->first);
    sea_tail_reset(&s->last);
    for (int64_t i = 0; i < k->cfg.ratio_count; i++) {
        sea_tail_reset(&s->up[i]);
        for (int64_t r = 0; r < k->cfg.res_layers; r++) sea_tail_reset(&s->res[i][r]);
    }
}

static bool init_stage_scratch(encodec_decoder *d, size_t *work, size_t *hidden) {
    const encodec *k = d->k;
    int64_t rows = 0; // the most that a stage hands on
    for (int64_t i = 0; i < k->cfg.ratio_count; i++) {
        const encodec_stage *s = &k->decoder.stage[i];
        d->piece[i] = piece_rows(&s->up);
        rows = sea_up_rows_max(&s->up, d->piece[i]);
        *work = MAX(*work, sea_up_work(&s->up, d->piece[i]));
        for (int64_t r = 0; r < k->cfg.res_layers; r++) {
            const sea_conv *narrow = &s->res[r].narrow;
            *work = MAX(*work, sea_conv_work(narrow, rows));
            rows = sea_conv_rows_max(narrow, rows);
            *hidden = MAX(*hidden, (size_t)(rows * narrow->out));
        }
        rows += headroom(k, s);
        d->stage_x[i] = arena_f32(&d->own, (size_t)rows, (size_t)s->up.out);
    }
    *work = MAX(*work, sea_conv_work(&k->decoder.last, rows));
    return !d->own.failed;
}

static int64_t front_frames(int streams) {
    return MAX(FRONT_FRAMES_MIN, FRONT_ROWS / streams);
}

static bool init_scratch(encodec_decoder *d) {
    const encodec *k = d->k;
    size_t width = (size_t)encodec_width(&k->cfg), streams = (size_t)d->streams_max, rows = 0;
    size_t front = (size_t)sea_conv_rows_max(&k->decoder.first, front_frames(1));
    size_t work = sea_conv_work(&k->decoder.first, front_frames(1)), hidden = 0;
    for (int s = 1; s <= d->streams_max; s++) {
        int64_t each = sea_conv_rows_max(&k->decoder.first, front_frames(s));
        rows = MAX(rows, (size_t)(s * each));
    }
    d->h = arena_f32(&d->own, (size_t)k->cfg.lstm_layers * streams, width);
    d->cell = arena_f32(&d->own, (size_t)k->cfg.lstm_layers * streams, width);
    d->latent = arena_f32(&d->own, (size_t)front_frames(1), (size_t)k->cfg.dim);
    d->row = arena_f32(&d->own, front, width);
    d->x = arena_f32(&d->own, rows, width);
    d->y = arena_f32(&d->own, rows, width);
    d->z = arena_f32(&d->own, rows, 4 * width);
    if (!init_stage_scratch(d, &work, &hidden)) return false;
    d->hidden = arena_f32(&d->own, 1, hidden);
    d->work = arena_f32(&d->own, 1, work);
    return !d->own.failed;
}

status encodec_decoder_create(encodec_decoder **out, const encodec *k, int streams_max, err *e) {
    *out = NULL;
    assert((k->parts & ENCODEC_DECODER) && streams_max >= 1 && streams_max <= ENCODEC_STREAMS_MAX);
    encodec_decoder *d = mem_calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_OOM, "no memory for the codec's decoder");
    *d = (encodec_decoder){.k = k, .streams_max = streams_max};
    arena_init(&d->own, 0);
    d->stream = arena_alloc(&d->own, (size_t)streams_max * sizeof *d->stream);
    bool ok = d->stream != NULL;
    for (int s = 0; ok && s < streams_max; s++) ok = init_stream(d, &d->stream[s]);
    if (!ok || !init_scratch(d)) {
        encodec_decoder_free(d);
        return err_set(e, ERR_OOM, "no memory for the codec's decoder");
    }
    encodec_decoder_reset(d, streams_max);
    *out = d;
    return OK;
}

void encodec_decoder_free(encodec_decoder *d) {
    if (!d) return;
    arena_deinit(&d->own);
    mem_free(d);
}

void encodec_decoder_reset(encodec_decoder *d, int streams) {
    const encodec_config *cfg = &d->k->cfg;
    assert(streams >= 1 && streams <= d->streams_max);
    d->streams = streams;
    d->front = front_frames(streams);
    size_t state = (size_t)(cfg->lstm_layers * d->streams * encodec_width(cfg)) * sizeof(float);
    memset(d->h, 0, state);
    memset(d->cell, 0, state);
    for (int s = 0; s < d->streams; s++) reset_stream(d->k, &d->stream[s]);
    d->frames = d->given = 0;
}

int64_t encodec_decoder_room(const encodec_decoder *d, int64_t n) {
    return (d->frames + n) * d->k->cfg.hop - d->given;
}

static void push_last(encodec_decoder *d, compute *c, decode_stream *s, const float *x, int64_t n,
                      bool last) {
    const sea_conv *conv = &d->k->decoder.last;
    sea_input in = {.x = x, .n = n, .last = last, .elu = true, .work = d->work};
    s->out += sea_conv_push(c, conv, &s->last, &in, s->out);
}

// Sends the rows x [n, width of stage i] of one stream through stage i and all stages behind it.
static void push_stage(encodec_decoder *d, compute *c, decode_stream *s, int64_t i, const float *x,
                       int64_t n, bool last) {
    const encodec *k = d->k;
    if (n == 0 && !last) return;
    if (i == k->cfg.ratio_count) {
        push_last(d, c, s, x, n, last);
        return;
    }
    const encodec_stage *st = &k->decoder.stage[i];
    int64_t ch = st->up.out;
    do {
        int64_t take = MIN(n, d->piece[i]);
        bool end = last && take == n;
        float *rows, *first = d->stage_x[i] + headroom(k, st) * ch;
        sea_input in = {.x = x, .n = take, .last = end, .elu = true, .work = d->work};
        int64_t m = sea_up_push(c, &st->up, &s->up[i], &in, first, &rows);
        for (int64_t r = 0; r < k->cfg.res_layers; r++) {
            sea_input more = {.x = rows, .n = m, .last = end, .elu = true, .work = d->work};
            m = sea_res_push(c, &st->res[r], &s->res[i][r], &more, rows, d->hidden, &rows);
        }
        push_stage(d, c, s, i + 1, rows, m, end);
        x += take * st->up.in;
        n -= take;
    } while (n > 0);
}

// Sums the codebooks' vectors of frames from to from + n - 1 of stream s and sends them through the
// first convolution. Its rows go to d->x [rows, streams, width]; returns how many.
static int64_t push_codes(encodec_decoder *d, compute *c, int s, const encodec_frames *f,
                          int64_t from, int64_t n) {
    const encodec *k = d->k;
    int64_t width = encodec_width(&k->cfg);
    for (int q = 0; q < (int)k->cfg.quantizers; q++) {
        const int32_t *ids = f->rows[s * k->cfg.quantizers + q] + from;
        op_embed(d->latent, &k->book[q], ids, n, q > 0);
    }
    sea_input in = {.x = d->latent, .n = n, .last = f->last && from + n == f->n, .work = d->work};
    float *y = d->streams == 1 ? d->x : d->row;
    int64_t m = sea_conv_push(c, &k->decoder.first, &d->stream[s].first, &in, y);
    for (int64_t t = 0; y == d->row && t < m; t++) {
        memcpy(d->x + (t * d->streams + s) * width, y + t * width, (size_t)width * sizeof *y);
    }
    return m;
}

static void push_front(encodec_decoder *d, compute *c, const encodec_frames *f, int64_t from,
                       int64_t n) {
    const encodec *k = d->k;
    int64_t width = encodec_width(&k->cfg), m = 0;
    bool last = f->last && from + n == f->n;
    for (int s = 0; s < d->streams; s++) m = push_codes(d, c, s, f, from, n);
    sea_lstm_run run = {.layer = k->decoder.lstm,
                        .layers = (int)k->cfg.lstm_layers,
                        .d = width,
                        .streams = d->streams,
                        .h = d->h,
                        .cell = d->cell};
    sea_lstm_push(c, &run, d->x, m, d->z, d->y);
    for (int s = 0; s < d->streams; s++) {
        const float *x = d->x;
        for (int64_t t = 0; d->streams > 1 && t < m; t++) {
            memcpy(d->row + t * width, x + (t * d->streams + s) * width, (size_t)width * sizeof *x);
        }
        push_stage(d, c, &d->stream[s], 0, d->streams > 1 ? d->row : x, m, last);
    }
}

status encodec_check_rows(const encodec_config *cfg, const int32_t *const *rows, int64_t count,
                          span frames, err *e) {
    for (int64_t r = 0; r < count; r++) {
        for (int64_t t = 0; t < frames.to - frames.from; t++) {
            int32_t code = rows[r][t];
            if (code >= 0 && code < cfg->codes) continue;
            return err_set(
                e, ERR_ARG, "codebook row %lld, frame %lld: expected 0 to %lld, found %d",
                (long long)r, (long long)(frames.from + t), (long long)cfg->codes - 1, code);
        }
    }
    return OK;
}

status encodec_check_sound(const float *x, int64_t n, int64_t frame, err *e) {
    if (finite_f32(x, n)) return OK;
    return err_set(e, ERR_FORMAT,
                   "codec: the sound behind frame %lld is not finite numbers: its "
                   "weights are too large or damaged",
                   (long long)frame);
}

static status check_codes(const encodec_decoder *d, const encodec_frames *f, err *e) {
    const encodec_config *cfg = &d->k->cfg;
    const span frames = {d->frames, d->frames + f->n};
    return encodec_check_rows(cfg, f->rows, d->streams * cfg->quantizers, frames, e);
}

status encodec_decode_push(encodec_decoder *d, compute *c, const encodec_frames *f, int64_t *given,
                           err *e) {
    *given = 0;
    status rc = check_codes(d, f, e);
    if (rc) return rc;
    assert(d->frames + f->n > 0 || !f->last);
    for (int s = 0; s < d->streams; s++) d->stream[s].out = f->out[s];
    int64_t from = 0;
    do {
        int64_t n = MIN(f->n - from, d->front);
        push_front(d, c, f, from, n);
        from += n;
    } while (from < f->n);
    *given = d->stream[0].out - f->out[0];
    for (int s = 0; s < d->streams; s++) {
        rc = encodec_check_sound(f->out[s], *given, d->given / d->k->cfg.hop, e);
        if (rc) return rc;
    }
    d->frames += f->n;
    d->given += *given;
    assert(!f->last || d->given == d->frames * d->k->cfg.hop);
    return OK;
}

static status run_side_by_side(encodec_decoder *d, compute *c, const encodec_codes *in, size_t n,
                               float *const *out, err *e) {
    int64_t quantizers = d->k->cfg.quantizers, given;
    const int32_t *rows[ENCODEC_STREAMS_MAX * ENCODEC_QUANTIZERS_MAX], **row = rows;
    for (size_t i = 0; i < n; i++) {
        for (int64_t ch = 0; ch < in[i].channels; ch++) {
            for (int64_t q = 0; q < quantizers; q++) {
                *row++ = in[i].codes + (q * in[i].channels + ch) * in[i].ld;
            }
        }
    }
    encodec_decoder_reset(d, (int)n * in->channels);
    encodec_frames f = {.rows = rows, .n = in->frames, .last = true, .out = out};
    return encodec_decode_push(d, c, &f, &given, e);
}

status encodec_decoder_run(encodec_decoder *d, compute *c, const encodec_codes *in, size_t n,
                           float *const *out, err *e) {
    int64_t most = ENCODEC_SAMPLES_MAX / d->k->cfg.hop;
    assert((in->channels == 1 || in->channels == 2) && in->channels <= d->streams_max);
    if (in->frames < 1 || in->frames > most) {
        return err_set(e, ERR_ARG, "codes: expected 1 to %lld frames, found %lld", (long long)most,
                       (long long)in->frames);
    }
    size_t step = (size_t)(d->streams_max / in->channels);
    status rc = OK;
    for (size_t i = 0; i < n && !rc; i += step) {
        rc = run_side_by_side(d, c, in + i, MIN(step, n - i), out + i * (size_t)in->channels, e);
    }
    return rc;
}

status encodec_decode(const encodec *k, compute *c, const encodec_codes *in, float *const *out,
                      err *e) {
    encodec_decoder *d;
    status rc = encodec_decoder_create(&d, k, in->channels, e);
    if (!rc) rc = encodec_decoder_run(d, c, in, 1, out, e);
    encodec_decoder_free(d);
    return rc;
}
