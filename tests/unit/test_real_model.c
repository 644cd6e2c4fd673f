// test_real_model.c - published check values of facebook/musicgen-small, for whoever has it:
//
//     STEMFORGE_TEST_MODEL=dir make unit
//
// The values are those of transformers' own integration tests and of candle's example
// (docs/MODELS.md); without the variable there is nothing to check and the test passes at once.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/trace.h"

static trace_result trace_text(family *f, const char *text) {
    err e;
    json *j;
    trace_result r;
    cr_assert_eq(json_parse(&j, bytes_of(text), 1 << 20, &e), OK, "%s", e.text);
    status rc = trace_run(&r, f, &(trace_input){.run = j, .dir = "."}, &e);
    cr_assert_eq(rc, OK, "%s", e.text);
    json_free(j);
    return r;
}

static const float *data(const trace_result *r, const char *name) {
    for (size_t i = 0; i < r->n; i++) {
        if (strcmp(r->list[i].name, name) == 0) return r->list[i].t.data;
    }
    cr_assert(false, "no tensor %s", name);
    return NULL;
}

static void near(const char *what, const float *got, const double *want, size_t n,
                 double tolerance) {
    for (size_t i = 0; i < n; i++) {
        cr_assert(fabs((double)got[i] - want[i]) <= tolerance, "%s[%zu]: %g, published %g", what, i,
                  (double)got[i], want[i]);
    }
}

// The sound of greedy codes: two traces, since a run decodes what it is given.
static void greedy_sound(family *f, const char *run, const double *want, size_t n) {
    trace_result r = trace_text(f, run);
    const int32_t *codes = (const int32_t *)data(&r, "greedy");
    int64_t frames = 0;
    for (size_t i = 0; i < r.n; i++) {
        if (strcmp(r.list[i].name, "greedy") == 0) frames = r.list[i].t.shape[1];
    }
    buf b;
    buf_init(&b, 1 << 16);
    buf_add_str(&b, "{\"decode_codes\":[");
    for (int64_t i = 0; i < 4 * frames; i++) {
        buf_printf(&b, "%s%d%s",
                   i % frames ? ","
                   : i        ? ",["
                              : "[",
                   codes[i], i % frames == frames - 1 ? "]" : "");
    }
    buf_add_str(&b, "]}");
    trace_result w = trace_text(f, buf_str(&b));
    near("audio", data(&w, "wave"), want, n, 1e-4);
    buf_deinit(&b);
    trace_free(&r);
    trace_free(&w);
}

static const char *model_dir(void) {
    return getenv("STEMFORGE_TEST_MODEL");
}

Test(real_model, musicgen_small_gives_the_published_values) {
    if (!model_dir()) return;
    err e;
    family *f;
    compute *c;
    cr_assert_eq(compute_open(&c, 0, NULL, &e), OK, "%s", e.text);
    cr_assert_eq(family_open(&f, &(family_options){.model = model_dir(), .c = c}, &e), OK, "%s",
                 e.text);

    trace_result r =
        trace_text(f, "{\"prompt\":\"90s rock song with loud guitars and heavy drums\"}");
    static const int32_t ids[] = {2777, 7, 2480, 2324, 28, 8002, 5507, 7, 11, 2437, 5253, 7, 1};
    cr_assert_eq(memcmp(data(&r, "ids"), ids, sizeof ids), 0, "token ids");
    static const double t5_first[] = {0.0902, 0.1256, -0.0585},
                        t5_last[] = {0.0163, 0.0012, -0.0020};
    near("t5[0]", data(&r, "t5"), t5_first, 3, 6e-5); // published with four decimals
    near("t5[12]", data(&r, "t5") + 12 * 768, t5_last, 3, 6e-5);
    trace_free(&r);

    r = trace_text(f, "{\"prompt\":\"80s music\",\"codes\":[[2048],[2048],[2048],[2048]]}");
    static const double first[] = {-0.9708, -3.0149, -4.6415, -1.4754, -0.2786, -2.3523,
                                   -2.6049, -6.7467, -1.0206, -3.2984, -3.3968, -1.5108,
                                   -1.5786, -3.1493, -1.1503, -0.0545};
    near("logits", data(&r, "logits"), first, 16, 2e-4);
    trace_free(&r);

    static const double null_audio[] = {0.0056,  0.0064,  0.0063,  0.0054, 0.0042, 0.0033,
                                        0.0024,  0.0015,  0.0015,  0.0010, 0.0004, -0.0012,
                                        -0.0036, -0.0055, -0.0067, -0.0071};
    greedy_sound(f, "{\"greedy_frames\":5,\"delay\":false}", null_audio, 16);
    static const double guided[] = {0.0283, 0.0246,  0.0650,  0.0640, 0.0599, 0.0711,
                                    0.0420, 0.0112,  0.0511,  0.0746, 0.1363, 0.1213,
                                    0.0185, -0.0578, -0.0908, 0.0443};
    greedy_sound(f, "{\"prompt\":\"80s music\",\"guidance\":3,\"greedy_frames\":7}", guided, 16);
    family_close(f);
    compute_close(c);
}
