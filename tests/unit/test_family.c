// test_family.c - family.h with two families: who opens a model, and what the batch does with a
// family that it knows nothing of.
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tone/tone.h"
#include "base/hash.h"
#include "engine/musicgen/family.h"

static stemforge_engine *open_tone(int places) {
    stemforge_engine *g;
    err e;
    stemforge_options o = stemforge_options_default();
    o.model = TONE_MODEL;
    o.threads = 1;
    o.batch_max = places;
    cr_assert_eq(stemforge_open(&g, &o, &e), OK, "%s", e.text);
    return g;
}

typedef struct {
    stemforge_engine *g;
    const char *prompt;
    uint8_t digest[3][SHA256_LEN];
    int stems;
    status rc;
    err e;
} outcome;

static status keep(void *arg, size_t i, const stemforge_stem *s, err *e) {
    outcome *o = arg;
    o->stems++;
    cr_assert_str_eq(s->prompt, "tone");
    bytes data = {(const uint8_t *)s->samples,
                  (size_t)(s->frames * s->channels) * sizeof *s->samples};
    return hash_sha256(o->digest[i], data, e);
}

static void *make(void *arg) {
    static const char *const stems[] = {"drums", "bass", "piano"};
    outcome *o = arg;
    stemforge_request r = stemforge_request_default();
    r.stems = stems, r.stem_count = 3, r.seconds = 0.5, r.seed = 7, r.prompt = o->prompt;
    const stemforge_events ev = {.arg = o, .stem_done = keep};
    o->rc = stemforge_generate(o->g, &r, &ev, &o->e);
    return NULL;
}

Test(family, the_one_that_recognises_a_model_opens_it) {
    err e;
    compute *c;
    family *f;
    const pipeline *p;
    cr_assert_eq(compute_open(&c, 1, NULL, &e), OK);
    cr_assert_eq(family_open(&f, &(family_options){.model = TONE_MODEL, .c = c}, &e), OK);
    cr_assert_eq(f->ops, &tone_family_ops);
    cr_assert_str_eq(f->info.family, "tone");
    cr_assert_eq(musicgen_pipeline(&p, f, &e), ERR_ARG);
    family_close(f);
    cr_assert_eq(family_open(&f, &(family_options){.model = "tests/parity/mono/model", .c = c}, &e),
                 OK);
    cr_assert_str_eq(f->info.family, "musicgen");
    cr_assert_eq(musicgen_pipeline(&p, f, &e), OK);
    family_close(f);
    compute_close(c);
}

static void check_unknown(const char *dir, const char *config, const char *want) {
    char path[100];
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    cr_assert(f && fputs(config, f) >= 0 && fclose(f) == 0);
    err e;
    family *opened;
    cr_assert_eq(family_open(&opened, &(family_options){.model = dir}, &e), ERR_FORMAT);
    cr_assert_null(opened);
    cr_assert(strstr(e.text, want), "%s", e.text);
    cr_assert(strstr(e.text, dir), "%s", e.text);
}

