// decoder.c - decoder_gpu.c against decoder_cpu.c: the codes of sequences that join and leave, over
// windows, in each type of weights; scores of columns fed as they are.
#include <stdio.h>
#include <stdlib.h>

#include "engine/musicgen/decoder_inside.h"
#include "engine/musicgen/family.h"
#include "gpu_test.h"

#define FRAMES 14 // of a stem over three windows
#define WINDOW 9
#define STRIDE 5
#define SEQUENCES 3
#define TOKENS 5
#define CANCELED 6 // the step before which a sequence is ended

typedef struct {
    family *f;
    const pipeline *p;
    const mg_config *cfg;
    decoder *d;
    int sequences;
    int canceled; // a sequence that ends in the middle; 0: none
    int64_t frames, window, stride;
    seq *s[SEQUENCES];
    int64_t left[SEQUENCES]; // steps to the end of the window
    int64_t start[SEQUENCES];
    bool done[SEQUENCES];
    float *text, *chroma;
} company;

static void must(status rc, const err *e, const char *what) {
    if (rc) printf("FAIL %s: %s\n", what, e->text), exit(1);
}

// A fixture's upper layers read no chroma rows: what "control_layers" in its config would do.
static void set_control_layers(company *k, int64_t layers) {
    mg_config *cfg = (mg_config *)(uintptr_t)k->cfg;
    cfg->control_layers = layers;
}

// shipped: frames of the model that ships, in one window; 0: it is a fixture.
static void open_model(company *k, const char *model, weights_type type, int64_t shipped) {
    err e;
    *k = (company){.sequences = SEQUENCES, .frames = FRAMES, .window = WINDOW, .stride = STRIDE};
    if (shipped) k->sequences = 2, k->frames = k->window = k->stride = shipped;
    const family_options o = {.model = model, .c = cpu, .weights = type};
    must(family_open(&k->f, &o, &e), &e, model);
    must(musicgen_pipeline(&k->p, k->f, &e), &e, model);
    k->cfg = mg_get_config(k->p->lm);
    k->text = mem_calloc((size_t)(TOKENS * k->cfg->text_dim), sizeof *k->text);
    fill(k->text, TOKENS * k->cfg->text_dim, 3);
    if (!k->cfg->melody) return;
    k->chroma = mem_calloc((size_t)(k->cfg->chroma_length * k->cfg->chroma_bins), 4);
    for (int64_t i = 0; i < k->cfg->chroma_length; i++)
        k->chroma[i * k->cfg->chroma_bins + i % 7] = 1;
}

static void open_decoder(company *k, bool on_gpu) {
    err e;
    const decoder_limits l = {.sequences = SEQUENCES,
                              .positions = k->frames + k->cfg->chroma_length + 32,
                              .prefill = k->sequences < SEQUENCES ? 0 : 20};
    must(on_gpu ? decoder_gpu_open(&k->d, gpu, k->p->lm, cpu, &l, &e)
                : decoder_cpu_open(&k->d, k->p->lm, cpu, &l, &e),
         &e, "decoder");
}

static void close_model(company *k) {
    mem_free(k->text);
    mem_free(k->chroma);
    family_close(k->f);
}

// Begins the next window of sequence i: the first one, or one that goes on.
static void begin(company *k, int i, int64_t start) {
    err e;
    int64_t frames = MIN(k->window, k->frames - start), known = start ? k->window - k->stride : 0;
    const seq_window w = {.index = start / k->stride,
                          .start = start,
                          .frames = frames,
                          .known = known,
                          .anchor = start ? 2 : 0,
                          .anchored = start && i ? 2 : 0,
                          .chroma = i == 2 ? NULL : k->chroma,
                          .chroma_rows = k->cfg->chroma_length / 2,
                          .like = i == 1 && k->s[0] && !start ? k->s[0] : NULL,
                          .like_null = i == 2 && k->s[0] && !k->done[0] ? k->s[0] : NULL};
    must(decoder_begin(k->d, k->s[i], &w, &e), &e, "begin");
    k->start[i] = start;
    k->left[i] = decoder_columns(k->p->lm, &k->s[i]->p, frames, known);
}

