// chroma.c - see chroma.h.
#include "engine/musicgen/chroma.h"

#include <math.h>

#include "base/fft.h"
#include "base/mem.h"
#include "base/num.h"

#define FFT_MAX 65536
#define SAMPLES_MAX ((int64_t)1 << 28)
#define LOWEST_HZ 27.5 // A0, class 0 before the rotation

struct chroma {
    chroma_config cfg;
    fft *plan;
    float *window;  // [fft]
    double energy;  // of the window
    double *filter; // [fft/2 + 1, classes]
};

status chroma_config_read(chroma_config *out, const json *config, int64_t classes, err *e) {
    chroma_config cfg = {.sample_rate = 32000, .fft = 16384, .hop = 4096, .classes = classes};
    int64_t seconds = 30;
    status rc = json_opt_int(config, "sampling_rate", 1000, 384000, &cfg.sample_rate, e);
    if (!rc) rc = json_opt_int(config, "n_fft", 16, FFT_MAX, &cfg.fft, e);
    if (!rc) rc = json_opt_int(config, "hop_length", 1, FFT_MAX, &cfg.hop, e);
    if (!rc) rc = json_opt_int(config, "num_chroma", 12, CHROMA_CLASSES_MAX, &cfg.classes, e);
    if (!rc) rc = json_opt_int(config, "chunk_length", 1, 600, &seconds, e);
    if (rc) return rc;
    if (cfg.fft & (cfg.fft - 1)) {
        return err_set(e, ERR_FORMAT, "n_fft: expected a power of two, found %lld",
                       (long long)cfg.fft);
    }
    if (cfg.classes % 12) {
        return err_set(e, ERR_FORMAT, "num_chroma: expected a multiple of 12, found %lld",
                       (long long)cfg.classes);
    }
    cfg.samples_max = seconds * cfg.sample_rate;
    *out = cfg;
    return OK;
}

// The pitch of FFT bin b, in classes above LOWEST_HZ. Bin 0 has no pitch; it counts as one and a
// half octaves below bin 1.
static double bin_pitch(const chroma_config *cfg, int64_t b) {
    double n = (double)cfg->classes, at = (double)MAX(b, 1);
    double hz = at * (double)cfg->sample_rate / (double)cfg->fft;
    double pitch = n * num_log2(hz / LOWEST_HZ);
    return b ? pitch : pitch - 1.5 * n;
}

// The filter column of bin b: a Gaussian around each class, scaled to unit length and weighted
// towards the fifth octave.
static void make_column(const chroma_config *cfg, int64_t b, double *column) {
    double n = (double)cfg->classes, pitch = bin_pitch(cfg, b);
    double width = MAX(bin_pitch(cfg, b + 1) - pitch, 1.0), sum = 0;
    int64_t rotate = 3 * (cfg->classes / 12); // class 0 is A; a minor third on is C
    for (int64_t i = 0; i < cfg->classes; i++) {
        double off = pitch - (double)((i + rotate) % cfg->classes) + n / 2;
        off = off - n * floor(off / n) - n / 2; // within half an octave
        double x = 2 * off / width;
        column[i] = num_exp(-0.5 * x * x);
        sum += column[i] * column[i];
    }
    double octave = (pitch / n - 5) / 2, scale = num_exp(-0.5 * octave * octave) / sqrt(sum);
    for (int64_t i = 0; i < cfg->classes; i++) column[i] *= scale;
}

static status init(chroma *k, err *e) {
    size_t n = (size_t)k->cfg.fft;
    status rc = fft_open(&k->plan, n, e);
    if (rc) return rc;
    k->window = mem_alloc(n * sizeof *k->window);
    k->filter = mem_alloc((n / 2 + 1) * (size_t)k->cfg.classes * sizeof *k->filter);
    if (!k->window || !k->filter) return err_set(e, ERR_OOM, "no memory for chroma filters");
    fft_hann(k->window, n);
    for (size_t i = 0; i < n; i++) k->energy += (double)k->window[i] * (double)k->window[i];
    for (int64_t b = 0; b <= k->cfg.fft / 2; b++) {
        make_column(&k->cfg, b, k->filter + b * k->cfg.classes);
    }
    return OK;
}

status chroma_open(chroma **out, const chroma_config *config, err *e) {
    *out = NULL;
    chroma *k = mem_calloc(1, sizeof *k);
    if (!k) return err_set(e, ERR_OOM, "no memory for chroma filters");
    k->cfg = *config;
    status rc = init(k, e);
    if (rc) {
        chroma_close(k);
        return rc;
    }
    *out = k;
    return OK;
}

