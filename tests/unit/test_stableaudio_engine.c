// test_stableaudio_engine.c - whole stems of Stable Audio: the same bytes everywhere, what is
// refused and told, folders that are wrong, no memory.
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/family.h"
#include "sa_folder.h"
#include "stemforge.h"

#define MODEL "tests/parity/sa-f32/model"

static stemforge_engine *open_as(const char *isa, int threads, stemforge_weights kind) {
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options o = stemforge_options_default();
    o.model = MODEL;
    o.isa = isa;
    o.threads = threads;
    o.weights = kind;
    cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_OK, "%s", e.text);
    return g;
}

static stemforge_engine *open_at(const char *isa, int threads) {
    return open_as(isa, threads, STEMFORGE_WEIGHTS_AS_STORED);
}

typedef struct {
    stemforge_engine *g;
    stemforge_request r;
    uint8_t digest[3][SHA256_LEN];
    int64_t frames;
    int64_t done, total;
    char told[500]; // fields of warnings
    stemforge_error e;
} outcome;

static stemforge_status keep(void *arg, size_t i, const stemforge_stem *s, stemforge_error *e) {
    outcome *o = arg;
    (void)e;
    o->frames = s->frames;
    bytes data = {(const uint8_t *)s->samples,
                  (size_t)(s->frames * s->channels) * sizeof *s->samples};
    return hash_sha256(o->digest[i], data, NULL);
}

static void follow(void *arg, size_t i, int64_t done, int64_t total) {
    outcome *o = arg;
    (void)i;
    o->done = done, o->total = total;
}

static void tell(void *arg, const stemforge_warning *w) {
    outcome *o = arg;
    size_t n = strlen(o->told);
    snprintf(o->told + n, sizeof o->told - n, "%s:%s ", w->code, w->field);
}

static const char *const three[] = {"drums", "bass", "piano"};

static outcome request(stemforge_engine *g, size_t stems) {
    outcome o = {.g = g, .r = stemforge_request_default()};
    o.r.stems = three;
    o.r.stem_count = stems;
    o.r.seconds = 0.5;
    o.r.steps = 3;
    o.r.seed = 8;
    return o;
}

static void *make(void *arg) {
    outcome *o = arg;
    const stemforge_events ev = {.arg = o, .stem_done = keep, .progress = follow, .warning = tell};
    *o->told = 0;
    (void)!stemforge_generate(o->g, &o->r, &ev, &o->e);
    return NULL;
}

static void made(outcome *o) {
    make(o);
    cr_assert_eq(o->e.code, STEMFORGE_OK, "%s", o->e.text);
}

static bool same(const outcome *a, const outcome *b, size_t stem) {
    return memcmp(a->digest[stem], b->digest[stem], SHA256_LEN) == 0;
}

Test(stableaudio_engine, the_same_bytes_on_every_machine_alone_and_in_company) {
    stemforge_engine *one = open_at("scalar", 1), *g = open_at(NULL, 3);
    outcome a = request(one, 1), b = request(g, 3), c = request(g, 3);
    made(&a);
    cr_assert_eq(a.frames, 22050);
    c.r.seed = 9;
    pthread_t other;
    cr_assert_eq(pthread_create(&other, NULL, make, &c), 0);
    made(&b);
    pthread_join(other, NULL);
    cr_assert_eq(c.e.code, STEMFORGE_OK, "%s", c.e.text);
    cr_assert(same(&a, &b, 0));
    cr_assert_not(same(&b, &c, 0), "another seed, another sound");
    cr_assert(memcmp(b.digest[0], b.digest[1], SHA256_LEN) != 0);
    stemforge_close(one);
    stemforge_close(g);
}

