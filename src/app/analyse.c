// analyse.c - `stemforge analyse FILE...`: what sound files hold, against what was asked for.
#include <math.h> // floor: exact
#include <stdio.h>

#include "app/args.h"
#include "app/commands.h"
#include "audio/analyse.h"
#include "audio/file.h"
#include "audio/loudness.h"
#include "audio/post.h"
#include "base/json.h"
#include "base/mem.h"
#include "request/chords.h"

#define FILES_MAX 256
#define BARS_MAX 4096
#define NEAR 0.08 // of the tempo asked for: how far around it the nearest repetition is looked for

typedef struct {
    const char *chords;
    double bpm; // 0: not given
    bool json;
    progression want; // when there are chords
} options;

typedef struct {
    post_levels levels;
    analyse_defects defects;
    analyse_tempo tempo; // the best between 60 and 200
    analyse_tempo near;  // the best near the tempo asked for
    size_t onsets;
    double lufs; // LOUDNESS_SILENCE: silent
    analyse_key key;
    double share;   // of the energy in the chords' tones
    double shifted; // its mean over the eleven wrong keys
    double seconds;
} report;

// Mean over the bars that sound of the share in the chord's own pitch classes; and of the same
// chords moved by 1 to 11 semitones, which is what chance scores.
static status chord_report(report *r, const options *o, const float *x, int64_t n, int rate,
                           err *e) {
    double bar = CHORDS_BEATS * 60 / o->bpm;
    size_t bars = MIN((size_t)((double)n / rate / bar + 0.5), (size_t)BARS_MAX), counted = 0;
    float *rows = mem_alloc((bars + 1) * 12 * sizeof *rows);
    if (!rows) return err_set(e, ERR_OOM, "no memory for %zu bars", bars);
    status rc = analyse_chroma(rows, bars, bar, x, n, rate, e);
    for (size_t b = 0; !rc && b < bars; b++) {
        unsigned mask = o->want.bars[b % o->want.count].mask;
        if (!mask || analyse_chord_share(rows + b * 12, 0xFFF) == 0) continue;
        counted++;
        for (unsigned by = 0; by < 12; by++) {
            double share =
                analyse_chord_share(rows + b * 12, (mask << by | mask >> (12 - by)) & 0xFFF);
            *(by ? &r->shifted : &r->share) += by ? share / 11 : share;
        }
    }
    if (counted) r->share /= (double)counted, r->shifted /= (double)counted;
    mem_free(rows);
    return rc;
}

// Loudness is measured of what a listener with two speakers hears.
static status measure_loudness(report *r, const file_clip *c, err *e) {
    r->lufs = LOUDNESS_SILENCE;
    if (c->channels <= 2) {
        r->lufs = loudness_of(c->x, c->frames, c->channels, c->rate);
        return OK;
    }
    float *planes = NULL;
    int64_t n;
    status rc = file_clip_planes(&planes, &n, c, c->rate, 2, e);
    float *x = rc ? NULL : mem_alloc((size_t)(2 * n) * sizeof *x);
    if (!rc && !x) rc = err_set(e, ERR_OOM, "no memory for %lld frames", (long long)n);
    for (int64_t i = 0; !rc && i < 2 * n; i++) x[i] = planes[i % 2 * n + i / 2];
    if (!rc) r->lufs = loudness_of(x, n, 2, c->rate);
    mem_free(x);
    mem_free(planes);
    return rc;
}

static status measure_key(report *r, const float *mono, int64_t n, int rate, err *e) {
    float row[12];
    status rc = analyse_chroma(row, 1, (double)n / rate, mono, n, rate, e);
    if (!rc) r->key = analyse_find_key(row);
    return rc;
}

