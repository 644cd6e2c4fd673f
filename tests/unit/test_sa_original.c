// test_sa_original.c - the original layout of Stable Audio: which keys and tensors are refused,
// where the text encoder is looked for, and stems of Open Small's structure.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "engine/family.h"
#include "engine/stableaudio/names.h"
#include "engine/stableaudio/original.h"
#include "stemforge.h"

#define ORIGINAL "tests/parity/sa-original/model"
#define SMALL "tests/parity/sa-small/model"

static char *read_text(const char *path, size_t *n) {
    char *text = calloc(1, 1 << 16);
    FILE *f = fopen(path, "rb");
    cr_assert(f && text, "%s", path);
    *n = fread(text, 1, (1 << 16) - 1, f);
    fclose(f);
    return text;
}

static status read_edited(const char *from, const char *to, err *e) {
    size_t n;
    char text[1 << 15], *was = read_text(ORIGINAL "/model_config.json", &n),
                        *at = strstr(was, from);
    cr_assert(at, "%s", from);
    int len = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - was), was, to, at + strlen(from));
    free(was);
    json *j;
    status rc = json_parse(&j, (bytes){(uint8_t *)text, (size_t)len}, sizeof text, e);
    cr_assert_eq(rc, OK, "%s: %s", to, e->text);
    sa_original o;
    rc = sa_original_read(&o, j, e);
    sa_original_close(&o);
    json_free(j);
    return rc;
}

#define NET "\"io_channels\": 4,\n        \"embed_dim\""
#define NET_WITH(key) key ", " NET