Test(stableaudio_engine, narrow_weights_make_the_same_bytes_on_every_machine) {
    static const char *const levels[] = {"avx2", "avx512", "neon"};
    uint8_t before[SHA256_LEN] = {0};
    for (int w = STEMFORGE_WEIGHTS_BF16; w <= (int)STEMFORGE_WEIGHTS_Q4; w++) {
        stemforge_engine *g = open_as("scalar", 1, (stemforge_weights)w);
        outcome want = request(g, 1);
        made(&want);
        stemforge_close(g);
        cr_assert(memcmp(before, want.digest[0], sizeof before) != 0, "each type has its own");
        memcpy(before, want.digest[0], sizeof before);
        for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
            stemforge_options o = stemforge_options_default();
            o.model = MODEL, o.isa = levels[i], o.threads = 3, o.weights = (stemforge_weights)w;
            if (stemforge_open(&g, &o, NULL)) continue; // this machine has no such level
            outcome got = request(g, 1);
            made(&got);
            cr_assert(same(&want, &got, 0), "%s, weights %d", levels[i], w);
            stemforge_close(g);
        }
    }
}

// What a request says must be heard: another value, another sound.
Test(stableaudio_engine, fields_steer_the_sound) {
    stemforge_engine *g = open_at(NULL, 2);
    outcome plain = request(g, 1);
    made(&plain);
    for (int i = 0; i < 7; i++) {
        outcome o = request(g, 1);
        if (i == 0) o.r.steps = 4;
        if (i == 1) o.r.negative_prompt = "dark";
        if (i == 2) o.r.guidance = 1;
        if (i == 3) o.r.temperature = 0;
        if (i == 4) o.r.sampler = "dpmpp-3m-sde";
        if (i == 5) o.r.sampler = "dpmpp-2m";
        if (i == 6) o.r.canvas = 0.6;
        made(&o);
        cr_assert_not(same(&plain, &o, 0), "field %d", i);
    }
    outcome blank = request(g, 1);
    blank.r.negative_prompt = "  "; // is none
    made(&blank);
    cr_assert(same(&plain, &blank, 0));
    outcome named = request(g, 1), still = request(g, 1), quiet = request(g, 1);
    named.r.sampler = "dpmpp-2m-sde"; // the model's own
    named.r.canvas = 1.04;
    made(&named);
    cr_assert(same(&plain, &named, 0));
    still.r.sampler = "dpmpp-2m";
    made(&still);
    quiet.r.temperature = 0;
    made(&quiet);
    cr_assert(same(&still, &quiet, 0), "no noise: the sampler without");
    stemforge_close(g);
}

static void refused(stemforge_engine *g, const outcome *asked, const char *where,
                    const char *text) {
    outcome o = *asked;
    make(&o);
    cr_assert_eq(o.e.code, STEMFORGE_ERR_ARG, "%s: %s", where, o.e.text);
    cr_assert_str_eq(o.e.where, where);
    cr_assert(strstr(o.e.text, text), "%s", o.e.text);
    (void)g;
}

Test(stableaudio_engine, what_it_cannot_do_is_refused_and_what_it_ignores_is_told) {
    stemforge_engine *g = open_at(NULL, 2);
    outcome o = request(g, 1);
    o.r.seconds = 1.5;
    refused(g, &o, "seconds",
            "at most the 1.04 s of this model's canvas unless past_canvas is set, found 1.5");
    o = request(g, 1), o.r.melody = "x.wav";
    refused(g, &o, "melody", "leave it out");
    o = request(g, 1), o.r.temperature = 0.5;
    refused(g, &o, "temperature", "found 0.5");
    o = request(g, 1), o.r.steps = 1;
    refused(g, &o, "steps", "found 1");
    o = request(g, 1), o.r.sampler = "pingpong";
    refused(g, &o, "sampler", "dpmpp-2m-sde, dpmpp-3m-sde, dpmpp-2m; found \"pingpong\"");
    o = request(g, 1), o.r.canvas = 2;
    refused(g, &o, "canvas", "at most the 1.04 s of this model's, found 2");
    o = request(g, 1), o.r.canvas = 0.4;
    refused(g, &o, "canvas", "at least the 0.5 s of a stem unless past_canvas is set, found 0.4");
    static const char *const chords[] = {"Am"};
    o = request(g, 1);
    o.r.top_k = 5, o.r.top_p = 0.5, o.r.chords = chords, o.r.chord_count = 1;
    o.r.guidance = 1, o.r.negative_prompt = "dark";
    made(&o);
    cr_assert_str_eq(o.told, "not_used:top_k not_used:top_p not_used:chords "
                             "not_used:negative_prompt text_cut:prompt ");
    cr_assert(o.done == o.total && o.total == 3);
    stemforge_close(g);
}

