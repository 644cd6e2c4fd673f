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
#include "engine/judge.h"
#include "request/chords.h"
#include "request/stems.h"

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
    judged heard;
    double strength;    // how well the curve repeats at the tempo heard
    analyse_tempo near; // the best near the tempo asked for
    size_t onsets;
    double lufs;    // LOUDNESS_SILENCE: silent
    double purity;  // share of the energy in the tones of the chords asked for
    double shifted; // its mean over the eleven wrong keys
    double seconds;
} report;

// Mean over the bars that sound of the share in the chord's own pitch classes; and of the same
// chords moved by 1 to 11 semitones, which is what chance scores. Overtones and noise lie outside a
// chord, so this says how pure the tones are, and little of harmony.
static status measure_purity(report *r, const options *o, const float *x, int64_t n, int rate,
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
            *(by ? &r->shifted : &r->purity) += by ? share / 11 : share;
        }
    }
    if (counted) r->purity /= (double)counted, r->shifted /= (double)counted;
    mem_free(rows);
    return rc;
}

// Loudness is measured of what a listener with two speakers hears.
static status measure_loudness(report *r, const file_clip *c, err *e) {
    r->lufs = LOUDNESS_SILENCE;
    if (c->channels <= 2) return loudness_of(&r->lufs, c->x, c->frames, c->channels, c->rate, e);
    float *planes = NULL;
    int64_t n;
    status rc = file_clip_planes(&planes, &n, c, c->rate, 2, e);
    float *x = rc ? NULL : mem_alloc((size_t)(2 * n) * sizeof *x);
    if (!rc && !x) rc = err_set(e, ERR_OOM, "no memory for %lld frames", (long long)n);
    for (int64_t i = 0; !rc && i < 2 * n; i++) x[i] = planes[i % 2 * n + i / 2];
    if (!rc) rc = loudness_of(&r->lufs, x, n, 2, c->rate, e);
    mem_free(x);
    mem_free(planes);
    return rc;
}

static status measure_rhythm(report *r, const options *o, const float *mono, int64_t n, int rate,
                             err *e) {
    onset_curve curve;
    status rc = analyse_onset_curve(&curve, mono, n, rate, e);
    if (rc) return rc;
    if (r->heard.beats.bpm > 0) r->strength = analyse_tempo_strength(&curve, r->heard.beats.bpm);
    if (o->bpm > 0) r->near = analyse_find_tempo(&curve, o->bpm * (1 - NEAR), o->bpm * (1 + NEAR));
    r->onsets = analyse_find_onsets(NULL, 0, &curve);
    analyse_onset_curve_deinit(&curve);
    return OK;
}

// r->heard is the caller's to close on success.
static status measure(report *r, const options *o, const file_clip *c, err *e) {
    const judge_hint hint = {.bpm = o->bpm, .from_one = o->bpm > 0};
    *r = (report){.seconds = (double)c->frames / c->rate};
    float *mono = mem_alloc((size_t)c->frames * sizeof *mono);
    if (!mono) return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)c->frames);
    analyse_mono(mono, c->x, c->frames, c->channels);
    r->levels = post_measure(c->x, c->frames * c->channels);
    r->defects = analyse_find_defects(mono, c->frames, c->rate);
    status rc = judge_mono(&r->heard, mono, c->frames, c->rate, &hint, e);
    if (!rc) rc = measure_rhythm(r, o, mono, c->frames, c->rate, e);
    if (!rc && o->chords) rc = measure_purity(r, o, mono, c->frames, c->rate, e);
    if (!rc) rc = measure_loudness(r, c, e);
    mem_free(mono);
    if (rc) judge_close(&r->heard);
    return rc;
}

// v to that many digits behind the point.
static double rounded(double v, int digits) {
    double scale = 1;
    for (int i = 0; i < digits; i++) scale *= 10;
    return floor(v * scale + 0.5) / scale;
}

// The chord of each bar, and where bar 1 begins.
static void print_bars(const judged *j) {
    if (!j->bars) return;
    printf("  bars     from %.3f s:", j->bar[0]);
    for (size_t b = 0; b < j->bars; b++) {
        char name[CHORDS_KEY_TEXT];
        judge_chord_text(name, &j->chord[b]);
        printf(" %s", name);
    }
    printf("\n");
}