Test(family, a_model_that_none_recognises_is_told_which_there_are) {
    char dir[] = "/tmp/family_XXXXXX", command[100];
    cr_assert_not_null(mkdtemp(dir));
    check_unknown(dir, "{\"model_type\": \"x\"}", "found \"x\"");
    check_unknown(dir, "{\"model_type\": \"x\"}", "or with model_config.json, or \"tone\"");
    check_unknown(dir, "{\"model_type\": 7}", "found \"nothing\"");
    check_unknown(dir, "{", "JSON");
    snprintf(command, sizeof command, "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}

Test(family, stems_join_and_leave_the_steps_of_any_family) {
    stemforge_engine *g = open_tone(2); // fewer places than stems
    outcome alone = {.g = g};
    make(&alone);
    cr_assert_eq(alone.rc, OK, "%s", alone.e.text);
    cr_assert_eq(alone.stems, 3);
    enum { JOBS = 3 };
    outcome o[JOBS];
    pthread_t t[JOBS];
    for (int i = 0; i < JOBS; i++) {
        o[i] = (outcome){.g = g, .prompt = i == 1 ? "slow:30" : NULL};
        cr_assert_eq(pthread_create(&t[i], NULL, make, &o[i]), 0);
    }
    for (int i = 0; i < JOBS; i++) {
        pthread_join(t[i], NULL);
        cr_assert_eq(o[i].rc, OK, "%s", o[i].e.text);
        cr_assert_eq(memcmp(o[i].digest, alone.digest, sizeof alone.digest), 0, "job %d", i);
    }
    stemforge_close(g);
}

Test(family, a_step_that_fails_ends_the_stems_that_took_part_and_the_engine_goes_on) {
    stemforge_engine *g = open_tone(8);
    outcome beside = {.g = g, .prompt = "slow:60000"}, bad = {.g = g, .prompt = "step:piano"},
            next = {.g = g};
    pthread_t t;
    cr_assert_eq(pthread_create(&t, NULL, make, &beside), 0);
    for (int i = 0; i < 500 && stemforge_engine_stats(g).running < 3; i++) os_sleep_ms(10);
    make(&bad);
    pthread_join(t, NULL);
    cr_assert_eq(bad.rc, ERR_DEVICE);
    cr_assert_eq(beside.rc, ERR_DEVICE);
    cr_assert_str_eq(beside.e.text, "device lost");
    make(&next);
    cr_assert_eq(next.rc, OK, "%s", next.e.text);
    cr_assert_eq(next.stems, 3);
    stemforge_close(g);
}

// What the stems are without a GPU, and then two requests beside each other on one that fails.
static void check_gpu_that_fails(const char *prompt, bool stays) {
    stemforge_engine *g = open_tone(8);
    outcome want = {.g = g};
    make(&want);
    stemforge_close(g);
    atomic_store(&tone_gpu, true);
    atomic_store(&tone_gpu_stays, stays);
    g = open_tone(8);
    atomic_store(&tone_gpu, false);
    cr_assert(stemforge_engine_stats(g).on_gpu);
    outcome beside = {.g = g, .prompt = "slow:300"}, bad = {.g = g, .prompt = prompt};
    pthread_t t;
    cr_assert_eq(pthread_create(&t, NULL, make, &beside), 0);
    for (int i = 0; i < 500 && stemforge_engine_stats(g).running < 3; i++) os_sleep_ms(10);
    make(&bad);
    pthread_join(t, NULL);
    cr_assert_eq(bad.rc, stays ? ERR_OOM : OK, "%s: %s", prompt, bad.e.text);
    cr_assert_eq(beside.rc, stays ? ERR_OOM : OK, "%s: %s", prompt, beside.e.text);
    cr_assert_eq(stemforge_engine_stats(g).gpu_failures, 1);
    cr_assert_eq(stemforge_engine_stats(g).on_gpu, stays);
    for (int i = 0; i < 3 && !stays; i++) {
        cr_assert_eq(memcmp(bad.digest[i], want.digest[i], SHA256_LEN), 0, "%s: %d", prompt, i);
        cr_assert_eq(memcmp(beside.digest[i], want.digest[i], SHA256_LEN), 0, "%s: %d", prompt, i);
    }
    stemforge_close(g);
}

Test(family, a_gpu_that_fails_hands_what_runs_over_to_the_cpu_with_the_same_bytes) {
    check_gpu_that_fails("gpu-begin:bass", false);
    check_gpu_that_fails("gpu-column:piano", false);
    check_gpu_that_fails("gpu-end:drums", false);
    check_gpu_that_fails("gpu-column:bass", true);
}

Test(family, each_failed_allocation_is_an_ordinary_error) {
    stemforge_engine *g = open_tone(2);
    for (int n = 0;; n++) {
        outcome o = {.g = g};
        mem_fail_after(n);
        make(&o);
        mem_fail_after(-1);
        if (o.rc == OK) break;
        cr_assert_eq(o.rc, ERR_OOM, "allocation %d: %s", n, o.e.text);
        cr_assert_lt(n, 200);
    }
    stemforge_close(g);
}
