// test_model.c - the parts of the decoder that need no weights: positions, buckets, delay,
// sampling.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "compute/rng.h"
#include "engine/musicgen/delay.h"
#include "engine/musicgen/sampler.h"
#include "format/safetensors.h"
#include "model/musicgen.h"
#include "model/t5.h"

static const tensor *no_tensor(const void *file, const char *name) {
    (void)file;
    (void)name;
    return NULL;
}

static const float *f32_at(const st_file *f, const char *name, const tensor **t) {
    *t = st_find(f, name);
    cr_assert_not_null(*t, "%s", name);
    return (*t)->data;
}

static int32_t i32_at(const tensor *t, int64_t i) {
    int32_t v;
    memcpy(&v, (const uint8_t *)t->data + 4 * i, sizeof v);
    return v;
}

Test(musicgen, position_rows_are_the_reference_s) {
    st_file *f;
    err e;
    cr_assert_eq(st_open(&f, "tests/parity/positions.safetensors", &e), OK, "%s", e.text);
    const tensor *rows = st_find(f, "rows"), *t;
    static const int64_t widths[] = {64, 1024, 1536};
    static float row[2048];
    for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
        char name[16];
        snprintf(name, sizeof name, "d%lld", (long long)widths[i]);
        const float *want = f32_at(f, name, &t);
        for (int64_t r = 0; r < rows->shape[0]; r++) {
            mg_position_row(row, widths[i], i32_at(rows, r));
            for (int64_t k = 0; k < widths[i]; k++) {
                float w;
                memcpy(&w, want + r * widths[i] + k, sizeof w);
                // An exponential may differ in its last bit, which the position multiplies.
                cr_assert_float_eq(row[k], w, 2e-4, "d%lld position %d [%lld]: %g, want %g",
                                   (long long)widths[i], i32_at(rows, r), (long long)k,
                                   (double)row[k], (double)w);
            }
        }
    }
    st_close(f);
}

Test(t5, buckets_are_the_reference_s) {
    st_file *f;
    cr_assert_eq(st_open(&f, "tests/parity/positions.safetensors", NULL), OK);
    const tensor *d = st_find(f, "distance"), *b = st_find(f, "bucket"),
                 *c = st_find(f, "bucket16_64");
    cr_assert(d && b && c);
    for (int64_t i = 0; i < d->shape[0]; i++) {
        cr_assert_eq(t5_bucket(i32_at(d, i), 32, 128), i32_at(b, i), "distance %d", i32_at(d, i));
        cr_assert_eq(t5_bucket(i32_at(d, i), 16, 64), i32_at(c, i), "distance %d", i32_at(d, i));
    }
    st_close(f);
}

// What transformers' T5Attention._relative_position_bucket gives; outside of 0 to buckets - 1 its
// embedding fails.
Test(t5, a_distance_scale_without_room_leaves_the_table_as_the_reference_s_does) {
    static const int64_t cases[][4] = {
        {-65, 256, 63, 1}, {66, 256, 63, 67},  {-66, 256, 63, -61}, {65, 256, 65, 255},
        {-3, 256, 64, 3},  {64, 256, 65, 192}, {-3, 8, 1, 1},       {70, 8, 1, -4},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const int64_t *k = cases[i];
        cr_assert_eq(t5_bucket(k[0], k[1], k[2]), k[3], "case %zu", i);
    }
    cr_assert(t5_bucket(64, 256, 64) < 0); // divided by log 1
}

static status open_decoder(const char *head, const char *decoder, err *e) {
    char text[1024];
    snprintf(text, sizeof text,
             "{%s \"text_encoder\": {\"d_model\": 8}, \"decoder\": {%s \"hidden_size\": 8, "
             "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"ffn_dim\": 8, "
             "\"vocab_size\": 4, \"num_codebooks\": 2, \"max_position_embeddings\": 64}}",
             head, decoder);
    json *j;
    arena own;
    weights w;
    musicgen *m;
    arena_init(&own, 0);
    log_setup(LOG_OFF, false); // every tensor is missing
    cr_assert_eq(json_parse(&j, (bytes){(const uint8_t *)text, strlen(text)}, 4096, NULL), OK);
    weights_init(&w, (weights_source){.find = no_tensor}, &own, WEIGHTS_AS_STORED);
    status rc = mg_open(&m, &w, j, &own, e);
    arena_deinit(&own);
    json_free(j);
    return rc;
}

#define MELODY "\"model_type\": \"musicgen_melody\","

