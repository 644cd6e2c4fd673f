// test_damaged.c - weights that are not numbers, or too large to compute with: the stem fails and
// the error names the tensor or the stage; nothing is delivered.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "format/safetensors.h"
#include "stemforge.h"

static void write_file(const char *path, bytes data) {
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(data.p, 1, data.n, f), data.n);
    cr_assert_eq(fclose(f), 0);
}

// A copy of the recorded model, in which count values of a tensor from `at` on are `value`.
static void damage(const char *folder, const char *tensor_name, int64_t at, int64_t count,
                   float value) {
    static const char *const names[] = {"config.json", "generation_config.json", "tokenizer.json",
                                        "model.safetensors"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char from[256], to[256];
        os_file_map map;
        snprintf(from, sizeof from, "tests/parity/mono/model/%s", names[i]);
        snprintf(to, sizeof to, "%s/%s", folder, names[i]);
        cr_assert_eq(os_map_open(&map, from, NULL), OK);
        uint8_t *copy = malloc(map.data.n);
        cr_assert_not_null(copy);
        memcpy(copy, map.data.p, map.data.n);
        if (i == 3) {
            st_file *f;
            cr_assert_eq(st_open_bytes(&f, (bytes){copy, map.data.n}, NULL), OK);
            const tensor *t = st_find(f, tensor_name);
            cr_assert(t && t->type == DT_F32, "%s", tensor_name);
            for (int64_t k = at; k < at + count && k < tensor_count(t); k++)
                memcpy((uint8_t *)(uintptr_t)t->data + 4 * k, &value, 4);
            st_close(f);
        }
        write_file(to, (bytes){copy, map.data.n});
        free(copy);
        os_map_close(&map);
    }
}

static stemforge_status count_stem(void *arg, size_t i, const stemforge_stem *s,
                                   stemforge_error *e) {
    (void)i;
    (void)s;
    (void)e;
    ++*(int *)arg;
    return STEMFORGE_OK;
}

// Makes a stem and expects it to fail with `want` in the error.
static void expect(const char *folder, stemforge_weights weights, const char *want) {
    static const char *const names[] = {"drums", "bass"};
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options o = stemforge_options_default();
    o.model = folder;
    o.threads = 1;
    o.weights = weights;
    cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_OK, "%s: %s", want, e.text);
    stemforge_request r = stemforge_request_default();
    r.stems = names;
    r.stem_count = 2;
    r.seconds = 0.3;
    int stems = 0;
    const stemforge_events ev = {.arg = &stems, .stem_done = count_stem};
    for (int i = 0; i < 2; i++) { // the second time as the first
        cr_assert_eq(stemforge_generate(g, &r, &ev, &e), STEMFORGE_ERR_FORMAT, "%s", want);
        cr_assert(strstr(e.text, want), "expected %s in: %s", want, e.text);
        cr_assert_eq(stems, 0);
    }
    stemforge_close(g);
}

static void make_folder(char *folder) {
    strcpy(folder, "/tmp/stemforge-damaged-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_not_null(freopen("/dev/null", "w", stderr)); // what is found is logged, by design
}

static void remove_folder(const char *folder) {
    char path[256];
    static const char *const names[] = {"config.json", "generation_config.json", "tokenizer.json",
                                        "model.safetensors"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

Test(damaged, a_value_that_is_not_finite_fails_the_stem_with_its_tensor) {
    static const char *const tensors[] = {
        "text_encoder.shared.weight",
        "text_encoder.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "text_encoder.encoder.block.1.layer.1.DenseReluDense.wi.weight", // ReLU of NaN is 0
        "text_encoder.encoder.final_layer_norm.weight",
        "enc_to_dec_proj.weight",
        "decoder.model.decoder.embed_tokens.2.weight",
        "decoder.model.decoder.layers.1.self_attn.q_proj.weight",
        "decoder.model.decoder.layers.0.fc1.weight",
        "decoder.model.decoder.layer_norm.bias",
        "decoder.lm_heads.3.weight",
        "audio_encoder.quantizer.layers.0.codebook.embed",
        "audio_encoder.decoder.layers.0.conv.weight_g",
        "audio_encoder.decoder.layers.0.conv.weight_v",
        "audio_encoder.decoder.layers.1.lstm.weight_hh_l0",
        "audio_encoder.encoder.layers.0.conv.bias",
    };
    static const float wrong[] = {(float)NAN, (float)INFINITY, -(float)INFINITY};
    static const stemforge_weights kinds[] = {STEMFORGE_WEIGHTS_AS_STORED, STEMFORGE_WEIGHTS_BF16,
                                              STEMFORGE_WEIGHTS_Q8};
    char folder[64];
    make_folder(folder);
    for (size_t i = 0; i < ARRAY_LEN(tensors); i++) {
        damage(folder, tensors[i], 1 + (int64_t)i % 2, 1, wrong[i % 3]);
        expect(folder, kinds[i % 3], tensors[i]);
        expect(folder, kinds[(i + 1) % 3], tensors[i]);
    }
    remove_folder(folder);
}

// All numbers are finite, and the sums are not.
Test(damaged, sums_that_are_not_finite_fail_the_stem_with_their_stage) {
    static const char *const cases[][2] = {
        {"text_encoder.encoder.block.0.layer.1.DenseReluDense.wo.weight", "text encoder"},
        {"decoder.lm_heads.3.weight", "decoder"},
        {"audio_encoder.decoder.layers.0.conv.bias", "codec"},
    };
    char folder[64];
    make_folder(folder);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        damage(folder, cases[i][0], 0, INT64_MAX / 2, 3e38f);
        expect(folder, STEMFORGE_WEIGHTS_AS_STORED, cases[i][1]);
    }
    remove_folder(folder);
}
