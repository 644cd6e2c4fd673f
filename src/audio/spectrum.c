// spectrum.c - see spectrum.h.
#include "audio/spectrum.h"

#include "base/lanes.h"
#include "base/mem.h"

status spectrum_open(spectrum *s, size_t least, double seconds, int rate, err *e) {
    *s = (spectrum){.size = least};
    while ((double)s->size < seconds * rate) s->size *= 2;
    status rc = fft_open(&s->plan, s->size, e);
    s->window = mem_alloc(s->size * sizeof *s->window);
    s->frame = mem_alloc(s->size * sizeof *s->frame);
    s->power = mem_alloc((s->size / 2 + 1) * sizeof *s->power);
    s->scratch = mem_alloc((s->size + 2) * sizeof *s->scratch);
    if (!rc && (!s->window || !s->frame || !s->power || !s->scratch))
        rc = err_set(e, ERR_OOM, "no memory for a spectrum");
    if (!rc) fft_hann(s->window, s->size);
    return rc;
}

void spectrum_close(spectrum *s) {
    fft_close(s->plan);
    mem_free(s->window);
    mem_free(s->frame);
    mem_free(s->power);
    mem_free(s->scratch);
    *s = (spectrum){0};
}

// The window where all of it lies inside x. Its size is a power of two, FFT_SIZE_MIN at least.
static void weigh_inside(spectrum *s, const float *x) {
    for (size_t i = 0; i < s->size; i += 4)
        lanes_f4_store(s->frame + i, lanes_f4_load(x + i) * lanes_f4_load(s->window + i));
}

static void weigh_across(spectrum *s, const float *x, int64_t n, int64_t from) {
    for (size_t i = 0; i < s->size; i++) {
        int64_t at = from + (int64_t)i;
        s->frame[i] = at >= 0 && at < n ? x[at] * s->window[i] : 0;
    }
}

void spectrum_at(spectrum *s, const float *x, int64_t n, int64_t from) {
    if (from >= 0 && from <= n - (int64_t)s->size)
        weigh_inside(s, x + from);
    else
        weigh_across(s, x, n, from);
    fft_power(s->plan, s->power, s->frame, s->scratch);
}

double spectrum_full(const spectrum *s) {
    return (double)s->size * (double)s->size / 16;
}
