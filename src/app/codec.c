// codec.c - `stemforge encode` and `stemforge decode`: audio to codes and back, through a model's
// codec.
//
// A code file is a .safetensors file with one tensor "codes" [codebooks, frames] I32; rows of a
// stereo model interleave left and right.
#include <stdio.h>
#include <string.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/shipped.h"
#include "app/target.h"
#include "audio/file.h"
#include "engine/musicgen/family.h"
#include "engine/musicgen/sound.h"

typedef struct {
    const char *model, *in, *out, *format;
    int64_t threads;
    file_format sound; // of what is decoded
    FILE *report;
} options;

static int parse(options *o, arg_command c, int argc, char **argv, int *code) {
    const arg_option table[] = {
        {"model", ARG_STR, &o->model, 0, 0, "MODEL",
         "folder of a checkpoint, or ORG/NAME in the Hugging Face cache (the shipped one)", NULL},
        {"threads", ARG_INT, &o->threads, 0, 256, "N", "threads (all processors)", NULL},
        {"format", ARG_STR, &o->format, 0, 0, ARG_VALUE_FORMAT, "(what the name of AUDIO says)",
         NULL},
    };
    bool decodes = strcmp(c.name, "decode") == 0;
    c.options = table;
    c.count = ARRAY_LEN(table) - !decodes;
    c.positional_min = c.positional_max = 2;
    const char *paths[2];
    int n;
    if (args_parse(&c, argc, argv, paths, &n, code)) return 1;
    o->in = paths[0];
    o->out = paths[1];
    o->model = shipped_model(o->model ? o->model : SHIPPED_MODEL);
    o->report = target_report(o->out);
    err e;
    status rc = decodes ? target_format(&o->sound, o->out, o->format, &e)
                        : target_suffix(o->out, ".safetensors", &e);
    if (!rc) return 0;
    fprintf(stderr, "stemforge %s: %s; see stemforge %s --help\n", c.name, e.text, c.name);
    *code = EXIT_USAGE;
    return 1;
}

// The model that an option names, and the parts of it that know codes.
typedef struct {
    family *f;
    const pipeline *p;
    compute *c;
} codec;

static status encode(const options *o, const codec *k, err *e) {
    file_clip clip = {0};
    const file_limits limits = file_limits_default();
    float *planes = NULL;
    int64_t n = 0, books = sound_codebooks(k->p);
    status rc = file_read(&clip, o->in, &limits, e);
    if (!rc)
        rc = file_clip_planes(&planes, &n, &clip, k->f->info.sample_rate, k->f->info.channels, e);
    file_clip_deinit(&clip);
    if (rc) return rc;
    int64_t frames = sound_frames(k->p, n);
    int32_t *codes = mem_alloc((size_t)(books * frames) * sizeof *codes);
    rc = codes ? sound_encode(k->p, &(sound_codec){.c = k->c}, planes, n, codes, e)
               : err_set(e, ERR_OOM, "no memory for codes");
    if (!rc) rc = checkpoint_check(&k->f->files, e);
    if (!rc) rc = sound_write_codes(k->p, o->out, codes, frames, e);
    if (!rc)
        fprintf(o->report, "%s  %lld codebooks, %lld frames\n", o->out, (long long)books,
                (long long)frames);
    mem_free(planes);
    mem_free(codes);
    return rc;
}

static status decode(const options *o, const codec *k, err *e) {
    int64_t frames = 0, channels = k->f->info.channels;
    int32_t *codes = NULL;
    float *planes = NULL, *mixed = NULL;
    status rc = sound_read_codes(k->p, o->in, &codes, &frames, e);
    if (rc) return rc;
    int64_t n = sound_samples(k->p, frames);
    planes = mem_alloc((size_t)(channels * n) * sizeof *planes);
    mixed = mem_alloc((size_t)(channels * n) * sizeof *mixed);
    rc = planes && mixed ? sound_decode(k->p, k->c, codes, frames, planes, e)
                         : err_set(e, ERR_OOM, "no memory for the sound");
    for (int64_t i = 0; !rc && i < channels * n; i++)
        mixed[i] = planes[i % channels * n + i / channels];
    int rate = k->f->info.sample_rate;
    if (!rc) rc = checkpoint_check(&k->f->files, e);
    if (!rc) rc = file_write(o->out, o->sound, mixed, n, (int)channels, rate, NULL, e);
    if (!rc) fprintf(o->report, "%s  %.2f s\n", o->out, (double)n / rate);
    mem_free(codes);
    mem_free(planes);
    mem_free(mixed);
    return rc;
}

static int with_model(const options *o, const char *name,
                      status (*f)(const options *, const codec *, err *)) {
    err e = {0};
    codec k = {0};
    status rc = target_check(o->out, &o->in, 1, &e);
    if (!rc) rc = compute_open(&k.c, (int)o->threads, NULL, &e);
    const family_options files = {.model = o->model, .c = k.c};
    if (!rc) rc = family_open(&k.f, &files, &e);
    if (!rc) rc = musicgen_pipeline(&k.p, k.f, &e);
    if (!rc) rc = f(o, &k, &e);
    family_close(k.f);
    compute_close(k.c);
    if (rc) fprintf(stderr, "stemforge %s: %s\n", name, e.text);
    return rc ? 1 : 0;
}

int encode_main(int argc, char **argv) {
    options o = {0};
    const arg_command c = {
        .name = "encode",
        .synopsis = "[--model MODEL] AUDIO CODES.safetensors",
        .about = "turns audio into a model's codes: one tensor \"codes\" [codebooks, frames]",
        .examples = "  stemforge encode out/drums.wav drums.safetensors\n"
                    "  stemforge generate --stem bass --continue drums.safetensors --out next\n"};
    int code;
    return parse(&o, c, argc, argv, &code) ? code : with_model(&o, "encode", encode);
}

int decode_main(int argc, char **argv) {
    options o = {0};
    const arg_command c = {.name = "decode",
                           .synopsis = "[--model MODEL] CODES.safetensors AUDIO",
                           .about = "turns a model's codes into audio",
                           .examples = "  stemforge decode drums.safetensors drums.flac\n"};
    int code;
    return parse(&o, c, argc, argv, &code) ? code : with_model(&o, "decode", decode);
}