static status measure(report *r, const options *o, const file_clip *c, err *e) {
    *r = (report){.seconds = (double)c->frames / c->rate};
    float *mono = mem_alloc((size_t)c->frames * sizeof *mono);
    if (!mono) return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)c->frames);
    analyse_mono(mono, c->x, c->frames, c->channels);
    r->levels = post_measure(c->x, c->frames * c->channels);
    r->defects = analyse_find_defects(mono, c->frames, c->rate);
    onset_curve curve;
    status rc = analyse_onset_curve(&curve, mono, c->frames, c->rate, e);
    if (!rc) {
        r->tempo = analyse_find_tempo(&curve, 60, 200);
        if (o->bpm > 0)
            r->near = analyse_find_tempo(&curve, o->bpm * (1 - NEAR), o->bpm * (1 + NEAR));
        r->onsets = analyse_find_onsets(NULL, 0, &curve);
        analyse_onset_curve_deinit(&curve);
        if (o->chords) rc = chord_report(r, o, mono, c->frames, c->rate, e);
    }
    if (!rc) rc = measure_loudness(r, c, e);
    if (!rc) rc = measure_key(r, mono, c->frames, c->rate, e);
    mem_free(mono);
    return rc;
}

static const char *const tonics[] = {"C",  "C#", "D",  "D#", "E",  "F",
                                     "F#", "G",  "G#", "A",  "A#", "B"};

// v to that many digits behind the point.
static double rounded(double v, int digits) {
    double scale = 1;
    for (int i = 0; i < digits; i++) scale *= 10;
    return floor(v * scale + 0.5) / scale;
}

static void print_text(const char *file, const report *r, const options *o) {
    printf("%s: %.3f s, peak %.3f, rms %.4f\n", file, r->seconds, (double)r->levels.peak,
           r->levels.rms);
    if (r->lufs > LOUDNESS_SILENCE)
        printf("  loudness %.1f LUFS\n", r->lufs);
    else
        printf("  loudness none: silent\n");
    if (r->key.tonic >= 0)
        printf("  key      %s %s, ahead of the next by %.2f\n", tonics[r->key.tonic],
               r->key.minor ? "minor" : "major", r->key.lead);
    printf("  tempo    %.2f bpm, strength %.2f, first beat at %.3f s, %zu onsets\n", r->tempo.bpm,
           r->tempo.strength, r->tempo.first, r->onsets);
    if (o->bpm > 0)
        printf("  asked    %g bpm: nearest %.2f (%+.2f %%), strength %.2f\n", o->bpm, r->near.bpm,
               r->near.bpm > 0 ? (r->near.bpm / o->bpm - 1) * 100 : 0, r->near.strength);
    if (o->chords)
        printf("  chords   %.1f %% of the energy in them, %.1f %% in wrong keys\n", r->share * 100,
               r->shifted * 100);
    printf("  defects  silent %.0f %%, longest %.1f s, at the end %.1f s; %lld flat tops, %lld "
           "clicks\n",
           r->defects.silent_share * 100, r->defects.silence_max_s, r->defects.silence_end_s,
           (long long)r->defects.clipped_runs, (long long)r->defects.clicks);
}

static bool set_tempo(json *to, const char *name, const analyse_tempo *t) {
    json *j = json_new_object();
    bool ok = json_set_num(j, "bpm", rounded(t->bpm, 2)) &&
              json_set_num(j, "strength", rounded(t->strength, 3)) &&
              json_set_num(j, "first", rounded(t->first, 3));
    return json_set(to, name, j) && ok;
}

