// describe.c - see describe.h.
#include "engine/stableaudio/describe.h"

#include "engine/stableaudio/plan.h"

static double mb(size_t n) {
    return (double)n / (1024 * 1024);
}

static void add_parts(buf *out, const sa_model *m) {
    const dit_config *net = dit_get_config(m->net);
    const t5_config *text = t5_get_config(m->text);
    const oobleck_config *codec = oobleck_get_config(m->codec);
    buf_printf(out, "text       T5: %lld layers, width %lld, reads %lld tokens\n",
               (long long)text->layers, (long long)text->d_model, (long long)m->tokens);
    buf_printf(out, "network    %lld layers, width %lld, %lld heads, %lld for the text\n",
               (long long)net->layers, (long long)net->d, (long long)net->heads,
               (long long)net->kv_heads);
    buf_printf(out, "codec      Oobleck: %lld Hz, %lld channels, %.2f frames/s of %lld values\n",
               (long long)codec->sample_rate, (long long)codec->channels,
               (double)codec->sample_rate / (double)codec->hop, (long long)codec->latent);
}

static void add_limits(buf *out, const sa_model *m) {
    buf_printf(out, "canvas     %.2f s; longer stems are refused%s\n", sa_model_seconds(m),
               m->loops ? "; as long as a loop, rounded up to seconds" : "");
    const sa_schedule *s = &m->schedule;
    buf_printf(out, "defaults   guidance %g, %lld steps of %s", s->guidance, (long long)s->steps,
               sa_sampler_name(s->sampler));
    if (s->flow)
        buf_add_str(out, ", rectified flow\n");
    else
        buf_printf(out, " from noise %g to %g\n", s->sigma_max, s->sigma_min);
    buf_printf(out, "a stem     %.1f MB while it is made, %.1f MB more to decode it\n",
               mb(denoise_bytes(m, dit_get_config(m->net)->frames, true)),
               mb(oobleck_room_bytes(m->codec)));
}

static bool add_members(json *j, const family *f, const sa_model *m) {
    const dit_config *net = dit_get_config(m->net);
    return json_set_str(j, "name", f->files.name) && json_set_str(j, "path", f->files.path) &&
           json_set_str(j, "family", f->info.family) && json_set_int(j, "parameters", m->values) &&
           json_set_int(j, "bytes", (int64_t)m->size) && json_set_int(j, "layers", net->layers) &&
           json_set_int(j, "width", net->d) && json_set_int(j, "channels", f->info.channels) &&
           json_set_num(j, "frame_rate", f->info.frame_rate) &&
           json_set_int(j, "sample_rate", f->info.sample_rate) &&
           json_set_int(j, "canvas_frames", net->frames) &&
           json_set_num(j, "canvas_seconds", sa_model_seconds(m)) &&
           json_set_int(j, "text_tokens", m->tokens);
}

bool stableaudio_describe(const family *f, buf *text, json *members) {
    const sa_model *m = &((const stableaudio_family *)f)->m;
    buf_printf(text, "model      %s\nfolder     %s\n", f->files.name, f->files.path);
    buf_printf(text, "family     %s\n", f->info.family);
    buf_printf(text, "parameters %.1f M, %.1f MB in memory\n", (double)m->values / 1e6,
               mb(m->size));
    checkpoint_describe_packed(&f->files, text);
    add_parts(text, m);
    add_limits(text, m);
    buf_add_str(text, "check      against diffusers, by whoever has the weights: make parity "
                      "MODEL=FOLDER (docs/MODELS.md)\n");
    return add_members(members, f, m);
}
