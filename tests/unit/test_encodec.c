// test_encodec.c - the codec against transformers (tests/parity) and against itself cut in pieces.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "format/safetensors.h"
#include "model/encodec.h"

typedef struct {
    char dir[128];
    st_file *file, *want;
    json *config, *cases;
    arena own;
    compute *c;
    encodec *k;
    int channels;
    int64_t quantizers;
} fixture;

static json *read_json(const char *dir, const char *name) {
    char path[256];
    json *j;
    err e = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    cr_assert_eq(json_parse_file(&j, path, 1 << 24, &e), OK, "%s", e.text);
    return j;
}

static void setup_as(fixture *f, const char *name, weights_type type) {
    char path[256];
    err e = {0};
    memset(f, 0, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "tests/parity/%s", name);
    snprintf(path, sizeof path, "%s/model", f->dir);
    f->config = read_json(path, "config.json");
    f->cases = read_json(f->dir, "case.json");
    cr_assert_eq(st_open_model(&f->file, path, &e), OK, "%s", e.text);
    snprintf(path, sizeof path, "%s/expect.safetensors", f->dir);
    cr_assert_eq(st_open(&f->want, path, &e), OK, "%s", e.text);
    int64_t books = 4, channels = 1;
    cr_assert_eq(json_get_int(f->config, "decoder.num_codebooks", 1, 16, &books, &e), OK);
    cr_assert_eq(json_opt_int(f->config, "decoder.audio_channels", 1, 2, &channels, &e), OK);
    f->channels = (int)channels;
    f->quantizers = books / channels;
    arena_init(&f->own, 0);
    weights w;
    weights_init(&w, weights_from_st(f->file), &f->own, type);
    status rc = encodec_open(&f->k, &w, f->config, "audio_encoder.", f->quantizers,
                             ENCODEC_DECODER | ENCODEC_ENCODER, &f->own, &e);
    cr_assert_eq(rc, OK, "%s", e.text);
    cr_assert_eq(weights_finish(&w, &e), OK, "%s", e.text);
    cr_assert_eq(compute_open(&f->c, 2, NULL, &e), OK, "%s", e.text);
}

static void setup(fixture *f, const char *name) {
    setup_as(f, name, WEIGHTS_AS_STORED);
}

static void teardown(fixture *f) {
    compute_close(f->c);
    arena_deinit(&f->own);
    st_close(f->file);
    st_close(f->want);
    json_free(f->config);
    json_free(f->cases);
}

static const tensor *expected(const fixture *f, const char *run, const char *what) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s", run, what);
    const tensor *t = st_find(f->want, name);
    cr_assert_not_null(t, "%s: no %s", f->dir, name);
    return t;
}

static void check_close(const char *what, const float *got, const float *want, int64_t n) {
    double peak = 0, off = 0;
    for (int64_t i = 0; i < n; i++) {
        peak = fmax(peak, fabs((double)want[i]));
        off = fmax(off, fabs((double)got[i] - (double)want[i]));
    }
    cr_assert(off <= 1e-4 * peak, "%s: %g off, peak %g", what, off, peak);
    if (getenv("STEMFORGE_TEST_VERBOSE")) fprintf(stderr, "%s: %.2g of peak\n", what, off / peak);
}

// rows of JSON [K][T] as [K, T]; the caller frees.
static int32_t *read_codes(const json *list, int64_t *frames) {
    size_t books = json_len(list);
    *frames = (int64_t)json_len(json_at(list, 0));
    int32_t *codes = malloc(books * (size_t)*frames * sizeof *codes);
    for (size_t q = 0; q < books; q++) {
        for (size_t t = 0; t < (size_t)*frames; t++) {
            codes[q * (size_t)*frames + t] = (int32_t)json_int_value(json_at(json_at(list, q), t));
        }
    }
    return codes;
}

static void check_decode(const fixture *f, const char *run, const json *list) {
    int64_t frames;
    err e = {0};
    char what[200];
    int32_t *codes = read_codes(list, &frames);
    int64_t n = frames * encodec_get_config(f->k)->hop;
    float *wave = malloc((size_t)(n * f->channels) * sizeof *wave), *out[2] = {wave, wave + n};
    encodec_codes in = {codes, frames, frames, f->channels};
    cr_assert_eq(encodec_decode(f->k, f->c, &in, out, &e), OK, "%s", e.text);
    const tensor *t = expected(f, run, "wave");
    cr_assert_eq(tensor_count(t), n * f->channels);
    snprintf(what, sizeof what, "%s %s wave", f->dir, run);
    check_close(what, wave, t->data, n * f->channels);
    free(wave);
    free(codes);
}

