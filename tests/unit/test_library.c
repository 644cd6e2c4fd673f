// test_library.c - stemforge.h beside careless callers: options and members out of range, close
// while a request is planned, another rounding mode; what a model stands for.
#include <criterion/criterion.h>
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "audio/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "stemforge.h"

#define MONO "tests/parity/mono/model"

static stemforge_engine *open_mono(void) {
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options o = stemforge_options_default();
    o.model = MONO;
    o.threads = 2;
    cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_OK, "%s", e.text);
    return g;
}

static const char *const drums[] = {"drums"};

static stemforge_request small_request(void) {
    stemforge_request r = stemforge_request_default();
    r.stems = drums;
    r.stem_count = 1;
    r.seconds = 0.2;
    return r;
}

Test(library, options_out_of_range_are_refused) {
    static const int wrong[] = {-1, 5, 99, 1 << 30};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        stemforge_engine *g;
        stemforge_error e;
        stemforge_options o = stemforge_options_default();
        o.model = MONO;
        o.weights = (stemforge_weights)wrong[i];
        cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_ERR_ARG);
        cr_assert(!g && !strcmp(e.where, "weights"), "%s", e.text);
    }
}

Test(library, members_that_are_no_numbers_are_refused_by_name) {
    const double no[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    for (size_t i = 0; i < ARRAY_LEN(no) * 5; i++) {
        stemforge_request r = small_request();
        double *const members[] = {&r.seconds, &r.bpm, &r.temperature, &r.top_p, &r.guidance};
        static const char *const names[] = {"seconds", "bpm", "temperature", "top_p", "guidance"};
        size_t k = i / ARRAY_LEN(no);
        *members[k] = no[i % ARRAY_LEN(no)];
        if (k == 4 && no[i % ARRAY_LEN(no)] < 0) continue; // below 0: the model's own
        stemforge_error e = {0};
        cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG, "%s %g", names[k],
                     *members[k]);
        cr_assert(!strcmp(e.where, names[k]), "%s: %s", names[k], e.text);
    }
}

Test(library, lists_and_batches_that_cannot_be_are_refused) {
    stemforge_error e;
    stemforge_request r = small_request();
    r.chord_count = 3; // and no chords
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "chords");
    r = small_request();
    r.stems = NULL;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "stems");
    r = small_request();
    r.seconds = -1, r.bpm = 120, r.bars = 1 << 30;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "bars");
    static const int wrong[] = {-1, 1025, 1 << 30};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        stemforge_engine *g;
        stemforge_options o = stemforge_options_default();
        o.model = MONO;
        o.batch_max = wrong[i];
        cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_ERR_ARG);
        cr_assert_str_eq(e.where, "batch_max");
    }
}

typedef struct {
    stemforge_engine *g;
    const char *path;
    stemforge_status rc;
} planner;

static void *plan_long(void *arg) {
    planner *p = arg;
    stemforge_error e;
    stemforge_request r = small_request();
    r.continue_from = p->path;
    r.seconds = 300;
    p->rc = stemforge_generate(p->g, &r, NULL, &e);
    return NULL;
}

// The request reads and resamples two minutes of sound first; close comes while it does.
Test(library, close_waits_for_a_request_that_is_planned) {
    char path[] = "/tmp/stemforge-long-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    int64_t n = (int64_t)120 * 44100;
    float *x = mem_calloc((size_t)n, sizeof *x);
    cr_assert_eq(file_write(path, FILE_WAV16, x, n, 1, 44100, NULL, NULL), OK);
    mem_free(x);
    for (int i = 0; i < 6; i++) {
        planner p = {.g = open_mono(), .path = path};
        pthread_t t;
        cr_assert_eq(pthread_create(&t, NULL, plan_long, &p), 0);
        const struct timespec wait = {.tv_nsec = (20 + 15 * i) * 1000000};
        nanosleep(&wait, NULL);
        stemforge_close(p.g);
        pthread_join(t, NULL);
        cr_assert_eq(p.rc, STEMFORGE_ERR_CANCELED);
    }
    unlink(path);
}