static void create(company *k, int i) {
    err e;
    seq_params p = {.text = k->text,
                    .text_n = i == 2 ? 2 : TOKENS,
                    .text_rows = TOKENS,
                    .sampling = {.temperature = 1, .top_k = 50, .guidance = 3, .fine_less = 0.25f},
                    .seed = (uint64_t)i + 5,
                    .stream = 9,
                    .frames = k->frames,
                    .window = k->window,
                    .cache_type = k->p->cache_type,
                    .keep_first = i == 0};
    if (i == 1) p.sampling = (sampler_params){.temperature = 0.8f, .top_p = 0.9f, .guidance = 1};
    must(seq_create(&k->s[i], k->d, &p, &e), &e, "create");
    begin(k, i, 0);
}

// After a step of sequence i.
static void stepped(company *k, int i) {
    if (--k->left[i]) return;
    k->done[i] = k->start[i] + k->window >= k->frames;
    if (!k->done[i]) begin(k, i, k->start[i] + k->stride);
}

// Sequence 0 alone; 1 and 2 join it one after the other; each leaves when it is done.
static void run_company(company *k) {
    err e;
    memset(k->done, 0, sizeof k->done);
    memset(k->s, 0, sizeof k->s);
    for (int step = 0; step < 10 * k->frames; step++) {
        seq *list[SEQUENCES];
        int of[SEQUENCES];
        size_t n = 0;
        for (int i = 0; i < k->sequences; i++)
            if (step == 2 * i) create(k, i);
        if (k->canceled && step == CANCELED) {
            seq_free(k->s[k->canceled]);
            k->s[k->canceled] = NULL;
        }
        for (int i = 0; i < k->sequences; i++)
            if (k->s[i] && !k->done[i]) of[n] = i, list[n++] = k->s[i];
        if (!n) return;
        must(decoder_step(k->d, list, n, &e), &e, "step");
        for (size_t j = 0; j < n; j++) stepped(k, of[j]);
    }
}

// The codes of all sequences, and the first scores of sequence 0; ends them.
static int32_t *results(company *k) {
    int64_t books = k->cfg->codebooks, size = books * k->frames, scores = books * k->cfg->vocab;
    int32_t *out = mem_calloc((size_t)(k->sequences * size + scores), sizeof *out);
    err e;
    for (int i = 0; i < k->sequences; i++) {
        const int32_t *codes;
        if (!k->s[i]) continue;
        seq_rest(k->s[i]);
        must(seq_codes(k->s[i], &codes, &e), &e, "codes");
        must(seq_check(k->s[i], &e), &e, "check");
        memcpy(out + i * size, codes, (size_t)size * sizeof *codes);
        if (!i) memcpy(out + k->sequences * size, seq_first(k->s[i]), (size_t)scores * sizeof *out);
        seq_free(k->s[i]);
    }
    return out;
}

// Scores of five columns of codes behind the prefix, or bare, through one branch.
enum { COLS = 5 };
static float *forced(company *k, bool null, bool bare) {
    int64_t books = k->cfg->codebooks;
    int32_t codes[MG_CODEBOOKS_MAX * COLS];
    float *logits = mem_calloc((size_t)(COLS * books * k->cfg->vocab), sizeof *logits);
    err e;
    for (int64_t i = 0; i < books * COLS; i++) codes[i] = (int32_t)(i * 7 % (k->cfg->vocab + 1));
    seq_params p = {.text = k->text, .text_n = TOKENS, .text_rows = TOKENS, .frames = k->frames};
    p.sampling.guidance = 3, p.window = k->window, p.cache_type = k->p->cache_type;
    must(seq_create(&k->s[0], k->d, &p, &e), &e, "create");
    const seq_window w = {.frames = k->window, .chroma = k->chroma, .chroma_rows = 4};
    const seq_forced f = {
        .codes = codes, .cols = COLS, .null = null, .bare = bare, .logits = logits};
    must(decoder_force(k->d, k->s[0], &w, &f, &e), &e, "force");
    seq_free(k->s[0]);
    return logits;
}

