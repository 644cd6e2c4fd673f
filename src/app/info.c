// info.c - `stemforge info MODEL`: what a checkpoint is, how large, and the memory it will need.
#include <stdio.h>

#include "app/args.h"
#include "app/commands.h"
#include "base/json.h"
#include "engine/checkpoint.h"

static double mb(size_t n) {
    return (double)n / (1024 * 1024);
}

static void print_text(const checkpoint *m) {
    const mg_config *c = mg_get_config(m->lm);
    const t5_config *t = t5_get_config(m->text);
    const encodec_config *a = encodec_get_config(m->codec);
    int64_t len = m->window + (c->melody ? c->chroma_length + 32 : 0) + c->codebooks;
    printf("model      %s\n", m->name);
    printf("folder     %s\n", m->path);
    printf("family     %s%s\n", c->melody ? "musicgen_melody" : "musicgen",
           m->has_grid ? " with a grid control track" : "");
    printf("parameters %.1f M, %.1f MB in memory\n", (double)m->values / 1e6, mb(m->size));
    printf("text       T5: %lld layers, width %lld, %d tokens\n", (long long)t->layers,
           (long long)t->d_model, tok_vocab_size(m->words));
    printf("decoder    %lld layers, width %lld, %lld heads, %lld codebooks of %lld\n",
           (long long)c->layers, (long long)c->d, (long long)c->heads, (long long)c->codebooks,
           (long long)c->vocab);
    printf("codec      EnCodec: %lld Hz, %lld channel%s, %g frames/s\n", (long long)a->sample_rate,
           (long long)c->channels, c->channels == 1 ? "" : "s", m->frame_rate);
    printf("window     %.1f s; longer pieces go on every %.1f s\n",
           (double)m->window / m->frame_rate, (double)m->stride / m->frame_rate);
    printf("defaults   guidance %g, top-k %d\n", m->guidance, m->top_k);
    printf("a stem     %.1f MB of cache for a full window in f32, half of it in bf16\n",
           2 * mb(mg_cache_bytes(c, len, 0, DT_F32)));
}

static status print_json(const checkpoint *m, err *e) {
    const mg_config *c = mg_get_config(m->lm);
    json *j = json_new_object();
    bool ok = json_set_str(j, "name", m->name) && json_set_str(j, "path", m->path) &&
              json_set_str(j, "family", c->melody ? "musicgen_melody" : "musicgen") &&
              json_set_bool(j, "grid", m->has_grid) && json_set_int(j, "parameters", m->values) &&
              json_set_int(j, "bytes", (int64_t)m->size) && json_set_int(j, "layers", c->layers) &&
              json_set_int(j, "width", c->d) && json_set_int(j, "codebooks", c->codebooks) &&
              json_set_int(j, "channels", c->channels) &&
              json_set_num(j, "frame_rate", m->frame_rate) &&
              json_set_int(j, "sample_rate", encodec_get_config(m->codec)->sample_rate) &&
              json_set_int(j, "window_frames", m->window) &&
              json_set_int(j, "stride_frames", m->stride) && json_set_int(j, "top_k", m->top_k) &&
              json_set_num(j, "guidance", m->guidance);
    status rc = json_print(ok ? j : NULL, JSON_PRETTY, e);
    json_free(j);
    return rc;
}

int info_main(int argc, char **argv) {
    bool as_json = false;
    const arg_option table[] = {
        {"json", ARG_FLAG, &as_json, 0, 0, NULL, "in JSON", NULL},
    };
    const arg_command c = {"info",
                           "MODEL [--json]",
                           "says what a checkpoint is and what it needs",
                           table,
                           ARRAY_LEN(table),
                           "  stemforge info models/stemforge-mini\n",
                           1,
                           1};
    const char *model;
    int n, code;
    if (args_parse(&c, argc, argv, &model, &n, &code)) return code;
    err e = {0};
    checkpoint m;
    status rc =
        checkpoint_open(&m, &(checkpoint_options){.model = model, .need_encoder = true}, &e);
    if (!rc && as_json)
        rc = print_json(&m, &e);
    else if (!rc)
        print_text(&m);
    checkpoint_close(&m);
    if (rc) fprintf(stderr, "stemforge info: %s\n", e.text);
    return rc ? 1 : 0;
}
