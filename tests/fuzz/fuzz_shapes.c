// fuzz_shapes.c - whole valid checkpoints of odd shapes, with weights to fit: what the
// configuration accepts must also run.
//
// The input's bytes choose the numbers of a config.json. The tensors that transformers would save
// for it are listed here, from its classes and not from ours, so a tensor that we miss or read in
// another shape is found too. Then all networks run once.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "model/encodec.h"
#include "model/musicgen.h"
#include "model/t5.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

typedef struct {
    const uint8_t *p;
    size_t n;
} chooser;

static int64_t pick(chooser *c, int64_t lo, int64_t hi) {
    if (!c->n) return lo;
    c->n--;
    return lo + *c->p++ % (hi - lo + 1);
}

static int64_t pick_of(chooser *c, const int64_t *list, size_t n) {
    return list[pick(c, 0, (int64_t)n - 1)];
}
#define PICK_OF(c, ...)                                                                            \
    pick_of((c), (const int64_t[]){__VA_ARGS__}, sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t))

typedef struct {
    bool melody;
    int64_t d, heads, ffn, layers, vocab, books, channels, bins, chroma_length;
    int64_t control_layers;
    int64_t t_d, t_kv, t_ff, t_heads, t_layers, t_vocab, buckets, distance;
    int64_t dim, codes, filters, kernel, last, res, res_layers, growth, compress, lstm, ratios;
    int64_t ratio[4];
    bool reflect;
} shape;

static void pick_codec(shape *s, chooser *c) {
    s->dim = pick(c, 1, 9);
    s->codes = s->vocab + PICK_OF(c, 0, 0, 1, 60);
    s->filters = pick(c, 1, 5);
    s->kernel = pick(c, 1, 8);
    s->last = pick(c, 1, 8);
    s->res = pick(c, 1, 5);
    s->res_layers = pick(c, 1, 3);
    s->growth = pick(c, 1, 3);
    s->compress = pick(c, 1, s->filters);
    s->lstm = pick(c, 1, 2);
    s->ratios = pick(c, 1, 3);
    for (int64_t i = 0; i < s->ratios; i++)
        s->ratio[i] = i ? pick(c, 1, 4) : PICK_OF(c, 1, 2, 3, 8, 31, 32, 33, 40, 64, 100);
    s->reflect = pick(c, 0, 1);
}

static shape pick_shape(chooser *c) {
    shape s = {.melody = pick(c, 0, 1)};
    s.heads = pick(c, 1, 4);
    s.d = s.heads * PICK_OF(c, 2, 4, 6, 10, 12, 16, 20, 32, 64);
    if (s.d < 4) s.d *= 2;
    s.ffn = pick(c, 1, 70);
    s.layers = pick(c, 1, 2);
    s.vocab = pick(c, 2, 40);
    s.channels = pick(c, 1, 2);
    s.books = s.channels * pick(c, 1, 4);
    s.bins = pick(c, 0, 3) ? PICK_OF(c, 1, 12, 13, 24, 256) : s.d;
    s.chroma_length = pick(c, 1, 40);
    s.control_layers = pick(c, 1, s.layers);
    s.t_d = pick(c, 0, 2) ? pick(c, 1, 40) : s.d;
    s.t_kv = pick(c, 1, 20);
    s.t_heads = pick(c, 1, 5);
    s.t_ff = pick(c, 1, 40);
    s.t_layers = pick(c, 1, 2);
    s.t_vocab = pick(c, 2, 50);
    s.buckets = PICK_OF(c, 4, 5, 6, 7, 8, 32, 33, 128, 256);
    s.distance = PICK_OF(c, 1, 2, 3, 8, 16, 31, 32, 33, 63, 64, 65, 128, 1000);
    pick_codec(&s, c);
    return s;
}

// --- the tensors

#define VALUES ((int64_t)1 << 19) // of the largest tensor; all share them
#define TENSORS_MAX 400

typedef struct {
    char name[96];
    tensor t;
} entry;

