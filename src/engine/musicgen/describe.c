// describe.c - see describe.h.
#include "engine/musicgen/describe.h"

#include "engine/musicgen/model.h"

#define TEXT_ROWS 32 // of a description, for the memory of a stem

static double mb(size_t n) {
    return (double)n / (1024 * 1024);
}

static void add_parts(buf *out, const pipeline *p) {
    const mg_config *cfg = mg_get_config(p->lm);
    const t5_config *text = t5_get_config(p->text);
    buf_printf(out, "text       T5: %lld layers, width %lld, %d tokens\n", (long long)text->layers,
               (long long)text->d_model, tok_vocab_size(p->tokenizer));
    buf_printf(out, "decoder    %lld layers, width %lld, %lld heads, %lld codebooks of %lld\n",
               (long long)cfg->layers, (long long)cfg->d, (long long)cfg->heads,
               (long long)cfg->codebooks, (long long)cfg->vocab);
    buf_printf(out, "codec      EnCodec: %lld Hz, %lld channel%s, %g frames/s\n",
               (long long)encodec_get_config(p->codec)->sample_rate, (long long)cfg->channels,
               cfg->channels == 1 ? "" : "s", p->frame_rate);
}

static void add_limits(buf *out, const pipeline *p) {
    const mg_config *cfg = mg_get_config(p->lm);
    int64_t len = p->window + (cfg->melody ? cfg->chroma_length + TEXT_ROWS : 0) + cfg->codebooks;
    buf_printf(out, "window     %.1f s; longer pieces go on every %.1f s\n",
               (double)p->window / p->frame_rate, (double)p->stride / p->frame_rate);
    buf_printf(out, "defaults   guidance %g, top-k %d\n", p->guidance, p->top_k);
    for (int i = 0; i < STEMFORGE_STEMS_MAX; i++)
        if (p->temperature[i] != 1)
            buf_printf(out, "           %s: temperature times %g\n", stem_types[i].name,
                       p->temperature[i]);
    for (int i = 0; i < STEMFORGE_STEMS_MAX; i++)
        if (p->fine_less[i] > 0)
            buf_printf(out, "           %s: %g of the guidance in fine codebooks\n",
                       stem_types[i].name, 1 - p->fine_less[i]);
    buf_printf(out, "a stem     %.1f MB of cache for a full window in f32, half of it in bf16\n",
               2 * mb(mg_cache_bytes(cfg, len, 0, DT_F32)));
}

static bool add_members(json *j, const family *f, const pipeline *p) {
    const mg_config *cfg = mg_get_config(p->lm);
    return json_set_str(j, "name", f->files.name) && json_set_str(j, "path", f->files.path) &&
           json_set_str(j, "family", f->info.family) && json_set_bool(j, "grid", p->has_grid) &&
           json_set_int(j, "parameters", p->values) && json_set_int(j, "bytes", (int64_t)p->size) &&
           json_set_int(j, "layers", cfg->layers) && json_set_int(j, "width", cfg->d) &&
           json_set_int(j, "codebooks", cfg->codebooks) &&
           json_set_int(j, "channels", cfg->channels) &&
           json_set_num(j, "frame_rate", p->frame_rate) &&
           json_set_int(j, "sample_rate", f->info.sample_rate) &&
           json_set_int(j, "window_frames", p->window) &&
           json_set_int(j, "stride_frames", p->stride) && json_set_int(j, "top_k", p->top_k) &&
           json_set_num(j, "guidance", p->guidance);
}

bool musicgen_describe(const family *f, buf *text, json *members) {
    const pipeline *p = &((const musicgen_family *)f)->p;
    buf_printf(text, "model      %s\nfolder     %s\n", f->files.name, f->files.path);
    buf_printf(text, "family     %s%s\n", f->info.family,
               p->has_grid ? " with a grid control track" : "");
    buf_printf(text, "parameters %.1f M, %.1f MB in memory\n", (double)p->values / 1e6,
               mb(p->size));
    checkpoint_describe_packed(&f->files, text);
    add_parts(text, p);
    add_limits(text, p);
    return add_members(members, f, p);
}