static void print_text(const char *file, const report *r, const options *o) {
    printf("%s: %.3f s, peak %.3f, rms %.4f\n", file, r->seconds, (double)r->levels.peak,
           r->levels.rms);
    if (r->lufs > LOUDNESS_SILENCE)
        printf("  loudness %.1f LUFS\n", r->lufs);
    else
        printf("  loudness none: silent\n");
    const judged *j = &r->heard;
    char name[CHORDS_KEY_TEXT];
    if (j->has_key) {
        chords_key_text(name, j->key);
        printf("  key      %s, ahead of the next by %.2f\n", name, j->key_lead);
    }
    printf("  tempo    %.2f bpm, strength %.2f, sure %.2f, first beat at %.3f s, %zu onsets\n",
           j->beats.bpm, r->strength, j->beats.sure, j->first_beat, r->onsets);
    print_bars(j);
    if (r->lufs > LOUDNESS_SILENCE)
        printf("  type     %s, %.0f %% of the energy; leak %.0f %%\n",
               stem_types[judge_type(j)].name, j->share[judge_type(j)] * 100,
               judge_leak(j, judge_type(j)) * 100);
    if (o->bpm > 0)
        printf("  asked    %g bpm: nearest %.2f (%+.2f %%), strength %.2f\n", o->bpm, r->near.bpm,
               r->near.bpm > 0 ? (r->near.bpm / o->bpm - 1) * 100 : 0, r->near.strength);
    if (o->chords)
        printf("  purity   %.1f %% of the energy in the chords asked for, %.1f %% in wrong keys\n",
               r->purity * 100, r->shifted * 100);
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

// n numbers as an array, to the millisecond.
static bool set_times(json *to, const char *name, const double *at, size_t n) {
    json *list = json_new_array();
    bool ok = true;
    for (size_t i = 0; i < n; i++) ok = json_add(list, json_new_num(rounded(at[i], 3))) && ok;
    return json_set(to, name, list) && ok;
}

static bool set_chords(json *to, const judged *j) {
    json *list = json_new_array();
    bool ok = true;
    for (size_t b = 0; b < j->bars; b++) {
        char name[CHORDS_KEY_TEXT];
        judge_chord_text(name, &j->chord[b]);
        ok = json_add(list, json_new_str(name)) && ok;
    }
    return json_set(to, "chords", list) && ok;
}

static bool set_heard(json *to, const report *r) {
    const judged *j = &r->heard;
    char name[CHORDS_KEY_TEXT];
    chords_key_text(name, j->key);
    const analyse_tempo tempo = {j->beats.bpm, r->strength, j->first_beat};
    return set_tempo(to, "tempo", &tempo) &&
           json_set_num(to, "tempo_sure", rounded(j->beats.sure, 3)) &&
           json_set_str(to, "type", stem_types[judge_type(j)].name) &&
           json_set_num(to, "type_share", rounded(j->share[judge_type(j)], 3)) &&
           json_set_num(to, "leak", rounded(judge_leak(j, judge_type(j)), 3)) &&
           json_set_num(to, "held_pitch", rounded(j->held, 2)) &&
           set_times(to, "beats", j->beats.at, j->beats.n) &&
           set_times(to, "bars", j->bar, j->bars ? j->bars + 1 : 0) && set_chords(to, j) &&
           (!j->has_key || (json_set_str(to, "key", name) &&
                            json_set_num(to, "key_lead", rounded(j->key_lead, 3))));
}

// One line of JSON a file.
static status print_json(const char *file, const report *r, const options *o, err *e) {
    json *j = json_new_object();
    bool ok = json_set_str(j, "file", file) && json_set_num(j, "seconds", rounded(r->seconds, 3)) &&
              json_set_num(j, "peak", rounded((double)r->levels.peak, 4)) &&
              json_set_num(j, "rms", rounded(r->levels.rms, 5)) &&
              json_set_num(j, "mean", rounded(r->levels.mean, 6)) &&
              json_set_int(j, "onsets", (int64_t)r->onsets) && set_heard(j, r) &&
              json_set_num(j, "silent_share", rounded(r->defects.silent_share, 3)) &&
              json_set_num(j, "silence_max_s", rounded(r->defects.silence_max_s, 1)) &&
              json_set_num(j, "silence_end_s", rounded(r->defects.silence_end_s, 1)) &&
              json_set_int(j, "clipped_runs", r->defects.clipped_runs) &&
              json_set_int(j, "clicks", r->defects.clicks);
    if (ok && r->lufs > LOUDNESS_SILENCE) ok = json_set_num(j, "lufs", rounded(r->lufs, 1));
    if (ok && o->bpm > 0) ok = set_tempo(j, "near", &r->near);
    if (ok && o->chords)
        ok = json_set_num(j, "tone_purity", rounded(r->purity, 4)) &&
             json_set_num(j, "tone_purity_shifted", rounded(r->shifted, 4));
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
    if (o->json)
        rc = print_json(file, &r, o, e);
    else
        print_text(file, &r, o);
    judge_close(&r.heard);
    return rc;
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
        "measures loudness, key, tempo, beats, chords, silence and clicks of sound files",
        table,
        ARRAY_LEN(table),
        "  stemforge analyse out/bass.wav --bpm 120 --chords \"Am F C G\"\n"
        "\n"
        "peak and rms are of full scale 1. loudness is integrated LUFS (EBU R128). key is\n"
        "the best of 24; a lead under 0.05 is a guess. strength, up to 1, says how well the\n"
        "sound repeats at that tempo; sure, up to 1, how far the beats rise over what lies\n"
        "between them. bars: the chord heard in each, A5 where no third is heard; with --bpm\n"
        "bar 1 begins at 0 s. purity: the share of energy in the tones of the chords asked\n"
        "for, and of the same chords moved to wrong keys, which is what chance gives; it\n"
        "falls with noise and overtones and says little of harmony. type: the stem it\n"
        "sounds like most, by share of energy; leak: the share of another group than that\n"
        "(drums, bass, what plays chords). Flat tops are runs of\n"
        "three samples at the peak; a click is a jump where the sound is smooth.\n",
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