static float values[VALUES];
static entry list[TENSORS_MAX];
static size_t count;
static bool too_large;

static void put(int64_t a, int64_t b, int64_t k, const char *fmt, ...) PRINTF_LIKE(4, 5);
static void put(int64_t a, int64_t b, int64_t k, const char *fmt, ...) {
    if (count == TENSORS_MAX) abort();
    entry *x = &list[count++];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(x->name, sizeof x->name, fmt, ap);
    va_end(ap);
    x->t = (tensor){.type = DT_F32, .dims = b ? k ? 3 : 2 : 1, .shape = {a, b, k}, .data = values};
    too_large |= tensor_count(&x->t) > VALUES;
}

static void put_norm(int64_t d, const char *prefix, int64_t i, const char *name) {
    put(d, 0, 0, "%slayers.%lld.%s.weight", prefix, (long long)i, name);
    put(d, 0, 0, "%slayers.%lld.%s.bias", prefix, (long long)i, name);
}

static void put_decoder(const shape *s) {
    const char *in = "decoder.model.decoder.",
               *projs[] = {"q_proj", "k_proj", "v_proj", "out_proj"};
    for (int64_t k = 0; k < s->books; k++) {
        put(s->vocab + 1, s->d, 0, "%sembed_tokens.%lld.weight", in, (long long)k);
        put(s->vocab, s->d, 0, "decoder.lm_heads.%lld.weight", (long long)k);
    }
    for (int64_t i = 0; i < s->layers; i++) {
        for (int j = 0; j < 4; j++) {
            put(s->d, s->d, 0, "%slayers.%lld.self_attn.%s.weight", in, (long long)i, projs[j]);
            if (!s->melody)
                put(s->d, s->d, 0, "%slayers.%lld.encoder_attn.%s.weight", in, (long long)i,
                    projs[j]);
        }
        put_norm(s->d, in, i, "self_attn_layer_norm");
        if (!s->melody) put_norm(s->d, in, i, "encoder_attn_layer_norm");
        put_norm(s->d, in, i, "final_layer_norm");
        put(s->ffn, s->d, 0, "%slayers.%lld.fc1.weight", in, (long long)i);
        put(s->d, s->ffn, 0, "%slayers.%lld.fc2.weight", in, (long long)i);
    }
    put(s->d, 0, 0, "%slayer_norm.weight", in);
    put(s->d, 0, 0, "%slayer_norm.bias", in);
    if (s->t_d != s->d) {
        put(s->d, s->t_d, 0, "enc_to_dec_proj.weight");
        put(s->d, 0, 0, "enc_to_dec_proj.bias");
    }
    if (s->melody && s->bins != s->d) {
        put(s->d, s->bins, 0, "audio_enc_to_dec_proj.weight");
        put(s->d, 0, 0, "audio_enc_to_dec_proj.bias");
    }
}

static void put_text(const shape *s) {
    int64_t inner = s->t_heads * s->t_kv;
    const char *in = "text_encoder.encoder.";
    put(s->t_vocab, s->t_d, 0, "text_encoder.shared.weight");
    put(s->buckets, s->t_heads, 0, "%sblock.0.layer.0.SelfAttention.relative_attention_bias.weight",
        in);
    for (int64_t i = 0; i < s->t_layers; i++) {
        for (const char *p = "qkv"; *p; p++)
            put(inner, s->t_d, 0, "%sblock.%lld.layer.0.SelfAttention.%c.weight", in, (long long)i,
                *p);
        put(s->t_d, inner, 0, "%sblock.%lld.layer.0.SelfAttention.o.weight", in, (long long)i);
        put(s->t_d, 0, 0, "%sblock.%lld.layer.0.layer_norm.weight", in, (long long)i);
        put(s->t_ff, s->t_d, 0, "%sblock.%lld.layer.1.DenseReluDense.wi.weight", in, (long long)i);
        put(s->t_d, s->t_ff, 0, "%sblock.%lld.layer.1.DenseReluDense.wo.weight", in, (long long)i);
        put(s->t_d, 0, 0, "%sblock.%lld.layer.1.layer_norm.weight", in, (long long)i);
    }
    put(s->t_d, 0, 0, "%sfinal_layer_norm.weight", in);
}

