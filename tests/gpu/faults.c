// faults.c - each call of the driver failing in turn: an error each time, and no crash.
#include <stdio.h>
#include <stdlib.h>

#include "engine/musicgen/decoder_inside.h"
#include "engine/musicgen/family.h"
#include "gpu/codec.h"
#include "gpu/text.h"
#include "gpu_test.h"

#define FRAMES 3

typedef struct {
    const pipeline *p;
    float *text;
    int32_t codes[MG_CODEBOOKS_MAX * FRAMES]; // what was made
    float *sound, *states;
} work;

static status run_sequence(work *w, decoder *d, err *e) {
    const mg_config *cfg = mg_get_config(w->p->lm);
    const seq_params p = {.text = w->text,
                          .text_n = 2,
                          .text_rows = 2,
                          .sampling = {.temperature = 1, .top_k = 20, .guidance = 3},
                          .frames = FRAMES,
                          .window = FRAMES,
                          .cache_type = w->p->cache_type,
                          .keep_first = true};
    const seq_window window = {.frames = FRAMES};
    seq *s = NULL;
    const int32_t *codes = NULL;
    status rc = seq_create(&s, d, &p, e);
    if (!rc) rc = decoder_begin(d, s, &window, e);
    for (int64_t i = 0; !rc && i < decoder_columns(w->p->lm, &p, FRAMES, 0); i++)
        rc = decoder_step(d, &s, 1, e);
    if (!rc) rc = seq_codes(s, &codes, e);
    if (!rc) memcpy(w->codes, codes, (size_t)(cfg->codebooks * FRAMES) * sizeof *codes);
    seq_free(s);
    return rc;
}

static status run_decoder(work *w, device *dev, err *e) {
    const decoder_limits l = {.sequences = 2, .positions = 64, .prefill = 8};
    decoder *d = NULL;
    status rc = decoder_gpu_open(&d, dev, w->p->lm, cpu, &l, e);
    if (!rc) rc = run_sequence(w, d, e);
    decoder_close(d);
    return rc;
}

static status run_codec(work *w, device *dev, err *e) {
    gpu_codec *c = NULL;
    int channels = (int)mg_get_config(w->p->lm)->channels;
    memset(w->codes, 0, sizeof w->codes); // kernels that do nothing leave junk
    const encodec_codes in = {w->codes, FRAMES, FRAMES, channels};
    status rc = gpu_codec_open(&c, dev, w->p->codec, e);
    if (!rc) rc = gpu_codec_decode(c, &in, 1, &w->sound, e);
    gpu_codec_close(c);
    return rc;
}

static status run_text(work *w, device *dev, err *e) {
    gpu_text *t = NULL;
    const int32_t ids[] = {1, 2};
    status rc = gpu_text_open(&t, dev, w->p->text, e);
    if (!rc) rc = gpu_text_encode(t, w->states, ids, 2, e);
    gpu_text_close(t);
    return rc;
}

static status run_all(work *w, err *e) {
    device *dev = NULL;
    status rc = device_open(&dev, 0, e);
    if (!rc) rc = run_decoder(w, dev, e);
    if (!rc) rc = run_codec(w, dev, e);
    if (!rc) rc = run_text(w, dev, e);
    device_close(dev);
    return rc;
}

void test_gpu_faults(void) {
    const family_options o = {.model = "tests/parity/mono/model", .c = cpu};
    family *f;
    work w = {0};
    err e;
    if (family_open(&f, &o, &e) || musicgen_pipeline(&w.p, f, &e))
        printf("FAIL %s\n", e.text), exit(1);
    w.text = mem_calloc((size_t)(2 * mg_get_config(w.p->lm)->text_dim), sizeof *w.text);
    w.sound = mem_calloc((size_t)(FRAMES * encodec_get_config(w.p->codec)->hop), sizeof *w.sound);
    w.states = mem_calloc((size_t)(2 * t5_get_config(w.p->text)->d_model), sizeof *w.states);
    fake_set(0, 1000000);
    status rc = run_all(&w, &e);
    long calls = fake_calls();
    expect(!rc, "the run without a fault: %s", e.text);
    // Kernels do nothing here, so every call has its turn.
    for (long n = 0; n < calls; n++) {
        fake_set(3, n);
        rc = run_all(&w, &e);
        // What fails at the end, when all is read, is only the freeing.
        expect(rc == ERR_DEVICE || rc == ERR_OOM || (!rc && n > calls - 200),
               "call %ld of %ld fails: expected an error, found %d", n, calls, (int)rc);
    }
    fake_set(0, -1);
    mem_free(w.text), mem_free(w.sound), mem_free(w.states);
    family_close(f);
}