// One line of JSON a file.
static status print_json(const char *file, const report *r, const options *o, err *e) {
    json *j = json_new_object();
    bool ok = json_set_str(j, "file", file) && json_set_num(j, "seconds", rounded(r->seconds, 3)) &&
              json_set_num(j, "peak", rounded((double)r->levels.peak, 4)) &&
              json_set_num(j, "rms", rounded(r->levels.rms, 5)) &&
              json_set_num(j, "mean", rounded(r->levels.mean, 6)) &&
              json_set_int(j, "onsets", (int64_t)r->onsets) && set_tempo(j, "tempo", &r->tempo) &&
              json_set_num(j, "silent_share", rounded(r->defects.silent_share, 3)) &&
              json_set_num(j, "silence_max_s", rounded(r->defects.silence_max_s, 1)) &&
              json_set_num(j, "silence_end_s", rounded(r->defects.silence_end_s, 1)) &&
              json_set_int(j, "clipped_runs", r->defects.clipped_runs) &&
              json_set_int(j, "clicks", r->defects.clicks);
    if (ok && r->lufs > LOUDNESS_SILENCE) ok = json_set_num(j, "lufs", rounded(r->lufs, 1));
    if (ok && r->key.tonic >= 0) {
        char name[16];
        snprintf(name, sizeof name, "%s %s", tonics[r->key.tonic],
                 r->key.minor ? "minor" : "major");
        ok = json_set_str(j, "key", name) && json_set_num(j, "key_lead", rounded(r->key.lead, 3));
    }
    if (ok && o->bpm > 0) ok = set_tempo(j, "near", &r->near);
    if (ok && o->chords)
        ok = json_set_num(j, "chord_share", rounded(r->share, 4)) &&
             json_set_num(j, "chord_share_shifted", rounded(r->shifted, 4));
    status rc = json_print(ok ? j : NULL, JSON_TIGHT, e);
    json_free(j);
    return rc;
}

static status analyse(const char *file, const options *o, err *e) {
    const file_limits limits = file_limits_default();
    file_clip clip;
    report r;
    status rc = file_read(&clip, file, &limits, e);
    if (!rc) rc = measure(&r, o, &clip, e);
    file_clip_deinit(&clip);
    if (rc) return rc;
    if (o->json) return print_json(file, &r, o, e);
    print_text(file, &r, o);
    return OK;
}

int analyse_main(int argc, char **argv) {
    static options o;
    const char *files[FILES_MAX];
    const arg_option table[] = {
        {"bpm", ARG_NUM, &o.bpm, 20, 400, "BPM", "the tempo that was asked for", NULL},
        {"chords", ARG_STR, &o.chords, 0, 0, "TEXT", "the chords that were, one a bar; needs --bpm",
         NULL},
        {"json", ARG_FLAG, &o.json, 0, 0, NULL, "one line of JSON a file", NULL},
    };
    const arg_command c = {
        "analyse",
        "FILE... [--bpm BPM] [--chords TEXT] [--json]",
        "measures loudness, key, tempo, chords, silence, flat tops and clicks of sound files",
        table,
        ARRAY_LEN(table),
        "  stemforge analyse out/bass.wav --bpm 120 --chords \"Am F C G\"\n"
        "\n"
        "peak and rms are of full scale 1. loudness is integrated LUFS (EBU R128). key is\n"
        "the best of 24; a lead under 0.05 is a guess. strength, up to 1, says how well the\n"
        "sound repeats at that tempo. chords: the share of energy in the chords asked for,\n"
        "and in the same chords moved to wrong keys, which is what chance gives. Flat tops\n"
        "are runs of three samples at the peak; a click is a jump where the sound is smooth.\n",
        1,
        FILES_MAX};
    int n, code;
    if (args_parse(&c, argc, argv, files, &n, &code)) return code;
    if (o.chords && o.bpm == 0) {
        fprintf(stderr, "stemforge analyse: --chords needs --bpm; see stemforge analyse --help\n");
        return EXIT_USAGE;
    }
    err e = {0};
    if (o.chords && chords_parse_text(&o.want, o.chords, o.bpm, &e)) {
        fprintf(stderr, "stemforge analyse: --chords: %s\n", e.text);
        return EXIT_USAGE;
    }
    status rc = OK;
    for (int i = 0; !rc && i < n; i++) rc = analyse(files[i], &o, &e);
    if (rc) fprintf(stderr, "stemforge analyse: %s\n", e.text);
    return rc ? 1 : 0;
}
