// mix.c - `stemforge mix FILE... --out FILE`: adds sound files up, balanced by loudness.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/target.h"
#include "audio/file.h"
#include "audio/mix.h"
#include "audio/post.h"
#include "base/mem.h"
#include "base/os.h"
#include "request/stems.h"

#define FILES_MAX 64
#define GAIN_MAX 60.0 // dB

typedef struct {
    arg_list gain, pan, mute;
    const char *out, *format, *balance;
    double loudness; // 0: not given
} options;

// "out/drums.wav" is called drums.
static size_t track_name(const char *path, const char **name) {
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    const char *dot = strrchr(*name, '.');
    return dot && dot > *name ? (size_t)(dot - *name) : strlen(*name);
}

static bool is_named(const char *path, const char *name, size_t n) {
    const char *own;
    return track_name(path, &own) == n && memcmp(own, name, n) == 0;
}

// Reads the value of path's track out of a list of NAME=VALUE; *v stays when the list has none.
static status value_of(double *v, const arg_list *l, const char *path, double lo, double hi,
                       err *e) {
    for (size_t i = 0; i < l->n; i++) {
        const char *equals = strchr(l->item[i], '=');
        char *end = NULL;
        double x = equals ? strtod(equals + 1, &end) : 0;
        if (!equals || end == equals + 1 || *end || !(x >= lo && x <= hi))
            return err_set(e, ERR_ARG, "expected NAME=NUMBER with a number from %g to %g, found %s",
                           lo, hi, l->item[i]);
        if (is_named(path, l->item[i], (size_t)(equals - l->item[i]))) *v = x;
    }
    return OK;
}

// Every name in the list must be one of the files'.
static status check_names(const arg_list *l, const char *flag, const char **files, int n, err *e) {
    for (size_t i = 0; i < l->n; i++) {
        size_t len = strcspn(l->item[i], "=");
        int k = 0;
        while (k < n && !is_named(files[k], l->item[i], len)) k++;
        if (k < n) continue;
        return err_set(
            e, ERR_ARG,
            "--%s: no file is called %.*s; a track has its file's name without the suffix", flag,
            (int)len, l->item[i]);
    }
    return OK;
}

static bool is_muted(const options *o, const char *path) {
    for (size_t i = 0; i < o->mute.n; i++)
        if (is_named(path, o->mute.item[i], strlen(o->mute.item[i]))) return true;
    return false;
}

// drums.wav is balanced as drums are.
static double balanced_lufs(const char *path) {
    const char *name;
    size_t n = track_name(path, &name);
    int type = stems_find_word(name, n);
    return type < 0 ? MIX_TRACK_LUFS : stem_types[type].lufs;
}

static status add_file(mix *m, const char *path, const options *o, err *e) {
    mix_track t = {.lufs = strcmp(o->balance, "loudness") == 0 ? balanced_lufs(path) : 0};
    status rc = value_of(&t.gain_db, &o->gain, path, -GAIN_MAX, GAIN_MAX, e);
    if (rc) return err_within(e, rc, "--gain");
    rc = value_of(&t.pan, &o->pan, path, -1, 1, e);
    if (rc) return err_within(e, rc, "--pan");
    if (is_muted(o, path)) return OK;
    const file_limits limits = file_limits_default();
    file_clip clip;
    float *planes = NULL;
    int64_t n;
    rc = file_read(&clip, path, &limits, e);
    if (!rc) rc = file_clip_planes(&planes, &n, &clip, POST_RATE, POST_CHANNELS, e);
    if (!rc) rc = mix_add(m, planes, n, &t, e);
    mem_free(planes);
    file_clip_deinit(&clip);
    return rc;
}

static status set_level(mix *m, const options *o, err *e) {
    if (o->loudness == 0) {
        mix_set_peak(m, POST_PEAK);
        return OK;
    }
    double got = 0;
    status rc = mix_set_loudness(m, o->loudness, &got, e);
    if (!rc && got < o->loudness - 0.1)
        fprintf(stderr,
                "stemforge mix: --loudness %g would pass full scale: the mix has %.1f LUFS\n",
                o->loudness, got);
    return rc;
}

