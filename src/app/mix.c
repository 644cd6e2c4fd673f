// mix.c - `stemforge mix FILE... --out FILE`: adds sound files up, peak 0.8, nothing clamped.
#include <stdio.h>
#include <string.h>

#include "app/args.h"
#include "app/commands.h"
#include "audio/file.h"
#include "audio/post.h"
#include "base/mem.h"
#include "base/os.h"

#define FILES_MAX 64

typedef struct {
    float *x; // [frames, POST_CHANNELS]
    int64_t frames;
} sum;

// The sum is as long as its longest part.
static status add_planes(sum *s, const float *planes, int64_t n, err *e) {
    if (n > s->frames) {
        float *x = mem_realloc(s->x, (size_t)n * POST_CHANNELS * sizeof *x);
        if (!x) return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)n);
        memset(x + s->frames * POST_CHANNELS, 0,
               (size_t)(n - s->frames) * POST_CHANNELS * sizeof *x);
        s->x = x;
        s->frames = n;
    }
    for (int c = 0; c < POST_CHANNELS; c++)
        for (int64_t i = 0; i < n; i++) s->x[i * POST_CHANNELS + c] += planes[c * n + i];
    return OK;
}

static status add_file(sum *s, const char *path, err *e) {
    const file_limits limits = file_limits_default();
    file_clip clip;
    float *planes = NULL;
    int64_t n;
    status rc = file_read(&clip, path, &limits, e);
    if (!rc) rc = file_clip_planes(&planes, &n, &clip, POST_RATE, POST_CHANNELS, e);
    if (!rc) rc = add_planes(s, planes, n, e);
    mem_free(planes);
    file_clip_deinit(&clip);
    return rc;
}

int mix_main(int argc, char **argv) {
    const char *out = NULL, *format = "wav", *files[FILES_MAX];
    const arg_option table[] = {
        {"out", ARG_STR, &out, 0, 0, "FILE", "the mix", NULL},
        {"format", ARG_STR, &format, 0, 0, "NAME", "wav wav24 wavf32 flac flac24 ogg (wav)", NULL},
    };
    const arg_command c = {"mix",
                           "FILE... --out FILE",
                           "adds sound files up to one of 44.1 kHz stereo with a peak of 0.8",
                           table,
                           ARRAY_LEN(table),
                           "  stemforge mix out/drums.wav out/bass.wav --out out/mix.wav\n",
                           1,
                           FILES_MAX};
    int n, code;
    if (args_parse(&c, argc, argv, files, &n, &code)) return code;
    if (!out) {
        fprintf(stderr, "stemforge mix: --out is missing; see stemforge mix --help\n");
        return EXIT_USAGE;
    }
    err e = {0};
    file_format f;
    sum s = {0};
    if (file_format_parse(&f, format, &e)) {
        fprintf(stderr, "stemforge mix: --format: %s\n", e.text);
        return EXIT_USAGE;
    }
    status rc = os_can_write(out, &e);
    if (rc) err_within(&e, rc, "--out");
    for (int i = 0; !rc && i < n; i++) rc = add_file(&s, files[i], &e);
    if (!rc) {
        post_normalise(s.x, s.frames * POST_CHANNELS, POST_PEAK);
        const file_tags tags = {.title = "mix", .software = "stemforge " STEMFORGE_VERSION};
        rc = file_write(out, f, s.x, s.frames, POST_CHANNELS, POST_RATE, &tags, &e);
    }
    if (rc)
        fprintf(stderr, "stemforge mix: %s\n", e.text);
    else
        printf("%s\n", out);
    mem_free(s.x);
    return rc ? 1 : 0;
}