// first: axis 0 of the weight, which has the lengths; out: of the bias.
static void put_conv(const char *part, int n, const char *name, int64_t first, int64_t second,
                     int64_t k, int64_t out) {
    const char *in = "audio_encoder.";
    put(first, second, k, "%s%s.layers.%d.%s.weight_v", in, part, n, name);
    put(first, 1, 1, "%s%s.layers.%d.%s.weight_g", in, part, n, name);
    put(out, 0, 0, "%s%s.layers.%d.%s.bias", in, part, n, name);
}

static int put_blocks(const shape *s, const char *part, int n, int64_t ch) {
    for (int64_t i = 0; i < s->res_layers; i++, n++) {
        int64_t hidden = ch / s->compress;
        put_conv(part, n, "block.1.conv", hidden, ch, s->res, hidden);
        put_conv(part, n, "block.3.conv", ch, hidden, 1, ch);
    }
    return n;
}

static void put_lstm(const shape *s, const char *part, int n, int64_t d) {
    const char *in = "audio_encoder.";
    for (int i = 0; i < (int)s->lstm; i++) {
        put(4 * d, d, 0, "%s%s.layers.%d.lstm.weight_ih_l%d", in, part, n, i);
        put(4 * d, d, 0, "%s%s.layers.%d.lstm.weight_hh_l%d", in, part, n, i);
        put(4 * d, 0, 0, "%s%s.layers.%d.lstm.bias_ih_l%d", in, part, n, i);
        put(4 * d, 0, 0, "%s%s.layers.%d.lstm.bias_hh_l%d", in, part, n, i);
    }
}

static void put_codec(const shape *s) {
    int64_t ch = s->filters;
    put_conv("encoder", 0, "conv", ch, 1, s->kernel, ch);
    int n = 1;
    for (int64_t i = s->ratios; i-- > 0; ch *= 2, n += 2) { // an ELU stands before the convolution
        n = put_blocks(s, "encoder", n, ch);
        put_conv("encoder", n + 1, "conv", 2 * ch, ch, 2 * s->ratio[i], 2 * ch);
    }
    put_lstm(s, "encoder", n, ch);
    put_conv("encoder", n + 2, "conv", s->dim, ch, s->last, s->dim);
    put_conv("decoder", 0, "conv", ch, s->dim, s->kernel, ch);
    put_lstm(s, "decoder", 1, ch);
    n = 2;
    for (int64_t i = 0; i < s->ratios; i++, ch /= 2) {
        put_conv("decoder", n + 1, "conv", ch, ch / 2, 2 * s->ratio[i], ch / 2);
        n = put_blocks(s, "decoder", n + 2, ch / 2);
    }
    put_conv("decoder", n + 1, "conv", 1, ch, s->last, 1);
    for (int64_t q = 0; q < s->books / s->channels; q++)
        put(s->codes, s->dim, 0, "audio_encoder.quantizer.layers.%lld.codebook.embed",
            (long long)q);
}

static const tensor *find(const void *file, const char *name) {
    (void)file;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, name) == 0) return &list[i].t;
    }
    return NULL;
}

static void fill_values(void) {
    uint32_t x = 1;
    for (int64_t i = 0; i < VALUES; i++) {
        x = x * 1664525u + 1013904223u;
        values[i] = (float)(int32_t)x * 0x1p-33f;
    }
}

// --- the configuration

