// test_texts.c - texts.h: a known text gives the same states without encoding, and the memory is
// bounded.
#include <criterion/criterion.h>
#include <string.h>

#include "engine/musicgen/family.h"
#include "engine/musicgen/texts.h"

#define LONG 900 // tokens: fewer than TEXTS_MAX such texts are more than TEXTS_BYTES_MAX

typedef struct {
    family *f;
    const pipeline *p;
    compute *c;
    texts t;
    int64_t width;
    int32_t *ids;        // [LONG]
    float *states, *own; // [LONG, width]
    arena work;
} fixture;

static void setup(fixture *f) {
    *f = (fixture){0};
    err e = {0};
    cr_assert_eq(compute_open(&f->c, 2, NULL, &e), OK, "%s", e.text);
    const family_options o = {.model = "tests/parity/mono/model", .c = f->c};
    cr_assert_eq(family_open(&f->f, &o, &e), OK, "%s", e.text);
    cr_assert_eq(musicgen_pipeline(&f->p, f->f, &e), OK, "%s", e.text);
    texts_init(&f->t, f->p);
    f->width = t5_get_config(f->p->text)->d_model;
    f->ids = mem_calloc(LONG, sizeof *f->ids);
    f->states = mem_calloc((size_t)(LONG * f->width), sizeof *f->states);
    f->own = mem_calloc((size_t)(LONG * f->width), sizeof *f->own);
    cr_assert(f->ids && f->states && f->own);
}

static void teardown(fixture *f) {
    texts_deinit(&f->t);
    mem_free(f->ids);
    mem_free(f->states);
    mem_free(f->own);
    family_close(f->f);
    compute_close(f->c);
}

// Text number i, n tokens, is encoded or found.
static void ask(fixture *f, int i, int64_t n, bool known) {
    err e = {0};
    for (int64_t k = 0; k < n; k++) f->ids[k] = (int32_t)((3 + i + 7 * k) % 90);
    uint64_t encoded = f->t.encoded, found = f->t.found;
    memset(f->states, 0xff, (size_t)(n * f->width) * sizeof *f->states);
    cr_assert_eq(texts_encode(&f->t, f->c, f->states, f->ids, n, &f->work, &e), OK, "%s", e.text);
    cr_assert_eq(f->t.encoded - encoded, known ? 0 : 1, "text %d", i);
    cr_assert_eq(f->t.found - found, known ? 1 : 0, "text %d", i);
    cr_assert_leq(f->t.count, TEXTS_MAX);
    cr_assert_leq(f->t.bytes, TEXTS_BYTES_MAX);
    arena_reset(&f->work);
}

// The same, and the states are the encoder's own.
static void check(fixture *f, int i, int64_t n, bool known) {
    err e = {0};
    ask(f, i, n, known);
    cr_assert_eq(t5_encode(f->p->text, f->c, f->own, f->ids, n, &f->work, &e), OK, "%s", e.text);
    cr_assert_eq(memcmp(f->states, f->own, (size_t)(n * f->width) * sizeof *f->own), 0);
    arena_reset(&f->work);
}

Test(texts, a_known_text_is_found_and_has_the_same_states) {
    fixture f;
    setup(&f);
    check(&f, 0, 9, false);
    check(&f, 1, 9, false);
    check(&f, 0, 9, true);
    check(&f, 0, 8, false); // the beginning of a known one is another
    check(&f, 1, 9, true);
    teardown(&f);
}

Test(texts, the_one_unused_for_longest_goes_first) {
    fixture f;
    setup(&f);
    for (int i = 0; i < TEXTS_MAX; i++) check(&f, i, 5, false);
    check(&f, 0, 5, true);
    check(&f, TEXTS_MAX, 5, false); // takes the place of 1
    check(&f, 0, 5, true);
    check(&f, 2, 5, true);
    check(&f, 1, 5, false);
    cr_assert_eq(f.t.count, TEXTS_MAX);
    teardown(&f);
}

Test(texts, long_texts_stay_within_the_bytes) {
    fixture f;
    setup(&f);
    int64_t each = LONG * (f.width * 4 + 4), fit = (int64_t)TEXTS_BYTES_MAX / each;
    cr_assert(fit > 1 && fit < TEXTS_MAX);
    for (int i = 0; i <= fit; i++) ask(&f, i, LONG, false);
    cr_assert_eq((int64_t)f.t.count, fit);
    check(&f, 1, LONG, true);
    check(&f, 0, LONG, false);
    teardown(&f);
}

Test(texts, no_memory_to_keep_a_text_is_no_error) {
    fixture f;
    setup(&f);
    err e;
    for (int32_t k = 0; k < 9; k++) f.ids[k] = k;
    int kept = 0, lost = 0;
    for (int n = 0; !kept; n++) {
        mem_fail_after(n);
        status rc = texts_encode(&f.t, f.c, f.states, f.ids, 9, &f.work, &e);
        mem_fail_after(-1);
        arena_reset(&f.work);
        cr_assert(rc == OK || rc == ERR_OOM);
        kept = f.t.count == 1;
        lost += rc == OK && !kept;
    }
    cr_assert_gt(lost, 0);
    check(&f, 0, 9, false);
    teardown(&f);
}
