// test_run.c - a stem whose text changes on the way: windows end there, and what comes before it is
// as if nothing would change.
#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"
#include "engine/musicgen/family.h"
#include "engine/musicgen/run.h"

enum { FRAMES = 60, CHANGE = 23, WINDOW = 20, STRIDE = 12, TOKENS = 3 };

typedef struct {
    compute *c;
    family *f;
    const pipeline *p;
    const mg_config *cfg;
    float *text[2];
} fixture;

static void setup(fixture *f, const char *model) {
    err e = {0};
    *f = (fixture){0};
    cr_assert_eq(compute_open(&f->c, 2, NULL, &e), OK, "%s", e.text);
    const family_options o = {.model = model, .c = f->c};
    cr_assert_eq(family_open(&f->f, &o, &e), OK, "%s", e.text);
    cr_assert_eq(musicgen_pipeline(&f->p, f->f, &e), OK, "%s", e.text);
    f->cfg = mg_get_config(f->p->lm);
    size_t n = (size_t)((TOKENS + 1) * f->cfg->text_dim);
    for (int k = 0; k < 2; k++) {
        f->text[k] = mem_calloc(n, sizeof **f->text);
        cr_assert_not_null(f->text[k]);
        for (size_t i = 0; i < n; i++) f->text[k][i] = (float)(i % (17 + 5 * (size_t)k)) / 9 - 1;
    }
}

static void teardown(fixture *f) {
    mem_free(f->text[0]);
    mem_free(f->text[1]);
    family_close(f->f);
    compute_close(f->c);
}

// The codes of a run with these parts.
static int32_t *codes_of(const fixture *f, const run_part *parts, size_t n) {
    err e = {0};
    const run_params p = {.seq = {.text = f->text[0],
                                  .text_n = TOKENS,
                                  .text_rows = TOKENS,
                                  .sampling = {.temperature = 1, .top_k = 50, .guidance = 3},
                                  .seed = 7,
                                  .frames = FRAMES,
                                  .window = WINDOW,
                                  .cache_type = f->p->cache_type},
                          .stride = STRIDE,
                          .parts = parts,
                          .part_count = n};
    const decoder_limits l = {.sequences = 1, .positions = WINDOW + f->cfg->chroma_length + 32};
    decoder *d = NULL;
    run *r = NULL;
    int32_t *out = mem_alloc((size_t)(f->cfg->codebooks * FRAMES) * sizeof *out);
    cr_assert_not_null(out);
    cr_assert_eq(decoder_open(&d, NULL, f->p->lm, f->c, &l, &e), OK, "%s", e.text);
    cr_assert_eq(run_create(&r, d, f->p->lm, &p, &e), OK, "%s", e.text);
    while (!run_done(r)) {
        seq *s = run_seq(r);
        if (run_needs_window(r)) cr_assert_eq(run_begin_window(r, NULL, 0, &e), OK, "%s", e.text);
        cr_assert_eq(decoder_step(d, &s, 1, &e), OK, "%s", e.text);
        run_stepped(r);
    }
    cr_assert_eq(run_steps_done(r), run_steps_total(r));
    const int32_t *codes;
    cr_assert_eq(seq_codes(run_seq(r), &codes, &e), OK, "%s", e.text);
    memcpy(out, codes, (size_t)(f->cfg->codebooks * FRAMES) * sizeof *out);
    run_free(r);
    decoder_close(d);
    return out;
}

// How many of the frames from `from` to `to` - 1 differ in a code.
static int differ(const fixture *f, const int32_t *a, const int32_t *b, int from, int to) {
    int n = 0;
    for (int i = from; i < to; i++) {
        bool same = true;
        for (int64_t k = 0; k < f->cfg->codebooks; k++)
            same &= a[k * FRAMES + i] == b[k * FRAMES + i];
        n += !same;
    }
    return n;
}

static void check_model(const char *model) {
    fixture f;
    setup(&f, model);
    const run_part one = {.text = f.text[0], .text_n = TOKENS, .text_rows = TOKENS},
                   same = {CHANGE, f.text[0], TOKENS, TOKENS},
                   other = {CHANGE, f.text[1], TOKENS + 1, TOKENS + 1},
                   back = {CHANGE + 9, f.text[0], TOKENS, TOKENS};
    int32_t *plain = codes_of(&f, NULL, 0), *whole = codes_of(&f, &one, 1),
            *kept = codes_of(&f, (const run_part[]){one, same, back}, 3),
            *changed = codes_of(&f, (const run_part[]){one, other, back}, 3);
    cr_assert_eq(differ(&f, plain, whole, 0, FRAMES), 0, "%s", model);
    // A window's last columns have codes of some books only.
    int heard = CHANGE - (int)f.cfg->codebooks;
    cr_assert_eq(differ(&f, plain, changed, 0, heard), 0, "%s: before the change", model);
    cr_assert_eq(differ(&f, kept, changed, 0, CHANGE), 0, "%s: the text that ends", model);
    cr_assert_gt(differ(&f, kept, changed, CHANGE, CHANGE + 9), 2, "%s: the text is heard", model);
    mem_free(plain), mem_free(whole), mem_free(kept), mem_free(changed);
    teardown(&f);
}

Test(run, a_text_that_changes_changes_what_follows_alone) {
    check_model("tests/parity/mono/model");
    check_model("tests/parity/stereo/model");
    check_model("tests/parity/melody/model");
}