static int put_json(const shape *s, char *to, size_t cap) {
    char ratios[64];
    int n = 0;
    for (int64_t i = 0; i < s->ratios; i++)
        n += snprintf(ratios + n, sizeof ratios - (size_t)n, "%s%d", i ? ", " : "",
                      (int)s->ratio[i]);
    return snprintf(
        to, cap,
        "{\"model_type\": \"%s\", \"num_chroma\": %d, \"chroma_length\": %d, "
        "\"stemforge\": {\"control_layers\": %d}, \"decoder\": "
        "{\"hidden_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
        "\"ffn_dim\": %d, \"vocab_size\": %d, \"num_codebooks\": %d, \"audio_channels\": %d, "
        "\"max_position_embeddings\": 64}, \"text_encoder\": {\"d_model\": %d, \"d_kv\": %d, "
        "\"d_ff\": %d, \"num_layers\": %d, \"num_heads\": %d, \"vocab_size\": %d, "
        "\"relative_attention_num_buckets\": %d, \"relative_attention_max_distance\": %d}, "
        "\"audio_encoder\": {\"use_causal_conv\": false, \"use_conv_shortcut\": false, "
        "\"hidden_size\": %d, \"codebook_size\": %d, \"num_filters\": %d, \"kernel_size\": %d, "
        "\"last_kernel_size\": %d, \"residual_kernel_size\": %d, \"num_residual_layers\": %d, "
        "\"dilation_growth_rate\": %d, \"compress\": %d, \"num_lstm_layers\": %d, "
        "\"upsampling_ratios\": [%s], \"pad_mode\": \"%s\"}}",
        s->melody ? "musicgen_melody" : "musicgen", (int)s->bins, (int)s->chroma_length,
        (int)s->control_layers, (int)s->d, (int)s->layers, (int)s->heads, (int)s->ffn,
        (int)s->vocab, (int)s->books, (int)s->channels, (int)s->t_d, (int)s->t_kv, (int)s->t_ff,
        (int)s->t_layers, (int)s->t_heads, (int)s->t_vocab, (int)s->buckets, (int)s->distance,
        (int)s->dim, (int)s->codes, (int)s->filters, (int)s->kernel, (int)s->last, (int)s->res,
        (int)s->res_layers, (int)s->growth, (int)s->compress, (int)s->lstm, ratios,
        s->reflect ? "reflect" : "constant");
}

// --- the networks

static void must(status rc, const err *e) {
    if (rc == OK) return;
    fprintf(stderr, "%s\n", e->text);
    abort();
}

static float *run_text(const t5 *m, const shape *s, compute *c, arena *own, int64_t n) {
    int32_t *ids = arena_alloc(own, (size_t)n * sizeof *ids);
    float *out = arena_f32(own, (size_t)n, (size_t)s->t_d);
    err e = {0};
    if (!ids || !out) abort();
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)(i % s->t_vocab);
    status rc = t5_encode(m, c, out, ids, n, own, &e);
    // Only a scale without room may refuse, and only texts that reach it (t5.h).
    if (rc && (s->distance > s->buckets / 4 || n <= s->buckets / 4)) must(rc, &e);
    return out;
}

static void run_decoder(const musicgen *m, const shape *s, compute *c, arena *own,
                        const float *states, int64_t n, dtype cache_type) {
    err e = {0};
    mg_cache *k = NULL;
    mg_scratch *scratch = NULL;
    int64_t steps = 4, prefix = s->melody ? s->chroma_length : 0;
    float *text = arena_f32(own, (size_t)n, (size_t)s->d);
    float *rows = arena_f32(own, (size_t)(prefix + 1), (size_t)s->d);
    float *logits = arena_f32(own, (size_t)s->books, (size_t)s->vocab);
    int32_t codes[MG_CODEBOOKS_MAX] = {0};
    if (!text || !rows || !logits) abort();
    mg_project_text(m, c, text, states, n);
    must(mg_cache_create(&k, m, prefix + steps, n, cache_type, &e), &e);
    must(mg_scratch_create(&scratch, m, c, 4, prefix + steps, &e), &e);
    if (s->melody)
        mg_project_chroma(m, c, rows, NULL, 0);
    else
        must(mg_cache_set_text(k, m, c, text, n, own, &e), &e);
    for (int64_t i = 0; i < prefix; i++) {
        const mg_row row = {.cache = k, .embed = rows + i * s->d};
        mg_forward(m, c, scratch, &row, 1, NULL, 0);
    }
    for (int64_t i = 0; i < steps; i++) {
        for (int64_t b = 0; b < s->books; b++) codes[b] = (int32_t)(i ? i % s->vocab : s->vocab);
        const mg_row row = {.cache = k, .codes = codes};
        mg_forward(m, c, scratch, &row, 1, logits, 1);
    }
    mg_scratch_free(scratch);
    mg_cache_free(k);
}

