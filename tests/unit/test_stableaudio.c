// test_stableaudio.c - Stable Audio: each network and the samplers against diffusers, k-diffusion
// and the original program (tools/refsa.py and refsao.py recorded tests/parity/sa-*).
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/stableaudio/denoise.h"
#include "engine/stableaudio/noise.h"
#include "stemforge.h"

#define F32 "tests/parity/sa-f32/model"

// sa-f32 and sa-half are folders of diffusers; sa-original and sa-small have the original layout,
// the latter the structure of Open Small.
static const char *const cases[] = {"sa-f32", "sa-half", "sa-original", "sa-small"};

typedef struct {
    compute *c;
    checkpoint files;
    sa_model m;
    st_file *expect;
} fixture;

// A case of the repository, or a folder of its own.
static void path_of(char path[500], const char *name, const char *file) {
    snprintf(path, 500, "%s%s/%s", name[0] == '/' ? "" : "tests/parity/", name, file);
}

static void fixture_open_as(fixture *f, const char *name, int threads, weights_type type) {
    char path[500];
    err e;
    *f = (fixture){0};
    cr_assert_eq(compute_open(&f->c, threads, NULL, &e), OK, "%s", e.text);
    path_of(path, name, "model");
    cr_assert_eq(checkpoint_open(&f->files, path, NULL, &e), OK, "%s", e.text);
    cr_assert(sa_files_recognise(&f->files));
    cr_assert_eq(sa_model_open(&f->m, &f->files, type, f->c, &e), OK, "%s", e.text);
    path_of(path, name, "expect.safetensors");
    cr_assert_eq(st_open(&f->expect, path, &e), OK, "%s", e.text);
}

static void fixture_open(fixture *f, const char *name, int threads) {
    fixture_open_as(f, name, threads, WEIGHTS_AS_STORED);
}

static void fixture_close(fixture *f) {
    st_close(f->expect);
    sa_model_close(&f->m);
    checkpoint_close(&f->files);
    compute_close(f->c);
}

// A recorded tensor, freed by the caller; *n gets how many values it has.
static float *recorded(const fixture *f, const char *name, int64_t *n) {
    const tensor *t = st_find(f->expect, name);
    cr_assert(t && t->type == DT_F32, "%s", name);
    *n = tensor_count(t);
    float *v = malloc((size_t)*n * sizeof *v);
    tensor_read_f32(v, t, 0, *n);
    return v;
}

static void agrees(const fixture *f, const char *name, const float *got, double most) {
    int64_t n;
    float *want = recorded(f, name, &n);
    double peak = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double off = fabs((double)got[i] - (double)want[i]);
        peak = fmax(peak, fabs((double)want[i]));
        if (!(off <= worst)) worst = off;
    }
    printf("%s: %.2g of the peak\n", name, worst / peak);
    cr_assert(worst <= most * peak, "%s: off by %g of the peak, at most %g", name, worst / peak,
              most);
    free(want);
}

// --- conditions

// The length that the conditions were recorded with: that of the canvas, 130.5 frames in diffusers.
static double seconds_of(const fixture *f) {
    const oobleck_config *cfg = oobleck_get_config(f->m.codec);
    double frames = f->m.files.original ? 69 : 130.5;
    return frames * (double)cfg->hop / (double)cfg->sample_rate;
}

static void read_ids(const fixture *f, const char *text, tok_ids *ids) {
    err e;
    size_t most = (size_t)f->m.tokens;
    cr_assert_eq(tok_encode(f->m.files.tokenizer, bytes_of(text), ids, &e), OK, "%s", e.text);
    if (ids->count <= most) return;
    ids->ids[ids->first + most - 1] = ids->ids[ids->first + ids->count - 1]; // the end of the text
    ids->count = most;
}

