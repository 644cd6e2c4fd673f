// test_decoder.c - decoder.h: a step allocates nothing, and a sequence is the same in any company.
#include <criterion/criterion.h>
#include <string.h>

#include "engine/musicgen/decoder.h"
#include "engine/musicgen/family.h"

#define FRAMES 12
#define SEQUENCES 3

typedef struct {
    family *f;
    const pipeline *p;
    compute *c;
    decoder *d;
    const mg_config *cfg;
    seq *s[SEQUENCES];
    float *text;
} fixture;

static void setup(fixture *f, const char *model) {
    *f = (fixture){0};
    err e = {0};
    cr_assert_eq(compute_open(&f->c, 2, NULL, &e), OK, "%s", e.text);
    const family_options o = {.model = model, .c = f->c};
    cr_assert_eq(family_open(&f->f, &o, &e), OK, "%s", e.text);
    cr_assert_eq(musicgen_pipeline(&f->p, f->f, &e), OK, "%s", e.text);
    f->cfg = mg_get_config(f->p->lm);
    const decoder_limits l = {.sequences = SEQUENCES,
                              .positions = FRAMES + f->cfg->chroma_length + 32};
    cr_assert_eq(decoder_open(&f->d, NULL, f->p->lm, f->c, &l, &e), OK, "%s", e.text);
    size_t n = (size_t)(3 * f->cfg->text_dim);
    f->text = mem_calloc(n, sizeof *f->text);
    cr_assert_not_null(f->text);
    for (size_t i = 0; i < n; i++) f->text[i] = (float)(i % 17) / 17 - 0.5f;
}

static void teardown(fixture *f) {
    for (int i = 0; i < SEQUENCES; i++) seq_free(f->s[i]);
    decoder_close(f->d);
    mem_free(f->text);
    family_close(f->f);
    compute_close(f->c);
}

// Sequence i, its window begun; number 1 is unguided.
static void begin(fixture *f, int i) {
    err e = {0};
    const seq_params p = {.text = f->text,
                          .text_n = 3,
                          .text_rows = 3,
                          .sampling = {.temperature = 1, .top_k = 50, .guidance = i == 1 ? 1 : 3},
                          .seed = (uint64_t)i,
                          .frames = FRAMES,
                          .window = FRAMES,
                          .cache_type = f->p->cache_type};
    seq_free(f->s[i]);
    cr_assert_eq(seq_create(&f->s[i], f->d, &p, &e), OK, "%s", e.text);
    cr_assert_eq(seq_guided(f->s[i]), i != 1);
    cr_assert_eq(decoder_begin(f->d, f->s[i], &(seq_window){.frames = FRAMES}, &e), OK, "%s",
                 e.text);
}

// Steps n sequences from number `first` on to their ends; with `starved` no allocation succeeds.
static void step(fixture *f, int first, size_t n, bool starved) {
    err e = {0};
    status rc = OK;
    int64_t columns = FRAMES + f->cfg->codebooks / f->cfg->channels - 1;
    mem_fail_after(starved ? 0 : -1);
    for (int64_t k = 0; k < columns && !rc; k++) rc = decoder_step(f->d, f->s + first, n, &e);
    mem_fail_after(-1);
    cr_assert_eq(rc, OK, "%s", e.text);
}

static const int32_t *codes_of(seq *s) {
    const int32_t *codes = NULL;
    cr_assert_eq(seq_codes(s, &codes, NULL), OK);
    return codes;
}

static void check_model(const char *model) {
    fixture f;
    setup(&f, model);
    size_t size = (size_t)(f.cfg->codebooks * FRAMES) * sizeof(int32_t);
    int32_t *alone = mem_alloc(SEQUENCES * size);
    cr_assert_not_null(alone);
    for (int i = 0; i < SEQUENCES; i++) {
        begin(&f, i);
        step(&f, i, 1, false);
        memcpy((uint8_t *)alone + (size_t)i * size, codes_of(f.s[i]), size);
    }
    for (int i = 0; i < SEQUENCES; i++) begin(&f, i);
    step(&f, 0, SEQUENCES, true);
    for (int i = 0; i < SEQUENCES; i++) {
        cr_assert_eq(memcmp((uint8_t *)alone + (size_t)i * size, codes_of(f.s[i]), size), 0,
                     "%s: sequence %d", model, i);
    }
    mem_free(alone);
    teardown(&f);
}

Test(decoder, a_step_allocates_nothing_and_is_the_same_in_any_company) {
    check_model("tests/parity/mono/model");
    check_model("tests/parity/stereo/model");
    check_model("tests/parity/melody/model");
}