Test(stableaudio_engine, every_failed_allocation_of_a_stem_is_an_error) {
    stemforge_engine *g = open_at(NULL, 1);
    outcome want = request(g, 1), o = want;
    want.r.seconds = o.r.seconds = 0.1;
    want.r.steps = o.r.steps = 2;
    made(&want);
    for (int n = 0;; n++) {
        mem_fail_after(n);
        make(&o);
        mem_fail_after(-1);
        if (o.e.code == STEMFORGE_OK) break;
        cr_assert_eq(o.e.code, STEMFORGE_ERR_OOM, "allocation %d: %s", n, o.e.text);
        cr_assert_lt(n, 3000);
        o.e = (stemforge_error){0};
    }
    cr_assert(same(&want, &o, 0), "the engine goes on as if nothing had been");
    stemforge_close(g);
}

// --- folders that are wrong

static void write_text(const char *path, const char *text, size_t n) {
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(text, 1, n, f) == n && fclose(f) == 0, "%s", path);
}

static char *read_text(const char *path, size_t *n) {
    char *text = calloc(1, 1 << 16);
    FILE *f = fopen(path, "rb");
    cr_assert(f && text, "%s", path);
    *n = fread(text, 1, (1 << 16) - 1, f);
    fclose(f);
    return text;
}

// A copy of the model whose files are links, in a folder of its own.
static void copy_model(char folder[64]) {
    char from[400], to[400], root[300];
    snprintf(folder, 64, "/tmp/stemforge-sa-XXXXXX");
    cr_assert(mkdtemp(folder) && getcwd(root, sizeof root));
    for (size_t i = 0; i < ARRAY_LEN(sa_parts); i++) {
        snprintf(to, sizeof to, "%s/%s", folder, sa_parts[i]);
        cr_assert_eq(mkdir(to, 0700), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(sa_files); i++) {
        snprintf(from, sizeof from, "%s/%s/%s", root, MODEL, sa_files[i]);
        snprintf(to, sizeof to, "%s/%s", folder, sa_files[i]);
        cr_assert_eq(symlink(from, to), 0);
    }
}

static void remove_model(const char *folder) {
    char path[400];
    for (size_t i = 0; i < ARRAY_LEN(sa_files); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, sa_files[i]);
        unlink(path);
    }
    for (size_t i = 0; i < ARRAY_LEN(sa_parts); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, sa_parts[i]);
        rmdir(path);
    }
    rmdir(folder);
}

static status open_copy(const char *folder, err *e) {
    family *f;
    status rc = family_open(&f, &(family_options){.model = folder}, e);
    if (!rc) family_close(f);
    return rc;
}

// Writes the document with `from` replaced by `to` over the link.
static void edit(const char *folder, const char *file, const char *from, const char *to) {
    char path[400], text[1 << 16];
    size_t n;
    snprintf(path, sizeof path, "%s/%s", MODEL, file);
    char *was = read_text(path, &n), *at = strstr(was, from);
    cr_assert(at, "%s has %s", file, from);
    int len = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - was), was, to, at + strlen(from));
    snprintf(path, sizeof path, "%s/%s", folder, file);
    unlink(path);
    write_text(path, text, (size_t)len);
    free(was);
}

