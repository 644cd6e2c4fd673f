// listen.c - see listen.h.
#include "audio/listen.h"

#include "base/lanes.h"
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

static float halved_at(const float *x, int64_t n, int64_t mid, const float tap[ARMS]) {
    float sum = x[mid] / 2;
    for (int64_t i = 0; i < ARMS; i++) {
        int64_t back = mid - 2 * i - 1, on = mid + 2 * i + 1;
        sum += tap[i] * ((back >= 0 ? x[back] : 0) + (on < n ? x[on] : 0));
    }
    return sum;
}

// Four of them, from mid on, all of whose samples are there.
static lanes_f4 halved_from(const float *mid, const float tap[ARMS]) {
    lanes_f4 sum = lanes_f4_evens(mid) / 2;
    for (int64_t i = 0; i < ARMS; i++)
        sum += tap[i] * (lanes_f4_odds(mid - 2 * i - 2) + lanes_f4_odds(mid + 2 * i));
    return sum;
}

// Every other sample of x [n] into out [(n + 1) / 2], what the new rate cannot hold filtered away.
static void halve(float *out, const float *x, int64_t n) {
    float tap[ARMS];
    set_taps(tap);
    int64_t mid = 0;
    for (; mid < MIN(n, 2 * ARMS); mid += 2) out[mid / 2] = halved_at(x, n, mid, tap);
    for (; mid + 2 * ARMS + 6 <= n; mid += 8)
        lanes_f4_store(out + mid / 2, halved_from(x + mid, tap));
    for (; mid < n; mid += 2) out[mid / 2] = halved_at(x, n, mid, tap);
}

status listen_open(listened *out, const float *mono, int64_t n, int rate, err *e) {
    *out = (listened){0};
    if (rate < 8000 || rate > 192000)
        return err_set(e, ERR_ARG, "sample rate %d, expected 8000 to 192000", rate);
    if (n < 1) return err_set(e, ERR_ARG, "no samples to analyse");
    *out = (listened){.x = mono, .n = n, .rate = rate, .seconds = (double)n / rate};
    for (; out->rate >= RATE_HIGH && out->rate % 2 == 0; out->rate /= 2) {
        float *half = mem_alloc((size_t)(out->n + 1) / 2 * sizeof *half);
        if (!half) {
            listen_close(out);
            return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)n);
        }
        halve(half, out->x, out->n);
        mem_free(out->own);
        out->x = out->own = half;
        out->n = (out->n + 1) / 2;
    }
    return OK;
}

void listen_close(listened *l) {
    mem_free(l->own);
    *l = (listened){0};
}