static stemforge_status keep_digest(void *arg, size_t i, const stemforge_stem *s,
                                    stemforge_error *e) {
    (void)i;
    uint8_t *wav;
    size_t size;
    stemforge_status rc = stemforge_stem_wav(s, &wav, &size, e);
    if (!rc) rc = hash_sha256(arg, (bytes){wav, size}, NULL);
    stemforge_free(wav);
    return rc;
}

static void make(uint8_t digest[SHA256_LEN], int rounding) {
    cr_assert_eq(fesetround(rounding), 0);
    stemforge_engine *g = open_mono();
    stemforge_request r = small_request();
    stemforge_error e;
    const stemforge_events ev = {.arg = digest, .stem_done = keep_digest};
    cr_assert_eq(stemforge_generate(g, &r, &ev, &e), STEMFORGE_OK, "%s", e.text);
    cr_assert_eq(fegetround(), rounding); // the caller has his own again
    stemforge_close(g);
    fesetround(FE_TONEAREST);
}

Test(library, the_rounding_mode_of_the_caller_changes_nothing) {
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    uint8_t want[SHA256_LEN], got[SHA256_LEN];
    make(want, FE_TONEAREST);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        make(got, modes[i]);
        cr_assert_arr_eq(got, want, SHA256_LEN);
    }
}

// --- what a model stands for

static stemforge_status look(void *arg, size_t i, const stemforge_stem *s, stemforge_error *e) {
    (void)i, (void)e;
    *(stemforge_request *)arg = *s->request;
    return STEMFORGE_OK;
}

// A finished stem says what it was made with, not -1.
Test(library, a_stem_has_the_numbers_that_its_model_stands_for) {
    stemforge_engine *g = open_mono();
    stemforge_request r = small_request(), used = {0};
    stemforge_error e;
    const stemforge_events ev = {.arg = &used, .stem_done = look};
    cr_assert_eq(stemforge_generate(g, &r, &ev, &e), STEMFORGE_OK, "%s", e.text);
    const stemforge_info info = stemforge_engine_info(g);
    cr_assert(r.top_k == -1 && used.top_k == info.top_k && info.top_k == 250);
    cr_assert(used.guidance == info.guidance && info.guidance == 3);
    stemforge_close(g);
}

static stemforge_status keep_temperature(void *arg, size_t i, const stemforge_stem *s,
                                         stemforge_error *e) {
    (void)e;
    ((double *)arg)[i] = s->temperature;
    return STEMFORGE_OK;
}

Test(library, temperatures_of_stems_take_the_place_of_the_models) {
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options o = stemforge_options_default();
    o.model = "models/stemforge-mini"; // piano: times 0.6
    cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_OK, "%s", e.text);
    static const char *const stems[] = {"drums", "bass", "piano"};
    static const double own[] = {1.25, 0, -1};
    double got[3] = {9, 9, 9};
    stemforge_request r = stemforge_request_default();
    r.stems = stems, r.stem_count = 3, r.seconds = 0.2, r.temperature = 0.5, r.temperatures = own;
    const stemforge_events ev = {.arg = got, .stem_done = keep_temperature};
    cr_assert_eq(stemforge_generate(g, &r, &ev, &e), STEMFORGE_OK, "%s", e.text);
    cr_assert(got[0] == 1.25 && got[1] == 0 && got[2] == 0.5 * 0.6, "%g %g %g", got[0], got[1],
              got[2]);
    static const double wrong[] = {1, (double)NAN, 1}, high[] = {1, 1, 4.1};
    r.temperatures = wrong;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    r.temperatures = high;
    cr_assert_eq(stemforge_request_check(&r, &e), STEMFORGE_ERR_ARG);
    cr_assert_str_eq(e.where, "temperature");
    stemforge_close(g);
}

Test(library, the_family_of_a_model_is_known_before_it_is_open) {
    cr_assert_str_eq(stemforge_model_title(MONO), "MusicGen");
    cr_assert_str_eq(stemforge_model_title("tests/parity/sa-f32/model"), "Stable Audio");
    cr_assert_null(stemforge_model_title("tests/parity/mono"));
    cr_assert_null(stemforge_model_title("no/such"));
}
