// delay.c - see delay.h.
#include "engine/musicgen/delay.h"

static int64_t delay_of(const delay_pattern *d, int64_t k) {
    return d->parallel ? 0 : k / d->channels;
}

int64_t delay_columns(const delay_pattern *d) {
    return d->frames + 1 + delay_of(d, d->codebooks - 1);
}

int64_t delay_frame(const delay_pattern *d, int64_t k, int64_t p) {
    int64_t t = p - 1 - delay_of(d, k);
    return t >= 0 && t < d->frames ? t : -1;
}

void delay_column(const delay_pattern *d, int32_t *out, const int32_t *frames, int64_t stride,
                  int64_t known, int64_t p) {
    for (int64_t k = 0; k < d->codebooks; k++) {
        int64_t t = delay_frame(d, k, p);
        out[k] = t >= 0 && t < known ? frames[k * stride + t] : d->special;
    }
}
