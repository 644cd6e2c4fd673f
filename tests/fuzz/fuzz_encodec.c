// fuzz_encodec.c - the codec's and the chroma front end's configuration from any bytes.
#include <stdlib.h>

#include "engine/musicgen/chroma.h"
#include "model/encodec_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

// What a config that was accepted must promise to whatever is sized by it.
static void check_codec(const encodec_config *c) {
    int64_t hop = 1, width = encodec_width(c);
    for (int64_t i = 0; i < c->ratio_count; i++) hop *= c->ratios[i];
    if (hop != c->hop || hop < 1 || c->dim < 1 || c->codes < 2) abort();
    if (c->filters < 1 || width < c->filters || c->filters / c->compress < 1) abort();
    size_t values; // the largest matrices there can be
    if (!size_mul(&values, (size_t)(2 * width), (size_t)(width * c->hop))) abort();
    if (!size_mul(&values, (size_t)(4 * width), (size_t)(width * 4))) abort();
}

static void check_chroma(const chroma_config *c) {
    if (c->fft > 1024) return; // opening is cubic work for nothing new
    chroma *k;
    if (chroma_open(&k, c, NULL) != OK) abort();
    float x[100] = {1, -1, 0.5f}, out[64 * CHROMA_CLASSES_MAX];
    const chroma_rows to = {.onehot = out, .n = MIN(64, chroma_frames(k, 100))};
    if (chroma_extract(k, x, 100, &to, NULL) != OK) abort();
    chroma_close(k);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    json *j;
    encodec_config codec;
    chroma_config pitch;
    if (json_parse(&j, (bytes){p, n}, 1 << 16, NULL) != OK) return 0;
    if (encodec_config_read(&codec, j, 4, NULL) == OK) check_codec(&codec);
    if (chroma_config_read(&pitch, j, 12, NULL) == OK) check_chroma(&pitch);
    json_free(j);
    return 0;
}
