// fuzz_audio.c - the audio readers on any bytes: what they take has kept its limits and is finite.
#include <math.h>
#include <stdlib.h>

#include "audio/file.h"
#include "audio/peaks.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static status read_image(void *arg, int64_t offset, int64_t n, buf *out, err *e) {
    const bytes *image = arg;
    size_t at = MIN((size_t)offset, image->n);
    buf_add(out, image->p + at, MIN((size_t)n, image->n - at));
    return buf_status(out, e);
}

static void draw(bytes image) {
    static peaks k;
    if (peaks_of_wav(&k, read_image, &image, 64, NULL)) return;
    if (k.count > 64 || k.rate < 1 || (int64_t)k.count * k.span < k.frames) abort();
    for (size_t i = 0; i < k.count; i++)
        if (k.pair[i].low > k.pair[i].high) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    draw((bytes){p, n});
    file_limits limits = {.seconds_max = 0.5, .channels_max = 2};
    file_clip c;
    err e;
    if (file_decode(&c, (bytes){p, n}, &limits, &e)) {
        if (c.x) abort();
        return 0;
    }
    if (c.frames < 1 || c.channels < 1 || c.channels > 2 || 2 * c.frames > c.rate) abort();
    for (int64_t i = 0; i < c.frames * c.channels; i++)
        if (!isfinite(c.x[i])) abort();
    float *planes = NULL;
    int64_t frames;
    if (c.rate >= 8000 && c.rate <= 48000 && c.rate % 100 == 0 &&
        file_clip_planes(&planes, &frames, &c, 32000, 1, &e))
        abort();
    mem_free(planes);
    file_clip_deinit(&c);
    return 0;
}