// Samples of one channel of a canonical 16-bit file; the caller frees.
static float *read_wav(const fixture *f, const char *name, int channel, int64_t *n) {
    char path[256];
    os_file_map map;
    err e = {0};
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    cr_assert_eq(os_map_open(&map, path, &e), OK, "%s", e.text);
    const uint8_t *p = map.data.p + 44;
    int channels = map.data.p[22];
    *n = (int64_t)(map.data.n - 44) / 2 / channels;
    float *x = malloc((size_t)*n * sizeof *x);
    for (int64_t i = 0; i < *n; i++) {
        const uint8_t *at = p + (i * channels + channel) * 2;
        x[i] = (float)(int16_t)(at[0] | at[1] << 8) / 32768;
    }
    os_map_close(&map);
    return x;
}

static void check_encode(const fixture *f, const char *run, const char *wav) {
    const tensor *codes = expected(f, run, "enc_codes");
    for (int ch = 0; ch < f->channels; ch++) {
        int64_t n, dim = encodec_get_config(f->k)->dim;
        char what[200];
        err e = {0};
        float *x = read_wav(f, wav, ch, &n);
        int64_t frames = encodec_frame_count(f->k, n);
        cr_assert_eq(codes->shape[1], frames);
        int32_t *got = malloc((size_t)(f->quantizers * frames) * sizeof *got);
        float *latents = malloc((size_t)(frames * dim) * sizeof *latents);
        float *turned = malloc((size_t)(frames * dim) * sizeof *turned);
        encodec_encoded out = {got, latents};
        cr_assert_eq(encodec_encode(f->k, f->c, x, n, &out, &e), OK, "%s", e.text);
        for (int64_t t = 0; t < frames; t++) {
            for (int64_t d = 0; d < dim; d++) turned[d * frames + t] = latents[t * dim + d];
        }
        const char *name = f->channels == 1 ? "latents" : ch ? "latents_right" : "latents_left";
        snprintf(what, sizeof what, "%s %s %s", f->dir, run, name);
        check_close(what, turned, expected(f, run, name)->data, frames * dim);
        for (int64_t q = 0; q < f->quantizers; q++) {
            const int32_t *want = (const int32_t *)codes->data + (q * f->channels + ch) * frames;
            cr_assert_arr_eq(got + q * frames, want, (size_t)frames * 4, "%s codes %d", what,
                             (int)q);
        }
        free(x);
        free(got);
        free(latents);
        free(turned);
    }
}

static int check_case(const char *name) {
    fixture f;
    int checked = 0;
    setup(&f, name);
    const json *runs = json_find(f.cases, "runs");
    for (size_t i = 0; i < json_len(runs); i++) {
        const json *run = json_at(runs, i), *codes = json_find(run, "decode_codes");
        const char *id = json_str_value(json_find(run, "name"));
        const char *wav = json_str_value(json_find(run, "encode_wav"));
        if (codes) check_decode(&f, id, codes), checked++;
        if (wav) check_encode(&f, id, wav), checked++;
    }
    teardown(&f);
    return checked;
}

Test(encodec, agrees_with_transformers_mono) {
    cr_assert_geq(check_case("mono"), 11);
}

Test(encodec, agrees_with_transformers_stereo) {
    cr_assert_geq(check_case("stereo"), 2);
}

Test(encodec, agrees_with_transformers_with_zero_padding) {
    cr_assert_geq(check_case("stereo-melody"), 2);
}

Test(encodec, agrees_with_transformers_with_parametrized_names) {
    cr_assert_geq(check_case("parametrized"), 2);
}

Test(encodec, agrees_with_transformers_from_f16_bf16_and_shards) {
    cr_assert_geq(check_case("f16"), 2);
    cr_assert_geq(check_case("bf16"), 2);
    cr_assert_geq(check_case("sharded"), 2);
    cr_assert_geq(check_case("melody"), 2);
}

// Codes that depend on stream, book and frame.
static void make_codes(const fixture *f, int32_t *codes, int64_t frames, uint32_t seed) {
    for (int64_t i = 0; i < f->quantizers * frames; i++) {
        seed = seed * 1664525u + 1013904223u;
        codes[i] = (int32_t)((seed >> 8) % (uint32_t)encodec_get_config(f->k)->codes);
    }
}

// Decodes STREAMS sequences in pieces of the given sizes, the last one repeated.
enum { STREAMS = 3, FRAMES = 300 };