static void check_text(const fixture *f, const char *name, const char *text) {
    char full[60];
    const sa_condition *k = &f->m.condition;
    tok_ids ids = {0};
    err e;
    snprintf(full, sizeof full, "%s.ids", name);
    const tensor *t = st_find(f->expect, full);
    read_ids(f, text, &ids);
    cr_assert_eq((int64_t)ids.count, tensor_count(t), "%s", full);
    const int32_t *in = ids.ids + ids.first;
    cr_assert(memcmp(in, t->data, ids.count * sizeof *in) == 0, "%s", full);
    arena work = {0};
    float *states = arena_f32(&work, ids.count, (size_t)k->text_dim);
    float *rows = arena_f32(&work, (size_t)sa_model_rows(&f->m), (size_t)k->dim);
    float *global = arena_f32(&work, 2, (size_t)k->dim);
    cr_assert_eq(t5_encode(f->m.text, f->c, states, in, (int64_t)ids.count, &work, &e), OK);
    const sa_condition_args a = {.text = states,
                                 .n = (int64_t)ids.count,
                                 .tokens = f->m.tokens,
                                 .end = seconds_of(f),
                                 .rows = rows,
                                 .global = global};
    cr_assert_eq(sa_condition_run(k, f->c, &a, &e), OK, "%s", e.text);
    snprintf(full, sizeof full, "%s.rows", name);
    agrees(f, full, rows, 1e-5);
    snprintf(full, sizeof full, "%s.global", name);
    agrees(f, full, global, 1e-5);
    sa_condition_args late = a;
    late.end = 600; // out of range: counts as 512
    cr_assert_eq(sa_condition_run(k, f->c, &late, &e), OK, "%s", e.text);
    agrees(f, "seconds.512", global + (sa_condition_rows(k) - 1) * k->dim, 1e-5);
    tok_ids_deinit(&ids);
    arena_deinit(&work);
}

Test(stableaudio, texts_and_seconds_are_the_rows_of_the_reference) {
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fixture f;
        fixture_open(&f, cases[i], 2);
        check_text(&f, "text", "drums rock style 120 bpm warm");
        check_text(&f, "negative", "low dark metal");
        fixture_close(&f);
    }
}

// --- networks

static dit_context *context_of(const fixture *f, const char *name) {
    int64_t n;
    float *rows = recorded(f, name, &n);
    dit_context *x;
    err e;
    n /= f->m.condition.dim;
    cr_assert_eq(dit_context_create(&x, f->m.net, f->c, rows, n, &e), OK, "%s", e.text);
    free(rows);
    return x;
}

static void check_forward(const fixture *f) {
    const dit_config *cfg = dit_get_config(f->m.net);
    int64_t n, one;
    float *x = recorded(f, "forward.x", &n), *t = recorded(f, "forward.t", &one);
    float *global = recorded(f, "text.global", &one);
    float *y = malloc((size_t)n * sizeof *y), *whole = malloc((size_t)cfg->d * sizeof *whole);
    dit_context *context = context_of(f, "text.rows");
    dit_room *room;
    err e;
    int64_t frames = n / cfg->channels;
    cr_assert_eq(dit_room_create(&room, f->m.net, f->c, frames, &e), OK, "%s", e.text);
    dit_global(f->m.net, f->c, room, whole, global);
    dit_args a = {.y = y, .x = x, .frames = frames, .global = whole, .context = context, .t = *t};
    dit_run(f->m.net, f->c, room, &a);
    agrees(f, "forward.y", y, 1e-5);
    a.context = NULL;
    dit_run(f->m.net, f->c, room, &a);
    agrees(f, "forward.null.y", y, 1e-5);
    dit_room_free(room);
    dit_context_free(context);
    free(x), free(t), free(global), free(y), free(whole);
}

Test(stableaudio, a_pass_of_the_transformer_agrees_with_diffusers) {
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fixture f;
        fixture_open(&f, cases[i], 2);
        check_forward(&f);
        fixture_close(&f);
    }
}