static void run_codec(const encodec *k, const shape *s, compute *c, arena *own, int64_t samples) {
    const encodec_config *cfg = encodec_get_config(k);
    err e = {0};
    int64_t frames = encodec_frame_count(k, samples), books = s->books / s->channels;
    float *x = arena_f32(own, 1, (size_t)samples);
    float *y = arena_f32(own, (size_t)s->channels, (size_t)(frames * cfg->hop));
    int32_t *codes = arena_alloc(own, (size_t)(s->books * frames) * sizeof *codes);
    if (!x || !y || !codes) abort();
    for (int64_t i = 0; i < samples; i++) x[i] = values[i];
    must(encodec_encode(k, c, x, samples, &(encodec_encoded){.codes = codes}, &e), &e);
    if (s->channels == 2) memcpy(codes + books * frames, codes, (size_t)(books * frames) * 4);
    float *const planes[] = {y, y + (s->channels - 1) * frames * cfg->hop};
    const encodec_codes in = {codes, frames, frames, (int)s->channels};
    must(encodec_decode(k, c, &in, planes, &e), &e);
}

static void run_all(const shape *s, chooser *choose, const json *j) {
    static const weights_type types[] = {WEIGHTS_AS_STORED, WEIGHTS_BF16, WEIGHTS_Q8, WEIGHTS_Q4};
    weights_type type = types[pick(choose, 0, 3)];
    arena own;
    arena_init(&own, 0);
    compute *c;
    err e = {0};
    weights w;
    musicgen *lm;
    t5 *text;
    encodec *codec;
    must(compute_open(&c, 1, NULL, &e), &e);
    weights_init(&w, (weights_source){.find = find}, &own, type);
    must(mg_open(&lm, &w, j, &own, &e), &e);
    if (type > WEIGHTS_BF16) w.type = WEIGHTS_BF16;
    must(t5_open(&text, &w, json_find(j, "text_encoder"), "text_encoder.", &own, &e), &e);
    must(encodec_open(&codec, &w, j, "audio_encoder.", s->books / s->channels,
                      ENCODEC_DECODER | ENCODEC_ENCODER, &own, &e),
         &e);
    must(weights_finish(&w, &e), &e);
    must(weights_check_values(w.kept, c, &e), &e);
    int64_t n = PICK_OF(choose, 1, 2, 5, 40, 70, 140);
    const float *states = run_text(text, s, c, &own, n);
    run_decoder(lm, s, c, &own, states, n, type > WEIGHTS_BF16 ? DT_I8 : DT_F32);
    run_codec(codec, s, c, &own, PICK_OF(choose, 1, 2, 7, 100, 500, 1500));
    compute_close(c);
    arena_deinit(&own);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    chooser choose = {p, n};
    char text[4096];
    log_setup(LOG_OFF, false);
    if (values[0] == 0) fill_values();
    const shape s = pick_shape(&choose);
    count = 0;
    too_large = false;
    put_decoder(&s);
    put_text(&s);
    put_codec(&s);
    if (too_large) return 0;
    json *j;
    err e = {0};
    int len = put_json(&s, text, sizeof text);
    must(json_parse(&j, (bytes){(const uint8_t *)text, (size_t)len}, sizeof text, &e), &e);
    run_all(&s, &choose, j);
    json_free(j);
    return 0;
}