static void decode_pieces(const fixture *f, encodec_decoder *d, const int32_t *codes,
                          const int *sizes, float *const *out, int streams) {
    const int32_t *rows[STREAMS * ENCODEC_QUANTIZERS_MAX];
    float *to[STREAMS];
    int64_t at = 0, given, total = 0, hop = encodec_get_config(f->k)->hop;
    err e = {0};
    for (int i = 0; at < FRAMES; i += sizes[i + 1] != 0) {
        int64_t n = MIN(sizes[i], FRAMES - at);
        for (int r = 0; r < streams * f->quantizers; r++) rows[r] = codes + r * FRAMES + at;
        for (int s = 0; s < streams; s++) to[s] = out[s] + total;
        encodec_frames in = {rows, n, at + n == FRAMES, to};
        int64_t room = encodec_decoder_room(d, n);
        cr_assert_eq(encodec_decode_push(d, f->c, &in, &given, &e), OK, "%s", e.text);
        cr_assert_leq(given, room);
        at += n;
        total += given;
        // Five frames of look-ahead and three that wait for a whole window (chain.h) are all that a
        // sample may wait for.
        cr_assert_geq(total, (at - 8) * hop);
    }
    cr_assert_eq(total, FRAMES * hop);
}

static void check_pieces(weights_type type) {
    fixture f;
    setup_as(&f, "mono", type);
    int64_t hop = encodec_get_config(f.k)->hop, n = FRAMES * hop;
    int32_t *codes = malloc((size_t)(STREAMS * f.quantizers * FRAMES) * sizeof *codes);
    make_codes(&f, codes, STREAMS * FRAMES, 7);
    float *want = malloc((size_t)(STREAMS * n) * sizeof *want);
    float *got = malloc((size_t)(STREAMS * n) * sizeof *got), *out[STREAMS];
    for (int s = 0; s < STREAMS; s++) { // each alone and in one piece
        float *to[] = {want + s * n};
        encodec_codes in = {codes + s * f.quantizers * FRAMES, FRAMES, FRAMES, 1};
        cr_assert_eq(encodec_decode(f.k, f.c, &in, to, NULL), OK);
        out[s] = got + s * n;
    }
    static const int cuts[][8] = {{FRAMES, 0}, {1, 0}, {3, 1, 50, 7, 0}, {2, 129, 128, 0}};
    encodec_decoder *d;
    cr_assert_eq(encodec_decoder_create(&d, f.k, STREAMS, NULL), OK);
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        memset(got, 0, (size_t)(STREAMS * n) * sizeof *got);
        decode_pieces(&f, d, codes, cuts[i], out, STREAMS);
        cr_assert_arr_eq(got, want, (size_t)(STREAMS * n) * sizeof *got, "cut %zu", i);
        encodec_decoder_reset(d, STREAMS);
    }
    memset(got, 0, (size_t)n * sizeof *got);
    encodec_decoder_reset(d, 1); // fewer than it has room for, after more
    decode_pieces(&f, d, codes, cuts[2], out, 1);
    cr_assert_arr_eq(got, want, (size_t)n * sizeof *got);
    encodec_decoder_free(d);
    free(codes);
    free(want);
    free(got);
    teardown(&f);
}

Test(encodec, pieces_and_neighbours_change_no_bit) {
    check_pieces(WEIGHTS_AS_STORED);
}

Test(encodec, pieces_and_neighbours_change_no_bit_in_bf16) {
    check_pieces(WEIGHTS_BF16);
}

// More sequences than go side by side: some of them share a group, one is left over.
Test(encodec, sequences_decoded_together_are_what_each_is_alone) {
    enum { LEN = 9, N = ENCODEC_STREAMS_MAX + 1 };
    fixture f;
    setup(&f, "stereo");
    cr_assert_eq(f.channels, 2);
    int64_t books = 2 * f.quantizers, n = LEN * encodec_get_config(f.k)->hop;
    int32_t *codes = malloc((size_t)(N * books * LEN) * sizeof *codes);
    make_codes(&f, codes, 2 * N * LEN, 11);
    float *alone = malloc((size_t)(2 * n) * sizeof *alone), *pair[] = {alone, alone + n};
    float *all = malloc((size_t)(2 * N * n) * sizeof *all), *out[2 * N];
    encodec_codes in[N];
    for (int i = 0; i < N; i++) {
        in[i] = (encodec_codes){codes + i * books * LEN, LEN, LEN, 2};
        out[2 * i] = all + 2 * i * n, out[2 * i + 1] = all + (2 * i + 1) * n;
    }
    encodec_decoder *d;
    cr_assert_eq(encodec_decoder_create(&d, f.k, ENCODEC_STREAMS_MAX, NULL), OK);
    cr_assert_eq(encodec_decoder_run(d, f.c, in, N, out, NULL), OK);
    encodec_decoder_free(d);
    for (int i = 0; i < N; i++) {
        cr_assert_eq(encodec_decode(f.k, f.c, &in[i], pair, NULL), OK);
        cr_assert_arr_eq(all + 2 * i * n, alone, (size_t)(2 * n) * sizeof *all, "sequence %d", i);
    }
    free(codes);
    free(alone);
    free(all);
    teardown(&f);
}

