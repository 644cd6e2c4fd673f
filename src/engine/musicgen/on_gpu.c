// on_gpu.c - see on_gpu.h.
#include "engine/musicgen/on_gpu.h"

#include <string.h>

#include "engine/musicgen/decoder_inside.h"

#define CHECK_COLUMNS 2
#define SHARE_OF_FREE 0.8 // of the memory that is free beside the networks, for running stems

// The scores [CHECK_COLUMNS, K, vocab] of a device's own decoder for some codes behind a text of
// one made-up row.
static status scores_of(decoder *d, const float *text, float *out, err *e) {
    const mg_config *cfg = d->cfg;
    int32_t codes[MG_CODEBOOKS_MAX * CHECK_COLUMNS];
    for (int64_t i = 0; i < cfg->codebooks * CHECK_COLUMNS; i++)
        codes[i] = (int32_t)(i * 7 % cfg->vocab);
    const seq_params p = {.text = text,
                          .text_n = 1,
                          .text_rows = 1,
                          .sampling = {.guidance = 1},
                          .frames = CHECK_COLUMNS,
                          .window = CHECK_COLUMNS,
                          .cache_type = DT_F32};
    const seq_window w = {.frames = CHECK_COLUMNS};
    const seq_forced f = {.codes = codes, .cols = CHECK_COLUMNS, .bare = true, .logits = out};
    seq *s = NULL;
    status rc = seq_create(&s, d, &p, e);
    if (!rc) rc = decoder_force(d, s, &w, &f, e);
    seq_free(s);
    return rc;
}

static status other_bits(err *e) {
    return err_set(e, ERR_CONFLICT,
                   "the GPU's self-test: expected the CPU's scores to the last bit, found others: "
                   "compute on the CPU (--device cpu, USE_GPU=false) and report this GPU");
}

static status compare(musicgen_family *f, decoder *cpu, float *memory, size_t n, err *e) {
    float *text = memory + 2 * n;
    for (int64_t i = 0; i < cpu->cfg->text_dim; i++) text[i] = (float)(i % 17) / 17 - 0.5f;
    status rc = scores_of(cpu, text, memory, e);
    if (!rc) rc = scores_of(f->decoder, text, memory + n, e);
    if (!rc && memcmp(memory, memory + n, n * sizeof *memory)) rc = other_bits(e);
    return rc;
}

static status self_test(musicgen_family *f, err *e) {
    const mg_config *cfg = mg_get_config(f->p.lm);
    size_t n = (size_t)(CHECK_COLUMNS * cfg->codebooks * cfg->vocab);
    const decoder_limits limits = {
        .sequences = 1, .positions = CHECK_COLUMNS + cfg->codebooks + 1, .prefill = CHECK_COLUMNS};
    decoder *cpu = NULL;
    float *memory = mem_calloc(2 * n + (size_t)cfg->text_dim, sizeof *memory);
    status rc = memory ? decoder_open(&cpu, NULL, f->p.lm, f->base.c, &limits, e)
                       : err_set(e, ERR_OOM, "no memory for the GPU's self-test");
    if (!rc) rc = compare(f, cpu, memory, n, e);
    decoder_close(cpu);
    mem_free(memory);
    return rc;
}

static status set_budget(musicgen_family *f, device *gpu, err *e) {
    size_t unused, least = f->base.info.stem_bytes;
    status rc = device_unused(gpu, &unused, e);
    f->base.gpu_bytes = (size_t)((double)unused * SHARE_OF_FREE);
    if (rc || f->base.gpu_bytes >= least) return rc;
    return err_set(e, ERR_LIMIT,
                   "the GPU's memory: expected %.1f MB for a stem beside the model, found %.1f MB: "
                   "take narrower weights (q8, q4) or compute on the CPU",
                   (double)least / 1e6, (double)f->base.gpu_bytes / 1e6);
}

status on_gpu_open(musicgen_family *f, device *gpu, const decoder_limits *l, err *e) {
    status rc = decoder_open(&f->decoder, gpu, f->p.lm, f->base.c, l, e);
    if (!rc) rc = gpu_codec_open(&f->gpu_codec, gpu, f->p.codec, e);
    if (!rc) rc = gpu_text_open(&f->texts.gpu, gpu, f->p.text, e);
    if (!rc) rc = self_test(f, e);
    if (!rc) rc = set_budget(f, gpu, e);
    f->base.on_gpu = rc == OK;
    if (rc) on_gpu_close(f);
    return rc;
}

void on_gpu_close(musicgen_family *f) {
    decoder_close(f->decoder);
    gpu_text_close(f->texts.gpu);
    gpu_codec_close(f->gpu_codec);
    f->decoder = NULL;
    f->gpu_codec = NULL;
    f->texts.gpu = NULL;
    f->base.on_gpu = false;
}