Test(musicgen, keys_that_change_the_network_are_refused_by_name_and_value) {
    static const char *const text = "\"model_type\": \"musicgen\",";
    static const struct {
        const char *head, *decoder, *key, *value;
    } bad[] = {
        {"\"model_type\": \"llama\",", "", "model_type", "llama"},
        {"\"model_type\": \"musicgen\", \"tie_encoder_decoder\": true,", "", "tie_encoder_decoder",
         "true"},
        {text, "\"model_type\": \"musicgen_melody_decoder\",", "decoder: model_type",
         "musicgen_melody_decoder"},
        {text, "\"activation_function\": \"silu\",", "activation_function", "silu"},
        {text, "\"tie_word_embeddings\": true,", "tie_word_embeddings", "true"},
        {text, "\"pad_token_id\": 0,", "pad_token_id", "0"},
        {text, "\"bos_token_id\": 3,", "bos_token_id", "3"},
        {text, "\"cross_attention_hidden_size\": 16,", "cross_attention_hidden_size", "16"},
        {MELODY "\"stemforge\": {\"control_layers\": 2},", "", "stemforge.control_layers", "2"},
        {MELODY "\"stemforge\": {\"control_layers\": 0},", "", "stemforge.control_layers", "0"},
        {MELODY "\"stemforge\": {\"control_layers\": \"1\"},", "", "stemforge.control_layers",
         "string"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        err e = {0};
        cr_assert_eq(open_decoder(bad[i].head, bad[i].decoder, &e), ERR_FORMAT, "case %zu", i);
        cr_assert(strstr(e.text, bad[i].key) && strstr(e.text, bad[i].value), "%s", e.text);
    }
    err e = {0};
    cr_assert_eq(open_decoder(text,
                              "\"model_type\": \"musicgen_decoder\", \"scale_embedding\": true, "
                              "\"pad_token_id\": 4, \"bos_token_id\": null, "
                              "\"activation_function\": \"relu\",",
                              &e),
                 OK, "%s", e.text);
}

Test(t5, keys_that_change_the_network_are_refused_by_name_and_value) {
    static const char *const bad[][3] = {
        {"\"model_type\": \"umt5\",", "model_type", "umt5"},
        {"\"dense_act_fn\": \"silu\",", "dense_act_fn", "silu"},
        {"\"feed_forward_proj\": \"gated-gelu\",", "feed_forward_proj", "gated-gelu"},
        {"\"is_gated_act\": true,", "is_gated_act", "true"},
        {"\"feed_forward_proj\": \"tanh\",", "feed_forward_proj", "tanh"},
    };
    log_setup(LOG_OFF, false);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char text[512];
        err e = {0};
        json *j;
        arena own;
        weights w;
        t5 *m;
        arena_init(&own, 0);
        snprintf(text, sizeof text,
                 "{%s \"d_model\": 4, \"d_kv\": 2, \"d_ff\": 4, \"num_layers\": 1, "
                 "\"num_heads\": 1, \"vocab_size\": 8}",
                 bad[i][0]);
        cr_assert_eq(json_parse(&j, (bytes){(const uint8_t *)text, strlen(text)}, 4096, NULL), OK);
        weights_init(&w, (weights_source){.find = no_tensor}, &own, WEIGHTS_AS_STORED);
        cr_assert_eq(t5_open(&m, &w, j, "", &own, &e), ERR_FORMAT);
        cr_assert(strstr(e.text, bad[i][1]) && strstr(e.text, bad[i][2]), "%s", e.text);
        arena_deinit(&own);
        json_free(j);
    }
}

// The tables of the paper's pattern: P is forced, digits are frames.
Test(delay, mono_and_stereo_tables) {
    static const char *const mono[] = {"P0123PPP", "PP0123PP", "PPP0123P", "PPPP0123"};
    const delay_pattern m = {.codebooks = 4, .channels = 1, .frames = 4, .special = 2048};
    cr_assert_eq(delay_columns(&m), 8);
    for (int64_t k = 0; k < 4; k++) {
        for (int64_t p = 0; p < 8; p++) {
            char c = mono[k][p];
            cr_assert_eq(delay_frame(&m, k, p), c == 'P' ? -1 : c - '0', "book %lld column %lld",
                         (long long)k, (long long)p);
        }
    }
    const delay_pattern s = {.codebooks = 8, .channels = 2, .frames = 4, .special = 2048};
    cr_assert_eq(delay_columns(&s), 8);
    for (int64_t k = 0; k < 8; k++) {
        for (int64_t p = 0; p < 8; p++)
            cr_assert_eq(delay_frame(&s, k, p), delay_frame(&m, k / 2, p));
    }
}