// Decodes FRAMES frames of codes with an instruction set and a number of threads; the caller frees.
static float *decode_with(const fixture *f, const int32_t *codes, const char *isa, int threads) {
    compute *c;
    float *wave = calloc((size_t)(FRAMES * encodec_get_config(f->k)->hop), sizeof *wave);
    if (compute_open(&c, threads, isa, NULL) != OK) { // this machine lacks it
        free(wave);
        return NULL;
    }
    encodec_codes in = {codes, FRAMES, FRAMES, 1};
    cr_assert_eq(encodec_decode(f->k, c, &in, &wave, NULL), OK);
    compute_close(c);
    return wave;
}

Test(encodec, instruction_sets_and_threads_change_no_bit) {
    static const char *const isas[] = {"avx2", "avx512", "amx", "neon"};
    for (int bf16 = 0; bf16 < 2; bf16++) {
        fixture f;
        setup_as(&f, "mono", bf16 ? WEIGHTS_BF16 : WEIGHTS_AS_STORED);
        int32_t codes[4 * FRAMES];
        make_codes(&f, codes, FRAMES, 3);
        float *want = decode_with(&f, codes, "scalar", 1);
        size_t size = (size_t)(FRAMES * encodec_get_config(f.k)->hop) * sizeof *want;
        for (int i = 0; i < (int)ARRAY_LEN(isas); i++) {
            float *got = decode_with(&f, codes, isas[i], 1 + i);
            if (got) cr_assert_arr_eq(got, want, size, "%s bf16 %d", isas[i], bf16);
            free(got);
        }
        free(want);
        teardown(&f);
    }
}

Test(encodec, bf16_is_within_a_hundredth_of_the_exact_signal) {
    fixture exact, fast;
    setup(&exact, "mono");
    setup_as(&fast, "mono", WEIGHTS_BF16);
    int32_t codes[4 * FRAMES];
    make_codes(&exact, codes, FRAMES, 5);
    float *want = decode_with(&exact, codes, NULL, 1), *got = decode_with(&fast, codes, NULL, 1);
    double signal = 0, noise = 0;
    for (int64_t i = 0; i < FRAMES * encodec_get_config(exact.k)->hop; i++) {
        double off = (double)got[i] - (double)want[i];
        signal += (double)want[i] * (double)want[i];
        noise += off * off;
    }
    cr_assert(noise > 0 && noise < 1e-4 * signal, "%.1f dB", 10 * log10(signal / noise));
    free(want);
    free(got);
    teardown(&exact);
    teardown(&fast);
}

Test(encodec, decode_refuses_codes_and_lengths_out_of_range) {
    fixture f;
    setup(&f, "mono");
    int32_t codes[4 * 2] = {0};
    float wave[2 * 640], *out[] = {wave};
    err e;
    encodec_codes in = {codes, 2, 2, 1};
    codes[5] = 64;
    cr_assert_eq(encodec_decode(f.k, f.c, &in, out, &e), ERR_ARG);
    cr_assert_str_eq(e.text, "codebook row 2, frame 1: expected 0 to 63, found 64");
    codes[5] = -1;
    cr_assert_eq(encodec_decode(f.k, f.c, &in, out, &e), ERR_ARG);
    in.frames = 0;
    cr_assert_eq(encodec_decode(f.k, f.c, &in, out, &e), ERR_ARG);
    encodec_encoded none = {codes, NULL};
    cr_assert_eq(encodec_encode(f.k, f.c, wave, 0, &none, &e), ERR_ARG);
    teardown(&f);
}

static status read_config(const char *text, err *e) {
    json *j;
    encodec_config c;
    cr_assert_eq(json_parse(&j, bytes_of(text), 4096, e), OK);
    status rc = encodec_config_read(&c, j, 4, e);
    json_free(j);
    return rc;
}

#define KIND "\"use_causal_conv\":false,\"use_conv_shortcut\":false,"