static status check_options(const options *o, const char **files, int n, err *e) {
    status rc = check_names(&o->gain, "gain", files, n, e);
    if (!rc) rc = check_names(&o->pan, "pan", files, n, e);
    if (!rc) rc = check_names(&o->mute, "mute", files, n, e);
    if (rc || !strcmp(o->balance, "loudness") || !strcmp(o->balance, "none")) return rc;
    return err_set(e, ERR_ARG, "--balance: expected loudness or none, found %.40s", o->balance);
}

static status run(const options *o, const char **files, int n, err *e) {
    file_format f;
    mix m;
    mix_init(&m, POST_RATE);
    status rc = target_format(&f, o->out, o->format, e);
    if (!rc) rc = check_options(o, files, n, e);
    if (!rc) {
        rc = target_check(o->out, files, (size_t)n, e);
        if (rc) err_within(e, rc, "--out");
    }
    for (int i = 0; !rc && i < n; i++) rc = add_file(&m, files[i], o, e);
    if (!rc && !m.frames) rc = err_set(e, ERR_ARG, "every file is muted: nothing is left to mix");
    if (!rc) rc = set_level(&m, o, e);
    if (!rc) {
        const file_tags tags = {.title = "mix", .software = "stemforge " STEMFORGE_VERSION};
        rc = file_write(o->out, f, m.x, m.frames, POST_CHANNELS, POST_RATE, &tags, e);
    }
    mix_deinit(&m);
    return rc;
}

int mix_main(int argc, char **argv) {
    options o = {.balance = "loudness"};
    const char *files[FILES_MAX];
    const arg_option table[] = {
        {"out", ARG_STR, &o.out, 0, 0, "FILE", "the mix: .wav, .flac or .ogg", NULL},
        {"format", ARG_STR, &o.format, 0, 0, ARG_VALUE_FORMAT, "(what the name of FILE says)",
         NULL},
        {"balance", ARG_STR, &o.balance, 0, 0, "HOW:loudness|none",
         "tracks get the loudness of their stem in a mix, or stay as they are (loudness)", NULL},
        {"gain", ARG_LIST, &o.gain, 0, 0, "NAME=DB", "louder or softer: drums=2,bass=-3", NULL},
        {"pan", ARG_LIST, &o.pan, 0, 0, "NAME=X", "-1 left to 1 right: guitar=-0.4", NULL},
        {"mute", ARG_LIST, &o.mute, 0, 0, "NAME", "leaves a file out", NULL},
        {"loudness", ARG_NUM, &o.loudness, -50, -5, "LUFS",
         "of the mix, as far as full scale allows (a peak of 0.8 instead)", NULL},
    };
    const arg_command c = {
        "mix",
        "FILE... --out FILE",
        "adds sound files up to one of 44.1 kHz stereo; a track has its file's name",
        table,
        ARRAY_LEN(table),
        "  stemforge mix out/drums.wav out/bass.wav --out out/mix.flac\n"
        "  stemforge mix out/*.wav --gain drums=2 --pan guitar=-0.4 --loudness -14 --out mix.wav\n",
        1,
        FILES_MAX};
    int n, code;
    if (args_parse(&c, argc, argv, files, &n, &code)) return code;
    if (!o.out) {
        fprintf(stderr, "stemforge mix: --out is missing; see stemforge mix --help\n");
        return EXIT_USAGE;
    }
    err e = {0};
    FILE *report = target_report(o.out);
    status rc = run(&o, files, n, &e);
    if (rc)
        fprintf(stderr, "stemforge mix: %s\n", e.text);
    else
        fprintf(report, "%s\n", o.out);
    args_list_deinit(&o.gain);
    args_list_deinit(&o.pan);
    args_list_deinit(&o.mute);
    return rc == ERR_ARG ? EXIT_USAGE : rc ? 1 : 0;
}