Test(sa_original, keys_that_mean_something_else_are_refused_by_name) {
    static const char *const cases[][3] = {
        {"\"diffusion_cond\"", "\"diffusion_cond_inpaint\"", "model_type"},
        {"\"sample_size\": 4416", "\"sample_size\": 0", "sample_size"},
        {"\"vae\"", "\"rvq\"",
         "model.pretransform.config.bottleneck.type: expected vae, found rvq"},
        {"\"use_snake\": true", "\"use_snake\": false", "use_snake: expected true, found false"},
        {"\"use_snake\": true", "\"antialias_activation\": false",
         "use_snake: expected true, found nothing"},
        {"\"seconds_total\",\n          \"type\": \"number\"",
         "\"seconds_total\", \"type\": \"int\"",
         "seconds_total: expected type \"number\", found \"int\""},
        {"\"t5\"", "\"clap_text\"", "found \"clap_text\""},
        {NET, NET_WITH("\"patch_size\": 2"),
         "model.diffusion.config.patch_size: expected 1, found 2"},
        {NET, NET_WITH("\"global_cond_type\": \"adaLN\""), "expected prepend, found adaLN"},
        {NET, NET_WITH("\"attn_kwargs\": {\"qk_norm\": \"l2\"}"), "qk_norm: expected none|ln"},
        {NET, NET_WITH("\"attn_kwargs\": {\"differential\": true}"),
         "differential: expected false"},
        {NET, NET_WITH("\"ff_kwargs\": {\"mult\": 3}"), "ff_kwargs.mult: expected 4, found 3"},
        {NET, NET_WITH("\"norm_kwargs\": {\"eps\": 0.1}"), "norm_kwargs.eps"},
        {NET, NET_WITH("\"num_memory_tokens\": 64"), "num_memory_tokens: expected 0, found 64"},
        {NET, NET_WITH("\"causal\": true"), "causal"},
        {NET, NET_WITH("\"brand_new\": 1"),
         "model.diffusion.config.brand_new: expected a key that"},
        {NET, NET_WITH("\"ff_kwargs\": 7"), "ff_kwargs: expected an object, found"},
        {"\"diffusion_objective\": \"v\"", "\"diffusion_objective\": \"x0\"", "found \"x0\""},
        {"\"num_heads\": 2", "\"num_heads\": 3", "num_heads 3"},
        {"\"max_val\": 512", "\"max_val\": 500", "one range"},
        {"\"latent_dim\": 8", "\"latent_dim\": 6", "latent_dim: expected 8, found 6"},
        {"\"global_cond_ids\": [", "\"global_cond_ids\": [\"prompt\", ", "global_cond_ids"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        err e = {0};
        status rc = read_edited(cases[i][0], cases[i][1], &e);
        cr_assert_eq(rc, ERR_FORMAT, "%s", cases[i][2]);
        cr_assert(strstr(e.text, cases[i][2]), "%s: %s", cases[i][2], e.text);
    }
    err e = {0};
    cr_assert_eq(read_edited("\"v\"", "\"rectified_flow\"", &e), OK, "%s", e.text);
}

// Each byte in turn: an error with a text, or a model.
Test(sa_original, a_configuration_with_any_byte_changed_is_an_error_or_a_model) {
    size_t n;
    int bad = 0, good = 0;
    char *text = read_text(SMALL "/model_config.json", &n);
    for (size_t k = 0; k < n; k++) {
        char was = text[k];
        text[k] = "9 -\"}x"[k % 6];
        err e = {0};
        json *j;
        sa_original o = {0};
        status rc = json_parse(&j, (bytes){(uint8_t *)text, n}, n, &e);
        if (!rc) rc = sa_original_read(&o, j, &e);
        cr_assert(rc == OK || e.text[0], "byte %zu", k);
        sa_original_close(&o);
        json_free(j);
        text[k] = was;
        if (rc)
            bad++;
        else
            good++;
    }
    free(text);
    cr_assert(bad > 300 && good > 100, "%d refused, %d read", bad, good);
}

Test(sa_original, a_tensor_that_no_network_has_is_refused_by_name) {
    static const char *const names[] = {
        "diffusion_ema.ema_model.x",
        "model.model.transformer.memory_tokens",
        "model.model.transformer.layers.0.pre_norm.gamma2",
        "pretransform.model.decoder.layers.x.y",
        "model.model.transformer.layers..pre_norm.gamma",
        "model.model.transformer.layers.99999999999999999999.pre_norm.gamma"};
    static const float one[4];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[] = "/tmp/stemforge-names-XXXXXX";
        err e = {0};
        st_file *f;
        sa_names *n;
        const st_entry entry = {names[i], {DT_F32, 1, {4}, one}};
        cr_assert_neq(mkstemp(path), -1);
        cr_assert_eq(st_write(path, &entry, 1, NULL, &e), OK, "%s", e.text);
        cr_assert_eq(st_open(&f, path, &e), OK, "%s", e.text);
        cr_assert_eq(sa_names_open(&n, f, &e), ERR_FORMAT, "%s", names[i]);
        cr_assert(strstr(e.text, names[i]), "%s", e.text);
        st_close(f);
        unlink(path);
    }
}

// --- the text encoder

static status open_model(const char *folder, err *e) {
    family *f;
    status rc = family_open(&f, &(family_options){.model = folder}, e);
    if (!rc) family_close(f);
    return rc;
}

static stemforge_status keep_line(void *arg, size_t i, const stemforge_stem *s,
                                  stemforge_error *e) {
    (void)i, (void)e;
    snprintf(arg, 200, "%s", s->prompt);
    return STEMFORGE_OK;
}

// The model's name alone says that it was taught loops: its text then is one.
static void check_foundation(const char *folder) {
    static const char *const stems[] = {"synth"};
    char named[] = "/tmp/My-Foundation-1", line[200] = "";
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options opt = stemforge_options_default();
    unlink(named);
    cr_assert_eq(symlink(folder, named), 0);
    opt.model = named, opt.threads = 2;
    cr_assert_eq(stemforge_open(&g, &opt, &e), STEMFORGE_OK, "%s", e.text);
    stemforge_request r = stemforge_request_default();
    r.stems = stems, r.stem_count = 1, r.bpm = 400, r.bars = 1, r.steps = 1, r.key = "C";
    r.seconds = -1;
    const stemforge_events ev = {.arg = line, .stem_done = keep_line};
    stemforge_status rc = stemforge_generate(g, &r, &ev, &e);
    cr_assert(rc == STEMFORGE_ERR_ARG && strstr(e.text, "canvas"), "0.6 s on 0.55 s: %s", e.text);
    r.bars = 0, r.seconds = 0.3;
    cr_assert_eq(stemforge_generate(g, &r, &ev, &e), STEMFORGE_OK, "%s", e.text);
    cr_assert_str_eq(line, "synth, C major, 400BPM,");
    stemforge_close(g);
    unlink(named);
}