// How far narrow weights are from the reference, in one pass: of these, the root mean square.
static double forward_error(const char *name, weights_type type) {
    fixture f;
    fixture_open_as(&f, name, 2, type);
    const dit_config *cfg = dit_get_config(f.m.net);
    int64_t n, one;
    float *x = recorded(&f, "forward.x", &n), *want = recorded(&f, "forward.y", &n);
    float *global = recorded(&f, "text.global", &one), *t = recorded(&f, "forward.t", &one);
    float *y = malloc((size_t)n * sizeof *y), *whole = malloc((size_t)cfg->d * sizeof *whole);
    dit_context *context = context_of(&f, "text.rows");
    dit_room *room;
    err e;
    cr_assert_eq(dit_room_create(&room, f.m.net, f.c, cfg->frames, &e), OK, "%s", e.text);
    dit_global(f.m.net, f.c, room, whole, global);
    const dit_args a = {
        .y = y, .x = x, .frames = cfg->frames, .global = whole, .context = context, .t = *t};
    dit_run(f.m.net, f.c, room, &a);
    double off = 0, all = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)y[i] - (double)want[i];
        off += d * d, all += (double)want[i] * (double)want[i];
    }
    dit_room_free(room);
    dit_context_free(context);
    free(x), free(t), free(global), free(y), free(whole), free(want);
    fixture_close(&f);
    return sqrt(off / all);
}

// bf16 rounds weights to 8 bits of mantissa, q8 and q4 to 8 and 4 bits of a block's range.
Test(stableaudio, narrow_weights_stay_near_the_reference) {
    double f32 = forward_error("sa-f32", WEIGHTS_F32), bf16 = forward_error("sa-f32", WEIGHTS_BF16);
    double q8 = forward_error("sa-f32", WEIGHTS_Q8), q4 = forward_error("sa-f32", WEIGHTS_Q4);
    printf("f32 %.2g, bf16 %.2g, q8 %.2g, q4 %.2g\n", f32, bf16, q8, q4);
    cr_assert(f32 < 1e-5 && bf16 < 0.01 && q8 < 0.03 && q4 < 0.3, "%g %g %g %g", f32, bf16, q8, q4);
    cr_assert(f32 < bf16 && bf16 < q8 && q8 < q4);
}

// The whole sound, of which pieces are made one by one, and the beginning alone.
static void check_codec(const fixture *f, double most) {
    int64_t n, all;
    float *x = recorded(f, "vae.x", &n), *want = recorded(f, "vae.wave", &all);
    int64_t frames = n / dit_get_config(f->m.net)->channels, samples = all / 2;
    float *planes = malloc((size_t)all * sizeof *planes);
    err e;
    cr_assert_eq(oobleck_samples(f->m.codec, frames), samples);
    oobleck_args a = {.latents = x, .frames = frames, .planes = planes, .samples = samples};
    cr_assert_eq(oobleck_decode(f->m.codec, f->c, &a, &e), OK, "%s", e.text);
    agrees(f, "vae.wave", planes, most);
    a.samples = 1501;
    cr_assert_eq(oobleck_decode(f->m.codec, f->c, &a, &e), OK, "%s", e.text);
    for (int64_t i = 0; i < a.samples; i++)
        for (int ch = 0; ch < 2; ch++)
            cr_assert_float_eq(planes[ch * a.samples + i], want[ch * samples + i],
                               (float)(10 * most));
    free(x), free(want), free(planes);
}

Test(stableaudio, the_codec_agrees_with_diffusers_also_in_pieces) {
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fixture f;
        fixture_open(&f, cases[i], 2);
        check_codec(&f, 1e-5);
        fixture_close(&f);
    }
}

