// codec.c - the codec and the text encoder on the device against the CPU's.
#include <stdio.h>
#include <stdlib.h>

#include "engine/musicgen/family.h"
#include "gpu/codec.h"
#include "gpu/text.h"
#include "gpu_test.h"

#define SEQUENCES_MAX 3

static void must(status rc, const err *e, const char *what) {
    if (rc) printf("FAIL %s: %s\n", what, e->text), exit(1);
}

static void test_decode(const pipeline *p, gpu_codec *g, int channels, int64_t frames, size_t n) {
    const encodec_config *cfg = encodec_get_config(p->codec);
    int64_t rows = cfg->quantizers * channels, size = frames * cfg->hop;
    int32_t *codes = mem_calloc((size_t)(rows * frames) * n, sizeof *codes);
    float *want[2 * SEQUENCES_MAX], *got[2 * SEQUENCES_MAX];
    encodec_codes in[SEQUENCES_MAX];
    err e;
    for (size_t i = 0; i < (size_t)(rows * frames) * n; i++)
        codes[i] = (int32_t)((i * 2654435761u >> 7) % (uint64_t)cfg->codes);
    for (size_t i = 0; i < n; i++)
        in[i] = (encodec_codes){codes + (size_t)(rows * frames) * i, frames, frames, channels};
    for (size_t i = 0; i < n * (size_t)channels; i++) {
        want[i] = mem_calloc((size_t)size, sizeof **want);
        got[i] = mem_calloc((size_t)size, sizeof **got);
    }
    encodec_decoder *d;
    must(encodec_decoder_create(&d, p->codec, ENCODEC_STREAMS_MAX, &e), &e, "codec");
    must(encodec_decoder_run(d, cpu, in, n, want, &e), &e, "decode");
    must(gpu_codec_decode(g, in, n, got, &e), &e, "decode on the GPU");
    encodec_decoder_free(d);
    for (size_t i = 0; i < n * (size_t)channels; i++) {
        same(want[i], got[i], size, "sound of %lld frames, stream %zu", (long long)frames, i);
        mem_free(want[i]), mem_free(got[i]);
    }
    mem_free(codes);
}

static void test_encode(const pipeline *p, gpu_codec *g, int64_t n) {
    const encodec_config *cfg = encodec_get_config(p->codec);
    int64_t frames = encodec_frame_count(p->codec, n);
    float *x = mem_calloc((size_t)n, sizeof *x), *latents[2];
    int32_t *codes[2];
    err e;
    fill(x, n, 4);
    for (int i = 0; i < 2; i++) {
        latents[i] = mem_calloc((size_t)(frames * cfg->dim), sizeof **latents);
        codes[i] = mem_calloc((size_t)(frames * cfg->quantizers), sizeof **codes);
        const encodec_encoded out = {codes[i], latents[i]};
        must(i ? gpu_codec_encode(g, x, n, &out, &e)
               : encodec_encode(p->codec, cpu, x, n, &out, &e),
             &e, "encode");
    }
    same(latents[0], latents[1], frames * cfg->dim, "latents of %lld samples", (long long)n);
    expect(!memcmp(codes[0], codes[1], (size_t)(frames * cfg->quantizers) * sizeof **codes),
           "codes of %lld samples", (long long)n);
    for (int i = 0; i < 2; i++) mem_free(latents[i]), mem_free(codes[i]);
    mem_free(x);
}

static void test_text(const pipeline *p, int64_t n) {
    const t5_config *cfg = t5_get_config(p->text);
    int64_t size = n * cfg->d_model;
    float *want = mem_calloc((size_t)size, 4), *got = mem_calloc((size_t)size, 4);
    int32_t *ids = mem_calloc((size_t)n, sizeof *ids);
    gpu_text *t;
    arena work;
    err e;
    arena_init(&work, 0);
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)(i * 17 % cfg->vocab);
    must(gpu_text_open(&t, gpu, p->text, &e), &e, "text");
    must(t5_encode(p->text, cpu, want, ids, n, &work, &e), &e, "encode a text");
    must(gpu_text_encode(t, got, ids, n, &e), &e, "encode a text on the GPU");
    same(want, got, size, "states of %lld tokens", (long long)n);
    gpu_text_close(t);
    arena_deinit(&work);
    mem_free(want), mem_free(got), mem_free(ids);
}

static void test_model(const char *model, weights_type type, bool quick) {
    const family_options o = {.model = model, .c = cpu, .weights = type};
    const pipeline *p;
    family *f;
    gpu_codec *g;
    err e;
    must(family_open(&f, &o, &e), &e, model);
    must(musicgen_pipeline(&p, f, &e), &e, model);
    must(gpu_codec_open(&g, gpu, p->codec, &e), &e, model);
    test_decode(p, g, 1, quick ? 5 : 7, 1);
    if (!quick) {
        test_decode(p, g, 1, 1, 2);
        test_decode(p, g, 2, 9, 2);
        test_encode(p, g, 3);
        test_encode(p, g, 9 * encodec_get_config(p->codec)->hop - 5);
    }
    gpu_codec_close(g);
    test_text(p, quick ? 6 : 1);
    if (!quick) test_text(p, 21);
    family_close(f);
}

void test_gpu_codec(void) {
    static const weights_type types[] = {WEIGHTS_AS_STORED, WEIGHTS_BF16, WEIGHTS_Q8};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        test_model("tests/parity/mono/model", types[i], false);
    // A device that cannot run the LSTM's steps in one launch.
    setenv("FAKE_CUDA_ALONE", "1", 1);
    for (size_t i = 1; i < ARRAY_LEN(types); i++)
        test_model("tests/parity/mono/model", types[i], false);
    unsetenv("FAKE_CUDA_ALONE");
    test_model("tests/parity/melody/model", WEIGHTS_AS_STORED, false);
    test_model("tests/parity/stereo/model", WEIGHTS_AS_STORED, false);
    test_model("models/stemforge-mini", WEIGHTS_BF16, true);
}