Test(sa_original, the_text_encoder_is_beside_it_or_where_a_variable_says) {
    char folder[] = "/tmp/stemforge-sao-XXXXXX", root[300], from[500], to[500];
    static const char *const files[] = {"model_config.json", "model.safetensors"};
    err e = {0};
    cr_assert(mkdtemp(folder) && getcwd(root, sizeof root));
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(from, sizeof from, "%s/" SMALL "/%s", root, files[i]);
        snprintf(to, sizeof to, "%s/%s", folder, files[i]);
        cr_assert_eq(symlink(from, to), 0);
    }
    setenv("HF_HUB_CACHE", folder, 1); // in which there is none
    cr_assert_eq(open_model(folder, &e), ERR_NOT_FOUND, "%s", e.text);
    cr_assert(strstr(e.text, "stemforge pull google-t5/t5-base"), "%s", e.text);
    setenv("STEMFORGE_TEXT_ENCODER", SMALL "/text_encoder", 1);
    cr_assert_eq(open_model(folder, &e), OK, "%s", e.text);
    check_foundation(folder);
    setenv("STEMFORGE_TEXT_ENCODER", "/nowhere/at/all", 1);
    cr_assert_eq(open_model(folder, &e), ERR_NOT_FOUND, "%s", e.text);
    cr_assert(strstr(e.text, "STEMFORGE_TEXT_ENCODER"), "%s", e.text);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(to, sizeof to, "%s/%s", folder, files[i]);
        unlink(to);
    }
    rmdir(folder);
}

// --- stems

typedef struct {
    uint8_t digest[SHA256_LEN];
    int64_t total;
} outcome;

static stemforge_status keep(void *arg, size_t i, const stemforge_stem *s, stemforge_error *e) {
    bytes data = {(const uint8_t *)s->samples,
                  (size_t)(s->frames * s->channels) * sizeof *s->samples};
    (void)i, (void)e;
    return hash_sha256(((outcome *)arg)->digest, data, NULL);
}

static void follow(void *arg, size_t i, int64_t done, int64_t total) {
    (void)i, (void)done;
    ((outcome *)arg)->total = total;
}

static outcome made(const char *model, const char *isa, int threads, const char *sampler) {
    static const char *const stems[] = {"bass"};
    outcome o = {0};
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options opt = stemforge_options_default();
    opt.model = model, opt.isa = isa, opt.threads = threads;
    cr_assert_eq(stemforge_open(&g, &opt, &e), STEMFORGE_OK, "%s", e.text);
    stemforge_request r = stemforge_request_default();
    r.stems = stems, r.stem_count = 1, r.seconds = 0.4, r.seed = 3, r.sampler = sampler;
    const stemforge_events ev = {.arg = &o, .stem_done = keep, .progress = follow};
    cr_assert_eq(stemforge_generate(g, &r, &ev, &e), STEMFORGE_OK, "%s", e.text);
    stemforge_close(g);
    return o;
}

static bool same(const outcome *a, const outcome *b) {
    return memcmp(a->digest, b->digest, SHA256_LEN) == 0;
}

Test(sa_original, small_makes_stems_in_eight_steps_the_same_everywhere) {
    outcome own = made(SMALL, NULL, 2, NULL), named = made(SMALL, "scalar", 1, "pingpong");
    outcome euler = made(SMALL, NULL, 2, "euler"), second = made(SMALL, NULL, 3, "dpmpp-2m");
    cr_assert_eq(own.total, 8);
    cr_assert(same(&own, &named) && !same(&own, &euler) && !same(&euler, &second));
}

Test(sa_original, the_original_runs_as_its_own_program_does) {
    outcome own = made(ORIGINAL, NULL, 2, NULL), named = made(ORIGINAL, NULL, 1, "dpmpp-3m-sde");
    cr_assert_eq(own.total, 100);
    cr_assert(same(&own, &named));
}