Test(stableaudio_engine, keys_that_mean_something_else_are_refused_by_name) {
    static const char *const cases[][4] = {
        {"model_index.json", "AutoencoderOobleck", "AutoencoderKL", "vae"},
        {"scheduler/scheduler_config.json", "\"exponential\"", "\"karras\"", "sigma_schedule"},
        {"scheduler/scheduler_config.json", "\"midpoint\"", "\"heun\"", "solver_type"},
        {"scheduler/scheduler_config.json", "\"solver_order\": 2", "\"solver_order\": 3",
         "solver_order"},
        {"scheduler/scheduler_config.json", "\"v_prediction\"", "\"epsilon\"", "prediction_type"},
        {"scheduler/scheduler_config.json", "\"sigma_min\": 0.3", "\"sigma_min\": 600",
         "sigma_min"},
        {"transformer/config.json", "StableAudioDiTModel", "DiTTransformer2DModel", "_class_name"},
        {"transformer/config.json", "\"num_key_value_attention_heads\": 2",
         "\"num_key_value_attention_heads\": 3", "cross_attention_dim"},
        {"transformer/config.json", "\"out_channels\": 4", "\"out_channels\": 5", "out_channels"},
        {"transformer/config.json", "\"in_channels\": 4", "\"in_channels\": 1e9", "in_channels"},
        {"transformer/config.json", "\"num_layers\": 2", "\"num_layers\": 3", "missing or wrong"},
        {"transformer/config.json", "130.5", "1e300", "sample_size"},
        {"vae/config.json", "\"audio_channels\": 2", "\"audio_channels\": 1", "audio_channels"},
        {"vae/config.json", "    8\n", "    65\n", "downsampling_ratios[2]"},
        {"vae/config.json", "\"decoder_channels\": 8", "\"decoder_channels\": 9",
         "missing or wrong"},
        {"projection_model/config.json", "\"max_value\": 512", "\"max_value\": 0", "max_value"},
        {"projection_model/config.json", "\"conditioning_dim\": 16", "\"conditioning_dim\": 17",
         "missing or wrong"},
        {"text_encoder/config.json", "\"is_gated_act\": false", "\"is_gated_act\": true",
         "is_gated_act"},
        {"tokenizer/tokenizer_config.json", "20", "0", "model_max_length"},
    };
    char folder[64];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        err e = {0};
        copy_model(folder);
        cr_assert_eq(open_copy(folder, &e), OK, "%s", e.text);
        edit(folder, cases[i][0], cases[i][1], cases[i][2]);
        status rc = open_copy(folder, &e);
        remove_model(folder);
        cr_assert_eq(rc, ERR_FORMAT, "%s: %s", cases[i][2], e.text);
        cr_assert(strstr(e.text, cases[i][3]), "%s: %s", cases[i][3], e.text);
    }
}

// Each byte of each document in turn: an error, or a model that opens.
Test(stableaudio_engine, a_document_with_any_byte_changed_is_an_error_or_a_model) {
    char folder[64], path[400];
    int refused_ones = 0, opened = 0;
    log_setup(LOG_OFF, false); // a file that is wrong in many ways says so at length
    copy_model(folder);
    for (size_t i = 0; i < ARRAY_LEN(sa_files); i++) {
        size_t n;
        if (!strstr(sa_files[i], "onfig.json") && i) continue;
        snprintf(path, sizeof path, "%s/%s", MODEL, sa_files[i]);
        char *text = read_text(path, &n);
        snprintf(path, sizeof path, "%s/%s", folder, sa_files[i]);
        unlink(path);
        for (size_t k = 0; k < n; k += 2) {
            char was = text[k];
            text[k] = "9 -\"}x"[k / 2 % 6];
            write_text(path, text, n);
            text[k] = was;
            err e = {0};
            status rc = open_copy(folder, &e);
            cr_assert(rc == OK || e.text[0], "%s, byte %zu", sa_files[i], k);
            if (rc)
                refused_ones++;
            else
                opened++;
        }
        write_text(path, text, n);
        free(text);
    }
    cr_assert(refused_ones > 100 && opened > 100, "%d refused, %d opened", refused_ones, opened);
    remove_model(folder);
}
