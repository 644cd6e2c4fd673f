// judge.c - see judge.h.
#include "engine/judge.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/judge_count.h"
#include "engine/judge_inside.h"

#define FIRST_EARLY 0.04 // a beat that lies so many seconds before 0 is at 0

// Of a stem that was made at a tempo: what repeats best at it, its half or its double.
static status find_asked(judged *j, const listened *l, const judge_hint *h, err *e) {
    onset_curve c;
    status rc = analyse_onset_curve(&c, l->x, l->n, l->rate, e);
    if (rc) return rc;
    rc = beats_find(&j->beats, &c, h->bpm, e);
    analyse_onset_curve_deinit(&c);
    j->down_sure = 1;
    return rc;
}

// Of a recording: what a network hears.
static status find_heard(judged *j, const listened *l, const judge_hint *h, err *e) {
    pulse_curve p;
    counted c;
    status rc = pulse_hear(&p, l, e);
    if (rc) return rc;
    rc = count_find(&c, &p, h->bpm, j->beats_per_bar, e);
    pulse_deinit(&p);
    j->beats = c.beats, j->first_down = c.first_down, j->down_sure = c.down_sure;
    return rc;
}

static status find_tempo(judged *j, const listened *l, const judge_hint *h, err *e) {
    j->beats_per_bar = h->beats_per_bar ? h->beats_per_bar : CHORDS_BEATS;
    status rc = judge_is_asked(h) ? find_asked(j, l, h, e) : find_heard(j, l, h, e);
    if (rc || j->beats.bpm <= 0) return rc;
    double beat = 60 / j->beats.bpm;
    j->first_beat = j->beats.first > beat - FIRST_EARLY ? 0 : j->beats.first;
    return OK;
}

static void find_key(judged *j, const harmony_row *row, size_t n) {
    float sum[12] = {0};
    for (size_t i = 0; i < n; i++)
        for (int p = 0; p < 12; p++) sum[p] += row[i].treble[p] + row[i].bass[p];
    analyse_key k = analyse_find_key(sum);
    j->has_key = k.tonic >= 0;
    j->key = (key){.tonic = MAX(k.tonic, 0), .minor = k.minor};
    j->key_lead = k.lead;
}

// Where chord k of a bar begins, as a share of the bar.
static double chord_begins(const timing *t, size_t k) {
    return t ? timing_chord_begin(t, (int64_t)k) / t->meter->quarters : (double)k;
}

// Chords, key and held pitch, from one pass over the bars. Without bars the whole is one stretch.
static status find_harmony(judged *j, const listened *l, const judge_hint *h, err *e) {
    size_t of = h->time ? (size_t)h->time->chords_per_bar : 1, n = MAX(j->bars * of, (size_t)1);
    harmony_row *row = mem_alloc(n * sizeof *row);
    j->chord = mem_alloc(n * sizeof *j->chord);
    j->chord_at = mem_alloc((n + 1) * sizeof *j->chord_at);
    if (!row || !j->chord || !j->chord_at) {
        mem_free(row);
        return err_set(e, ERR_OOM, "no memory for %zu chords", n);
    }
    j->chord_at[0] = 0, j->chord_at[n] = l->seconds;
    for (size_t i = 0; i < j->bars; i++)
        for (size_t k = 0; k <= of; k++)
            j->chord_at[i * of + k] =
                j->bar[i] + chord_begins(h->time, k) * (j->bar[i + 1] - j->bar[i]);
    status rc = harmony_rows(row, j->chord_at, n, l, &j->held, e);
    if (!rc && j->bars) harmony_chords(j->chord, row, n);
    if (!rc && j->bars) j->chords = n;
    if (!rc) find_key(j, row, n);
    mem_free(row);
    return rc;
}

status judge_mono(judged *out, const float *mono, int64_t n, int rate, const judge_hint *h,
                  err *e) {
    *out = (judged){0};
    listened l;
    status rc = listen_open(&l, mono, n, rate, e);
    if (!rc) rc = find_tempo(out, &l, h, e);
    if (!rc) rc = judge_find_bars(out, &l, h, e);
    if (!rc && !h->unpitched) rc = find_harmony(out, &l, h, e);
    if (!rc) rc = kind_hear(out->share, &l, e);
    listen_close(&l);
    if (rc) judge_close(out);
    return rc;
}

status judge_open(judged *out, const float *x, int64_t frames, int channels, int rate,
                  const judge_hint *h, err *e) {
    *out = (judged){0};
    float *mono = mem_alloc((size_t)MAX(frames, 1) * sizeof *mono);
    if (!mono) return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)frames);
    analyse_mono(mono, x, frames, channels);
    status rc = judge_mono(out, mono, frames, rate, h, e);
    mem_free(mono);
    return rc;
}

void judge_close(judged *j) {
    beats_deinit(&j->beats);
    mem_free(j->bar);
    mem_free(j->chord);
    mem_free(j->chord_at);
    *j = (judged){0};
}

int judge_type(const judged *j) {
    int type = 0;
    for (int k = 1; k < KIND_COUNT; k++)
        if (j->share[k] > j->share[type]) type = k;
    return type;
}

// Drums, bass, and what plays chords.
static int group_of(int type) {
    return MIN(type, 2);
}

double judge_leak(const judged *j, int type) {
    double sum = 0;
    for (int k = 0; k < KIND_COUNT; k++)
        if (group_of(k) != group_of(type)) sum += j->share[k];
    return sum;
}

void judge_chord_text(char out[CHORDS_KEY_TEXT], const harmony_chord *c) {
    if (c->root < 0) {
        snprintf(out, CHORDS_KEY_TEXT, "N");
        return;
    }
    const chord triad = {.root = c->root, .third = c->third ? c->third : 4};
    chords_triad_text(out, &triad);
    size_t n = strlen(out);
    if (!c->third) snprintf(out + n, CHORDS_KEY_TEXT - n, "5");
}