// The whole, of which pieces are made one by one, and the beginning alone.
static void check_encoder(const fixture *f) {
    int64_t samples, n;
    float *sound = recorded(f, "sound", &samples), *want = recorded(f, "sound.latents", &n);
    const oobleck_config *cfg = oobleck_get_config(f->m.codec);
    float *got = malloc((size_t)n * sizeof *got);
    oobleck_encoder *m;
    arena own = {0};
    checkpoint_part part = f->m.files.vae.tensors;
    weights w = checkpoint_part_weights(&part, &own, f->c);
    err e;
    cr_assert_eq(oobleck_encoder_open(&m, &w, cfg, &own, &e), OK, "%s", e.text);
    cr_assert_eq(weights_finish(&w, &e), OK, "%s", e.text);
    oobleck_encode_args a = {
        .planes = sound, .samples = samples / 2, .latents = got, .frames = n / cfg->latent};
    cr_assert_eq(oobleck_encode(m, f->c, &a, &e), OK, "%s", e.text);
    agrees(f, "sound.latents", got, 1e-5);
    a.frames = 3;
    cr_assert_eq(oobleck_encode(m, f->c, &a, &e), OK, "%s", e.text);
    for (int64_t i = 0; i < 3 * cfg->latent; i++) cr_assert_float_eq(got[i], want[i], 1e-4f);
    arena_deinit(&own);
    free(sound), free(want), free(got);
}

Test(stableaudio, the_encoder_agrees_with_diffusers_also_in_pieces) {
    for (size_t i = 2; i < ARRAY_LEN(cases); i++) {
        fixture f;
        fixture_open(&f, cases[i], 2);
        check_encoder(&f);
        fixture_close(&f);
    }
}

// --- the solver

static void given_noise(void *arg, int64_t draw, float *out, int64_t n) {
    memcpy(out, (const float *)arg + draw * n, (size_t)n * sizeof *out);
}

static denoise *start(const fixture *f, denoise_room *r, const denoise_params *p, bool negative) {
    int64_t n;
    float *global = recorded(f, "text.global", &n);
    err e;
    denoise *d;
    denoise_conditions k = {.context = context_of(f, "text.rows"), .global = global};
    if (negative) k.negative = context_of(f, "negative.rows");
    cr_assert_eq(denoise_create(&d, &f->m, f->c, r, p, &k, &e), OK, "%s", e.text);
    free(global);
    return d;
}

typedef struct {
    const char *name;
    float guidance;
    bool negative;
    sa_sampler sampler;
    int64_t steps;
    double kept; // of the recorded latents of a sound; 0: none
} run_case;

static void check_steps(const fixture *f, const run_case *k) {
    int64_t n;
    float *noise = recorded(f, "noise", &n);
    float *given = k->kept > 0 ? recorded(f, "sound.latents", &n) : NULL;
    denoise_room *r;
    err e;
    sa_schedule s = f->m.schedule;
    s.unit = k->sampler == SA_2M_SDE; // the others start as k-diffusion does
    const denoise_params p = {.course = {&s, k->sampler, k->steps, k->kept},
                              .frames = dit_get_config(f->m.net)->frames,
                              .guidance = k->guidance,
                              .draw = given_noise,
                              .arg = noise,
                              .given = given,
                              .fresh = {0, dit_get_config(f->m.net)->frames}};
    cr_assert_eq(denoise_room_create(&r, &f->m, f->c, &e), OK, "%s", e.text);
    denoise *d = start(f, r, &p, k->negative);
    for (int i = 0; i < k->steps; i++) {
        char full[60];
        denoise_step(d, f->c, r);
        snprintf(full, sizeof full, "%s.x%d", k->name, i);
        if (st_find(f->expect, full)) agrees(f, full, denoise_latents(d), 1e-4);
    }
    cr_assert_eq(denoise_done(d), k->steps);
    denoise_free(d);
    denoise_room_free(r);
    free(noise), free(given);
}

static void check_runs(const char *name, const run_case *runs, size_t count) {
    fixture f;
    fixture_open(&f, name, 2);
    for (size_t n = 0; n < count; n++) check_steps(&f, &runs[n]);
    fixture_close(&f);
}