Test(delay, a_prompt_fills_the_columns_it_reaches) {
    const int32_t frames[4][2] = {{10, 11}, {20, 21}, {30, 31}, {40, 41}};
    const delay_pattern d = {.codebooks = 4, .channels = 1, .frames = 5, .special = 9};
    int32_t col[4];
    delay_column(&d, col, frames[0], 2, 2, 3);
    cr_assert(col[0] == 9 && col[1] == 21 && col[2] == 30 && col[3] == 9);
}

Test(sampler, probabilities_are_those_of_the_reference_s_warpers) {
    st_file *f;
    json *j;
    err e;
    cr_assert_eq(st_open(&f, "tests/parity/sampling/expect.safetensors", &e), OK, "%s", e.text);
    cr_assert_eq(json_parse_file(&j, "tests/parity/sampling/case.json", 1 << 20, &e), OK, "%s",
                 e.text);
    const tensor *lt, *pt;
    const float *logits = f32_at(f, "logits", &lt), *probs = f32_at(f, "probs", &pt);
    int64_t rows = lt->shape[0], n = lt->shape[1];
    uint32_t *kept = mem_alloc((size_t)n * sizeof *kept);
    uint32_t *scratch = mem_alloc((size_t)n * sizeof *scratch);
    const json *params = json_find(j, "params");
    cr_assert_eq((int64_t)json_len(params), pt->shape[0]);
    for (int64_t i = 0; i < pt->shape[0]; i++) {
        const json *p = json_at(params, (size_t)i);
        const sampler_params sp = {.temperature =
                                       (float)json_num_value(json_find(p, "temperature")),
                                   .top_k = (int)json_int_value(json_find(p, "top_k")),
                                   .top_p = (float)json_num_value(json_find(p, "top_p"))};
        const json *listed = json_find(p, "rows"); // those clear of a threshold
        cr_assert_gt(json_len(listed), 0);
        for (size_t at = 0; at < json_len(listed); at++) {
            int64_t r = json_int_value(json_at(listed, at));
            double sum = (double)sampler_weights(kept, logits + r * n, n, &sp, scratch);
            for (int64_t k = 0; k < n; k++) {
                float want;
                memcpy(&want, probs + (i * rows + r) * n + k, sizeof want);
                double got = kept[k] / sum;
                cr_assert_float_eq(got, want, 2e-6, "params %lld row %lld code %lld: %g, want %g",
                                   (long long)i, (long long)r, (long long)k, got, (double)want);
                // A weight has 31 bits: what is less likely than that is left out.
                cr_assert(kept[k] ? want > 0 : want < 0x1p-31f,
                          "params %lld: code %lld is kept by one side only", (long long)i,
                          (long long)k);
            }
        }
    }
    mem_free(kept);
    mem_free(scratch);
    json_free(j);
    st_close(f);
}

Test(sampler, draws_follow_the_probabilities) {
    const float scores[4] = {0, 1, 2, -1e30f};
    const sampler_params p = {.temperature = 1};
    int count[4] = {0};
    enum { DRAWS = 20000 };
    for (uint64_t i = 0; i < DRAWS; i++) {
        uint32_t scratch[8];
        rng_u32x4 u = rng_draw(7, 0, i);
        count[sampler_draw(scores, 4, &p, rng_u64(&u), scratch)]++;
    }
    double sum = 1 + exp(1) + exp(2);
    for (int k = 0; k < 3; k++) { // five standard deviations
        double q = exp(k) / sum, dev = sqrt(q * (1 - q) / DRAWS);
        cr_assert_float_eq((double)count[k] / DRAWS, q, 5 * dev, "code %d: %d draws", k, count[k]);
    }
    cr_assert_eq(count[3], 0);
}

// 1 + (g - 1) * share, by hand; without a share the guidance itself, to the bit.
Test(sampler, fine_codebooks_do_without_a_share_of_the_guidance) {
    const sampler_params whole = {.guidance = 3.1f}, half = {.guidance = 3, .fine_less = 0.5f},
                         none = {.guidance = 3, .fine_less = 1};
    cr_assert_eq(sampler_guidance(&whole, true), 3.1f);
    cr_assert_eq(sampler_guidance(&half, false), 3);
    cr_assert_eq(sampler_guidance(&half, true), 2);
    cr_assert_eq(sampler_guidance(&none, true), 1);
}

Test(sampler, temperature_0_takes_the_first_of_the_best) {
    const float x[5] = {1, 3, 2, 3, -1};
    uint32_t scratch[10];
    const sampler_params p = {.temperature = 0, .top_k = 2};
    cr_assert_eq(sampler_draw(x, 5, &p, UINT64_MAX, scratch), 1);
}
