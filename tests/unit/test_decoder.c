// test_decoder.c - decoder.h: a step allocates nothing, and a sequence is the same in any company.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "engine/musicgen/decoder.h"
#include "engine/musicgen/family.h"
#include "shipped_variant.h"
#include "stemforge.h"

#define FRAMES 12
#define SEQUENCES 3

typedef struct {
    family *f;
    const pipeline *p;
    compute *c;
    decoder *d;
    const mg_config *cfg;
    seq *s[SEQUENCES];
    float *text, *chroma;
} fixture;

// prefill: as in decoder_limits.
static void setup_as(fixture *f, const char *model, weights_type type, int64_t prefill) {
    *f = (fixture){0};
    err e = {0};
    cr_assert_eq(compute_open(&f->c, 2, NULL, &e), OK, "%s", e.text);
    const family_options o = {.model = model, .c = f->c, .weights = type};
    cr_assert_eq(family_open(&f->f, &o, &e), OK, "%s", e.text);
    cr_assert_eq(musicgen_pipeline(&f->p, f->f, &e), OK, "%s", e.text);
    f->cfg = mg_get_config(f->p->lm);
    const decoder_limits l = {.sequences = SEQUENCES,
                              .positions = FRAMES + f->cfg->chroma_length + 32,
                              .prefill = prefill};
    cr_assert_eq(decoder_open(&f->d, NULL, f->p->lm, f->c, &l, &e), OK, "%s", e.text);
    size_t n = (size_t)(3 * f->cfg->text_dim);
    f->text = mem_calloc(n, sizeof *f->text);
    cr_assert_not_null(f->text);
    for (size_t i = 0; i < n; i++) f->text[i] = (float)(i % 17) / 17 - 0.5f;
    n = (size_t)(f->cfg->chroma_length * f->cfg->chroma_bins);
    f->chroma = mem_calloc(n + 1, sizeof *f->chroma);
    cr_assert_not_null(f->chroma);
    for (size_t i = 0; i < n; i++) f->chroma[i] = (float)(i % 23) / 23 - 0.5f;
}

static void setup(fixture *f, const char *model) {
    setup_as(f, model, WEIGHTS_AS_STORED, 0);
}

static void teardown(fixture *f) {
    for (int i = 0; i < SEQUENCES; i++) seq_free(f->s[i]);
    decoder_close(f->d);
    mem_free(f->text);
    mem_free(f->chroma);
    family_close(f->f);
    compute_close(f->c);
}

// Sequence i, its window begun; number 1 is unguided. like: whose prefix is copied, or NULL.
static void begin_like(fixture *f, int i, const seq *like) {
    err e = {0};
    const seq_window w = {.frames = FRAMES,
                          .chroma = f->chroma,
                          .chroma_rows = f->cfg->chroma_length,
                          .like = like,
                          .like_null = like};
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
    cr_assert_eq(decoder_begin(f->d, f->s[i], &w, &e), OK, "%s", e.text);
}

static void begin(fixture *f, int i) {
    begin_like(f, i, NULL);
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

static status keep_digest(void *arg, size_t i, const stemforge_stem *s, err *e) {
    uint8_t(*digest)[SHA256_LEN] = arg;
    size_t size = (size_t)(s->frames * s->channels) * sizeof *s->samples;
    return hash_sha256(digest[i], (bytes){(const uint8_t *)s->samples, size}, e);
}

// Two stems of a second by a model, as digests.
static void make_stems(const char *model, uint8_t digest[2][SHA256_LEN]) {
    static const char *const stems[] = {"bass", "vocals"}, *const chords[] = {"Am", "F"};
    stemforge_engine *g;
    err e = {0};
    stemforge_options o = stemforge_options_default();
    o.model = model, o.threads = 2;
    cr_assert_eq(stemforge_open(&g, &o, &e), OK, "%s", e.text);
    stemforge_request r = stemforge_request_default();
    r.stems = stems, r.stem_count = 2, r.chords = chords, r.chord_count = 2;
    r.bpm = 200, r.style = "rock", r.seconds = 1;
    const stemforge_events ev = {.arg = digest, .stem_done = keep_digest};
    cr_assert_eq(stemforge_generate(g, &r, &ev, &e), OK, "%s", e.text);
    stemforge_close(g);
}

// The shipped model's own weights give chroma rows no weight above its first layer. So its samples
// are the same, to the bit, when all layers read them.
Test(decoder, what_the_upper_layers_leave_out_weighs_nothing) {
    static const char *const silenced[] = {"control_layers"};
    char folder[] = "/tmp/stemforge-layers-XXXXXX";
    uint8_t short_of[2][SHA256_LEN], whole[2][SHA256_LEN];
    make_stems("models/stemforge-mini", short_of);
    shipped_variant(folder, silenced, 1, "");
    make_stems(folder, whole);
    shipped_variant_remove(folder);
    cr_assert_eq(memcmp(short_of, whole, sizeof whole), 0);
    cr_assert_neq(memcmp(short_of[0], short_of[1], SHA256_LEN), 0);
}

// Sequence 0 twice in one decoder, the second time with the prefix of a third.
static void prefixed(const char *model, weights_type type, int64_t prefill, int32_t *fed,
                     int32_t *copied) {
    fixture f;
    setup_as(&f, model, type, prefill);
    size_t size = (size_t)(f.cfg->codebooks * FRAMES) * sizeof(int32_t);
    begin(&f, 0);
    step(&f, 0, 1, false);
    memcpy(fed, codes_of(f.s[0]), size);
    begin(&f, 2);
    begin_like(&f, 0, f.s[2]);
    step(&f, 0, 1, false);
    memcpy(copied, codes_of(f.s[0]), size);
    teardown(&f);
}

static void check_prefix(const char *model, weights_type type) {
    static int32_t fed[2][16 * FRAMES], copied[2][16 * FRAMES];
    for (int i = 0; i < 2; i++) prefixed(model, type, i ? 50 : 0, fed[i], copied[i]);
    cr_assert_neq(fed[0][0] | fed[0][1] | fed[0][2], 0);
    cr_assert_eq(memcmp(fed[0], copied[0], sizeof fed[0]), 0, "weights %d: copied", type);
    cr_assert_eq(memcmp(fed[0], fed[1], sizeof fed[0]), 0, "weights %d: by parts", type);
    cr_assert_eq(memcmp(fed[0], copied[1], sizeof fed[0]), 0, "weights %d: both", type);
}

// Layers of whole caches and of short ones, in each type: a copied prefix, a fed one and another
// number of rows a feed make the same codes.
Test(decoder, a_prefix_is_the_same_fed_copied_and_by_parts) {
    static const char *const silenced[] = {"control_layers"};
    for (int layers = 1; layers <= 3; layers += 2) {
        char folder[] = "/tmp/stemforge-layers-XXXXXX", says[40];
        snprintf(says, sizeof says, "\"control_layers\": %d,", layers);
        shipped_variant(folder, silenced, 1, says);
        check_prefix(folder, WEIGHTS_AS_STORED);
        check_prefix(folder, WEIGHTS_BF16);
        check_prefix(folder, WEIGHTS_Q8);
        shipped_variant_remove(folder);
    }
}
