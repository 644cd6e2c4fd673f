// fuzz_audio.c - the audio reader on any bytes: what it accepts has kept its limits and is finite.
#include <math.h>
#include <stdlib.h>

#include "audio/file.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
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