void chroma_close(chroma *k) {
    if (!k) return;
    fft_close(k->plan);
    mem_free(k->window);
    mem_free(k->filter);
    mem_free(k);
}

const chroma_config *chroma_get_config(const chroma *k) {
    return &k->cfg;
}

const double *chroma_filter(const chroma *k, int64_t b) {
    return k->filter + b * k->cfg.classes;
}

// Limits *n to samples_max and pads short audio to one window; *lead is the number of zeros in
// front of the samples.
static int64_t padded_length(const chroma *k, int64_t *n, int64_t *lead) {
    *n = MIN(*n, k->cfg.samples_max);
    *lead = *n < k->cfg.fft ? (k->cfg.fft - *n) / 2
                            : 0; // an odd number of zeros: one more on the right
    return MAX(*n, k->cfg.fft);
}

int64_t chroma_frames(const chroma *k, int64_t n) {
    int64_t lead;
    return 1 + padded_length(k, &n, &lead) / k->cfg.hop;
}

// Writes frame f times the window: the frame is centred on sample f*hop of the padded signal, which
// is reflected at both ends.
static void cut_frame(const chroma *k, const float *samples, int64_t n, int64_t f, float *out) {
    int64_t lead, total = padded_length(k, &n, &lead);
    for (int64_t i = 0; i < k->cfg.fft; i++) {
        int64_t at = f * k->cfg.hop + i - k->cfg.fft / 2;
        if (at < 0) at = -at;
        if (at >= total) at = 2 * (total - 1) - at;
        at -= lead;
        out[i] = at >= 0 && at < n ? samples[at] * k->window[i] : 0.0f;
    }
}

static void filter_frame(const chroma *k, const float *power, double *sum) {
    for (int64_t i = 0; i < k->cfg.classes; i++) sum[i] = 0;
    for (int64_t b = 0; b <= k->cfg.fft / 2; b++) {
        const double *column = chroma_filter(k, b);
        for (int64_t i = 0; i < k->cfg.classes; i++) sum[i] += column[i] * (double)power[b];
    }
}

static void put_frame(const chroma *k, const double *sum, float *onehot, float *raw) {
    int64_t best = 0;
    for (int64_t i = 0; i < k->cfg.classes; i++) {
        if (sum[i] > sum[best]) best = i;
        if (raw) raw[i] = (float)(sum[i] / k->energy);
        onehot[i] = 0;
    }
    onehot[best] = 1;
}

status chroma_check_work(const chroma *k, int64_t frames, err *e) {
    if (frames <= CHROMA_WORK_MAX / k->cfg.fft) return OK;
    return err_set(
        e, ERR_LIMIT,
        "melody: %lld chroma frames of %lld samples each, expected at most %lld frames of "
        "that length; hop_length is %lld",
        (long long)frames, (long long)k->cfg.fft, (long long)(CHROMA_WORK_MAX / k->cfg.fft),
        (long long)k->cfg.hop);
}

status chroma_extract(const chroma *k, const float *samples, int64_t n, const chroma_rows *out,
                      err *e) {
    status rc = chroma_check_work(k, out->n, e);
    if (rc) return rc;
    if (n < 1 || n > SAMPLES_MAX) {
        return err_set(e, ERR_ARG, "melody: expected 1 to %lld samples, found %lld",
                       (long long)SAMPLES_MAX, (long long)n);
    }
    arena work;
    arena_init(&work, 0);
    size_t size = (size_t)k->cfg.fft;
    float *frame = arena_f32(&work, 1, size), *power = arena_f32(&work, 1, size / 2 + 1);
    double *spectrum = arena_alloc(&work, (size + 2) * sizeof *spectrum);
    double *sum = arena_alloc(&work, (size_t)k->cfg.classes * sizeof *sum);
    bool ok = !work.failed;
    for (int64_t f = 0, frames = MIN(out->n, chroma_frames(k, n)); ok && f < frames; f++) {
        cut_frame(k, samples, n, f, frame);
        fft_power(k->plan, power, frame, spectrum);
        filter_frame(k, power, sum);
        int64_t at = f * k->cfg.classes;
        put_frame(k, sum, out->onehot + at, out->raw ? out->raw + at : NULL);
    }
    arena_deinit(&work);
    return ok ? OK : err_set(e, ERR_OOM, "no memory for chroma features");
}