// control: layers that read the chroma rows; 0: as the model says.
static void test_model(const char *model, weights_type type, int64_t shipped, int64_t control) {
    company k;
    open_model(&k, model, type, shipped);
    if (control) set_control_layers(&k, control);
    int64_t scores = k.cfg->codebooks * k.cfg->vocab,
            size = k.sequences * k.cfg->codebooks * k.frames;
    int32_t *codes[2];
    float *logits[2][2];
    for (int on_gpu = 0; on_gpu < 2; on_gpu++) {
        open_decoder(&k, on_gpu);
        run_company(&k);
        codes[on_gpu] = results(&k);
        for (int null = 0; null < 2; null++)
            logits[on_gpu][null] = shipped ? NULL : forced(&k, null, false);
        decoder_close(k.d);
    }
    expect(!memcmp(codes[0], codes[1], (size_t)size * sizeof **codes), "%s, weights %d: codes",
           model, (int)type);
    same((float *)codes[0] + size, (float *)codes[1] + size, scores, "%s, weights %d: first scores",
         model, (int)type);
    for (int null = 0; null < 2 && !shipped; null++)
        same(logits[0][null], logits[1][null], COLS * scores, "%s, weights %d: forced %d", model,
             (int)type, null);
    for (int i = 0; i < 2; i++) mem_free(codes[i]), mem_free(logits[i][0]), mem_free(logits[i][1]);
    close_model(&k);
}

// A sequence that is ended in the middle changes no code of the others.
static void test_canceled(const char *model, weights_type type) {
    company k;
    int32_t *codes[2];
    open_model(&k, model, type, 0);
    size_t size = (size_t)(k.cfg->codebooks * k.frames);
    for (int on_gpu = 0; on_gpu < 2; on_gpu++) {
        k.canceled = on_gpu;
        open_decoder(&k, on_gpu);
        run_company(&k);
        codes[on_gpu] = results(&k);
        decoder_close(k.d);
    }
    for (size_t i = 0; i < SEQUENCES; i++)
        expect(i == 1 || !memcmp(codes[0] + i * size, codes[1] + i * size, size * sizeof **codes),
               "%s, weights %d: sequence %zu beside a canceled one", model, (int)type, i);
    mem_free(codes[0]), mem_free(codes[1]);
    close_model(&k);
}

void test_gpu_decoder(void) {
    static const weights_type types[] = {WEIGHTS_AS_STORED, WEIGHTS_F32, WEIGHTS_BF16, WEIGHTS_Q8,
                                         WEIGHTS_Q4};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        test_model("tests/parity/mono/model", types[i], 0, 0);
    test_canceled("tests/parity/mono/model", WEIGHTS_Q8);
    test_model("tests/parity/melody/model", WEIGHTS_BF16, 0, 0);
    test_model("tests/parity/stereo-melody/model", WEIGHTS_AS_STORED, 0, 0);
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        test_model("tests/parity/melody/model", types[i], 0, 1);
}

// Five columns through both branches, without a prefix.
static void test_columns(const char *model, weights_type type) {
    company k;
    float *logits[2][2];
    open_model(&k, model, type, 1);
    for (int on_gpu = 0; on_gpu < 2; on_gpu++) {
        open_decoder(&k, on_gpu);
        for (int null = 0; null < 2; null++) logits[on_gpu][null] = forced(&k, null, true);
        decoder_close(k.d);
    }
    for (int null = 0; null < 2; null++) {
        same(logits[0][null], logits[1][null], COLS * k.cfg->codebooks * k.cfg->vocab,
             "%s, weights %d: columns %d", model, (int)type, null);
        mem_free(logits[0][null]), mem_free(logits[1][null]);
    }
    close_model(&k);
}

// The model that ships, half a second; its prefix has 500 rows. Columns in its other types of
// weights.
void test_gpu_shipped(void) {
    static const weights_type types[] = {WEIGHTS_AS_STORED, WEIGHTS_F32, WEIGHTS_BF16, WEIGHTS_Q4};
    test_model("models/stemforge-mini", WEIGHTS_Q8, 25, 0);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) test_columns("models/stemforge-mini", types[i]);
}
