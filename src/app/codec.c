// codec.c - `stemforge encode` and `stemforge decode`: audio to codes and back, through a model's
// codec.
//
// A code file is a .safetensors file with one tensor "codes" [codebooks, frames] I32; rows of a
// stereo model interleave left and right.
#include <stdio.h>

#include "app/args.h"
#include "app/commands.h"
#include "audio/file.h"
#include "engine/checkpoint.h"

typedef struct {
    const char *model, *in, *out, *format;
    int64_t threads;
} options;

static int parse(options *o, const char *name, const char *about, const char *synopsis, int argc,
                 char **argv, int *code) {
    const arg_option table[] = {
        {"model", ARG_STR, &o->model, 0, 0, "MODEL",
         "folder of a checkpoint, or ORG/NAME in the Hugging Face cache", NULL},
        {"format", ARG_STR, &o->format, 0, 0, "NAME",
         "of decoded audio: wav wav24 wavf32 flac flac24 ogg (wav)", NULL},
        {"threads", ARG_INT, &o->threads, 0, 256, "N", "threads (all processors)", NULL},
    };
    const arg_command c = {name, synopsis, about, table, ARRAY_LEN(table), NULL, 2, 2};
    const char *paths[2];
    int n;
    if (args_parse(&c, argc, argv, paths, &n, code)) return 1;
    o->in = paths[0];
    o->out = paths[1];
    if (o->model) return 0;
    fprintf(stderr, "stemforge %s: --model is missing; see stemforge %s --help\n", name, name);
    *code = EXIT_USAGE;
    return 1;
}

static status encode(const options *o, const checkpoint *m, compute *c, err *e) {
    const mg_config *lm = mg_get_config(m->lm);
    file_clip clip = {0};
    const file_limits limits = file_limits_default();
    float *planes = NULL;
    int32_t *codes = NULL;
    int64_t n = 0;
    status rc = file_read(&clip, o->in, &limits, e);
    int rate = (int)encodec_get_config(m->codec)->sample_rate;
    if (!rc) rc = file_clip_planes(&planes, &n, &clip, rate, (int)lm->channels, e);
    if (rc) goto done;
    int64_t frames = encodec_frame_count(m->codec, n);
    codes = mem_alloc((size_t)(lm->codebooks * frames) * sizeof *codes);
    rc = codes ? checkpoint_encode(m, c, planes, n, codes, e)
               : err_set(e, ERR_OOM, "no memory for codes");
    const st_entry entry = {
        .name = "codes",
        .t = {.type = DT_I32, .dims = 2, .shape = {lm->codebooks, frames}, .data = codes}};
    if (!rc) rc = st_write(o->out, &entry, 1, NULL, e);
    if (!rc)
        printf("%s  %lld codebooks, %lld frames\n", o->out, (long long)lm->codebooks,
               (long long)frames);
done:
    file_clip_deinit(&clip);
    mem_free(planes);
    mem_free(codes);
    return rc;
}

static status decode(const options *o, const checkpoint *m, compute *c, err *e) {
    const encodec_config *a = encodec_get_config(m->codec);
    int64_t frames = 0, channels = mg_get_config(m->lm)->channels;
    int32_t *codes = NULL;
    float *planes = NULL, *mixed = NULL;
    file_format format;
    status rc = file_format_parse(&format, o->format, e);
    if (!rc) rc = checkpoint_read_codes(m, o->in, &codes, &frames, e);
    if (rc) return rc;
    int64_t n = frames * a->hop;
    planes = mem_alloc((size_t)(channels * n) * sizeof *planes);
    mixed = mem_alloc((size_t)(channels * n) * sizeof *mixed);
    if (!planes || !mixed) {
        rc = err_set(e, ERR_OOM, "no memory for the sound");
        goto done;
    }
    float *const plane[2] = {planes, planes + (channels - 1) * n};
    const encodec_codes in = {
        .codes = codes, .ld = frames, .frames = frames, .channels = (int)channels};
    rc = encodec_decode(m->codec, c, &in, plane, e);
    for (int64_t i = 0; !rc && i < channels * n; i++)
        mixed[i] = planes[i % channels * n + i / channels];
    if (!rc) rc = file_write(o->out, format, mixed, n, (int)channels, (int)a->sample_rate, NULL, e);
    if (!rc) printf("%s  %.2f s\n", o->out, (double)n / (double)a->sample_rate);
done:
    mem_free(codes);
    mem_free(planes);
    mem_free(mixed);
    return rc;
}

static int with_model(const options *o, const char *name,
                      status (*f)(const options *, const checkpoint *, compute *, err *)) {
    err e = {0};
    checkpoint m = {0};
    compute *c = NULL;
    status rc = os_can_write(o->out, &e);
    if (!rc) rc = compute_open(&c, (int)o->threads, NULL, &e);
    if (!rc)
        rc =
            checkpoint_open(&m, &(checkpoint_options){.model = o->model, .need_encoder = true}, &e);
    if (!rc) rc = f(o, &m, c, &e);
    checkpoint_close(&m);
    compute_close(c);
    if (rc) fprintf(stderr, "stemforge %s: %s\n", name, e.text);
    return rc ? 1 : 0;
}

int encode_main(int argc, char **argv) {
    options o = {.format = "wav"};
    int code;
    if (parse(&o, "encode", "turns audio into a model's codes",
              "--model MODEL AUDIO CODES.safetensors", argc, argv, &code)) {
        return code;
    }
    return with_model(&o, "encode", encode);
}

int decode_main(int argc, char **argv) {
    options o = {.format = "wav"};
    int code;
    if (parse(&o, "decode", "turns a model's codes into audio",
              "--model MODEL CODES.safetensors AUDIO", argc, argv, &code)) {
        return code;
    }
    return with_model(&o, "decode", decode);
}