Test(stableaudio, ten_steps_agree_with_diffusers_and_k_diffusion) {
    static const run_case runs[] = {{"plain", 1, false, SA_2M_SDE, 10, 0},
                                    {"guided", 7, false, SA_2M_SDE, 10, 0},
                                    {"negative", 4.5f, true, SA_2M_SDE, 10, 0},
                                    {"3m", 4, false, SA_3M_SDE, 10, 0},
                                    {"2m", 4, false, SA_2M, 10, 0}};
    for (size_t i = 0; i < 2; i++) check_runs(cases[i], runs, ARRAY_LEN(runs));
}

// With the model's own defaults where it is not guided.
Test(stableaudio, eight_steps_agree_with_the_original) {
    static const run_case diffusion[] = {{"3m", 4, false, SA_3M_SDE, 8, 0},
                                         {"varied", 4, false, SA_2M, 8, 0.6}};
    static const run_case flow[] = {{"pingpong", 1, false, SA_PINGPONG, 8, 0},
                                    {"euler", 4, false, SA_EULER, 8, 0},
                                    {"2m", 4, false, SA_2M, 8, 0},
                                    {"varied", 4, false, SA_2M, 8, 0.6}};
    check_runs("sa-original", diffusion, ARRAY_LEN(diffusion));
    check_runs("sa-small", flow, ARRAY_LEN(flow));
}

// The published table of sigmas and times for 8 steps (float32 of the reference).
Test(stableaudio, the_schedule_has_the_published_times) {
    const float times[] = {0.99872673f, 0.99632573f, 0.9893977f,  0.96942478f,
                           0.91225863f, 0.75761521f, 0.45426565f, 0.18554717f};
    const sa_schedule s = sa_schedule_diffusers();
    for (int k = SA_2M_SDE; k <= SA_2M; k++) {
        const sa_course c = {&s, (sa_sampler)k, 8, 0};
        for (int i = 0; i < 8; i++) {
            sa_step step = sa_course_step(&c, i);
            cr_assert_float_eq(step.time, times[i], 2e-7f, "%d", i);
            cr_assert_eq(step.noise > 0, k != SA_2M && i < 7);
        }
        sa_step last = sa_course_step(&c, 7);
        cr_assert(last.back == 0 && last.now == 1 && last.before == 0 && last.older == 0);
        cr_assert_float_eq(sa_course_start(&c, NULL), 500.001f, 1e-4f);
    }
}

Test(stableaudio, noise_is_normal_and_numbered) {
    enum { N = 200000 };
    float *a = malloc(N * sizeof *a), part[7];
    double sum = 0, square = 0, fourth = 0;
    sa_noise(a, N, 5, 9, 3);
    for (int i = 0; i < N; i++) {
        double v = (double)a[i];
        sum += v, square += v * v, fourth += v * v * v * v;
    }
    cr_assert_lt(fabs(sum / N), 0.01);
    cr_assert_lt(fabs(square / N - 1), 0.02);
    cr_assert_lt(fabs(fourth / N - 3), 0.15);
    sa_noise(part, 7, 5, 9, 3);
    cr_assert(memcmp(part, a, sizeof part) == 0, "an element has its number");
    const uint64_t other[][3] = {{6, 9, 3}, {5, 8, 3}, {5, 9, 4}};
    for (size_t i = 0; i < ARRAY_LEN(other); i++) {
        sa_noise(part, 7, other[i][0], other[i][1], other[i][2]);
        cr_assert_neq(part[0], a[0]);
    }
    free(a);
}

// The folder that tools/bigsa.py recorded, absolute: of random values at full size, or of released
// weights, whose owner can run it.
//     STEMFORGE_TEST_SA_MODEL=/folder build/tests/run_unit --filter 'stableaudio_real/*'
Test(stableaudio_real, a_full_size_model_agrees_with_diffusers) {
    const char *folder = getenv("STEMFORGE_TEST_SA_MODEL");
    if (!folder) return;
    fixture f;
    fixture_open(&f, folder, 0);
    check_forward(&f);
    check_codec(&f, 2e-4); // of random weights f32 itself, PyTorch's, is 5.5e-5 off
    fixture_close(&f);
}
