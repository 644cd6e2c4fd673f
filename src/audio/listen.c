// listen.c - see listen.h.
#include "audio/listen.h"

#include "audio/analyse.h"
#include "base/mem.h"
#include "base/num.h"

#define RATE_HIGH 32000 // rates from here on are halved
#define ARMS 8          // taps on each side that are not 0

// The taps of a half-band filter at odd distances 1, 3 ... from its middle, whose own tap is 1/2:
// a sinc under Hann's window, scaled to let a constant through.
static void set_taps(float tap[ARMS]) {
    double sum = 0, t[ARMS];
    for (int i = 0; i < ARMS; i++) {
        double at = 2 * i + 1;
        t[i] = (i % 2 ? -1 : 1) / (NUM_PI * at) * (0.5 + 0.5 * num_cos_turns(at / (4.0 * ARMS)));
        sum += 2 * t[i];
    }
    for (int i = 0; i < ARMS; i++) tap[i] = (float)(t[i] / sum / 2);
}

// Every other sample of x [n] into out [(n + 1) / 2], what the new rate cannot hold filtered away.
static void halve(float *out, const float *x, int64_t n) {
    float tap[ARMS];
    set_taps(tap);
    for (int64_t mid = 0; mid < n; mid += 2) {
        float sum = x[mid] / 2;
        for (int64_t i = 0; i < ARMS; i++) {
            int64_t back = mid - 2 * i - 1, on = mid + 2 * i + 1;
            sum += tap[i] * ((back >= 0 ? x[back] : 0) + (on < n ? x[on] : 0));
        }
        out[mid / 2] = sum;
    }
}

status listen_open(listened *out, const float *x, int64_t frames, int channels, int rate, err *e) {
    *out = (listened){0};
    if (rate < 8000 || rate > 192000)
        return err_set(e, ERR_ARG, "sample rate %d, expected 8000 to 192000", rate);
    if (frames < 1) return err_set(e, ERR_ARG, "no samples to analyse");
    *out = (listened){NULL, frames, rate, (double)frames / rate};
    out->x = mem_alloc((size_t)frames * sizeof *out->x);
    float *half = mem_alloc((size_t)(frames + 1) / 2 * sizeof *half);
    if (!out->x || !half) {
        mem_free(half);
        listen_close(out);
        return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)frames);
    }
    analyse_mono(out->x, x, frames, channels);
    for (; out->rate >= RATE_HIGH && out->rate % 2 == 0; out->rate /= 2) {
        halve(half, out->x, out->n);
        float *spent = out->x;
        out->x = half, half = spent;
        out->n = (out->n + 1) / 2;
    }
    mem_free(half);
    return OK;
}

void listen_close(listened *l) {
    mem_free(l->x);
    *l = (listened){0};
}