Test(encodec, config_says_what_it_cannot_run) {
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"{}", "audio_encoder: expected an object, found nothing"},
        {"{\"audio_encoder\":{}}", "audio_encoder: use_causal_conv: expected false, found true"},
        {"{\"audio_encoder\":{" KIND "\"norm_type\":\"time_group_norm\"}}",
         "audio_encoder: norm_type: expected \"weight_norm\", found \"time_group_norm\""},
        {"{\"audio_encoder\":{" KIND "\"audio_channels\":2}}",
         "audio_encoder: audio_channels: expected 1, found 2"},
        {"{\"audio_encoder\":{" KIND "\"upsampling_ratios\":[]}}",
         "audio_encoder: upsampling_ratios: expected 1 to 8 numbers, found 0"},
        {"{\"audio_encoder\":{" KIND "\"upsampling_ratios\":[8,0]}}",
         "audio_encoder: upsampling_ratios: expected numbers of at least 1 with a product of at "
         "most 65536"},
        {"{\"audio_encoder\":{" KIND "\"upsampling_ratios\":[60000,2]}}",
         "audio_encoder: upsampling_ratios: expected numbers of at least 1 with a product of at "
         "most 65536"},
        {"{\"audio_encoder\":{" KIND "\"upsampling_ratios\":[2],\"pad_mode\":\"edge\"}}",
         "audio_encoder: pad_mode: expected \"reflect\" or \"constant\", found \"edge\""},
        {"{\"audio_encoder\":{" KIND "\"upsampling_ratios\":[2],\"codebook_dim\":64}}",
         "audio_encoder: codebook_dim: expected hidden_size 128, found 64"},
        {"{\"audio_encoder\":{" KIND
         "\"upsampling_ratios\":[2,2,2,2,2,2,2,2],\"num_filters\":512}}",
         "audio_encoder: num_filters: expected at most 256 with 8 ratios, found 512"},
        {"{\"audio_encoder\":{" KIND
         "\"upsampling_ratios\":[2],\"num_residual_layers\":8,\"dilation_growth_rate\":8}}",
         "audio_encoder: dilation_growth_rate: residual blocks span 6291456 rows, expected at most "
         "4096"},
    };
    err e;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_assert_eq(read_config(bad[i].text, &e), ERR_FORMAT, "%s", bad[i].text);
        cr_assert_str_eq(e.text, bad[i].why);
    }
    cr_assert_eq(read_config("{\"audio_encoder\":{" KIND "\"upsampling_ratios\":[8,5,4,4]}}", &e),
                 OK);
}

Test(encodec, missing_tensors_are_named_together) {
    fixture f;
    setup(&f, "mono");
    err e;
    weights w;
    encodec *k;
    cr_assert_not_null(freopen("/dev/null", "w", stderr)); // each problem is logged, by design
    weights_init(&w, weights_from_st(f.file), &f.own, WEIGHTS_AS_STORED);
    cr_assert_eq(encodec_open(&k, &w, f.config, "audio_encoder.", 6, ENCODEC_DECODER, &f.own, &e),
                 OK);
    cr_assert_eq(weights_finish(&w, &e), ERR_FORMAT);
    cr_assert_str_eq(e.text, "2 tensors are missing or wrong: "
                             "audio_encoder.quantizer.layers.4.codebook.embed [64, 16] is missing; "
                             "audio_encoder.quantizer.layers.5.codebook.embed [64, 16] is missing");
    teardown(&f);
}

static void check_failed_allocations(weights_type type) {
    fixture f;
    setup(&f, "bf16");
    int32_t codes[4 * 3] = {0};
    float wave[3 * 640], *out[] = {wave};
    encodec_codes in = {codes, 3, 3, 1};
    encodec_encoded to = {codes, NULL};
    for (int n = 0;; n++) {
        arena own;
        weights w;
        encodec *k;
        arena_init(&own, 0);
        mem_fail_after(n);
        weights_init(&w, weights_from_st(f.file), &own, type);
        status rc = encodec_open(&k, &w, f.config, "audio_encoder.", f.quantizers,
                                 ENCODEC_DECODER | ENCODEC_ENCODER, &own, NULL);
        if (!rc) rc = weights_finish(&w, NULL);
        if (!rc) rc = encodec_decode(k, f.c, &in, out, NULL);
        if (!rc) rc = encodec_encode(k, f.c, wave, ARRAY_LEN(wave), &to, NULL);
        mem_fail_after(-1);
        arena_deinit(&own);
        if (rc == OK) break;
        cr_assert_eq(rc, ERR_OOM);
    }
    teardown(&f);
}

Test(encodec, survives_each_failed_allocation) {
    check_failed_allocations(WEIGHTS_AS_STORED);
    check_failed_allocations(WEIGHTS_BF16);
}
