// judge.h - what a finished stem or a recording really holds: tempo, beats, bars, chords, key.
//
// Deterministic: the same samples give the same figures on every machine. The figures are for
// people and for whoever makes more on top of the sound; nothing here changes a sample.
#pragma once
#include "audio/beats.h"
#include "audio/harmony.h"
#include "engine/judge_kind.h"
#include "request/chords.h"

typedef struct {
    double bpm;         // a tempo that somebody said; 0: none
    bool from_one;      // it is the stem's own: bar 1 begins at 0 s, whatever is heard
    bool unpitched;     // drums: no chords, key or held pitch are looked for
    int beats_per_bar;  // 0: CHORDS_BEATS
    const timing *time; // says where in a bar chords change; NULL: one a bar
} judge_hint;

#define JUDGE_TEMPO_SURE 0.3 // beats under it are a guess, and so are bars
#define JUDGE_CHORD_SURE 0.5 // harmony_chord.sure: a chord under it may be another

// Zeroed is empty. judge_close releases it.
typedef struct {
    beat_track beats;  // beats.bpm 0: no tempo. Times are seconds
    double first_beat; // seconds of the first beat, within 0 to 60 / bpm
    int beats_per_bar;
    size_t first_down; // the beat that begins the first whole bar
    double down_sure;  // 0 to 1: the F-measure expected of bar lines; 1 for a stem made at a tempo
    double *bar;       // [bars + 1] seconds: where bars begin, and where the last one ends
    size_t bars;
    harmony_chord *chord; // [chords]
    double *chord_at;     // [chords + 1] seconds: where they begin, and where the last one ends
    size_t chords;        // as many a bar as the hint says
    bool has_key;
    key key;
    double key_lead;          // how far ahead of the next key
    double share[KIND_COUNT]; // of its energy, what each stem has (judge_kind.h)
    double held;              // share of the time that a pitch is held (harmony.h)
} judged;

// Measures x [frames, channels] at rate Hz (8000 to 192000).
status judge_open(judged *out, const float *x, int64_t frames, int channels, int rate,
                  const judge_hint *h, err *e);
// The same of the mean of its channels, mono [n] (analyse_mono).
status judge_mono(judged *out, const float *mono, int64_t n, int rate, const judge_hint *h, err *e);
void judge_close(judged *j);

// The stem that has the largest share.
int judge_type(const judged *j);
// What share is heard as stems of another group than type's: drums, bass, and what plays chords. A
// guitar that may be a piano is one sound; a drum in it is a second one.
double judge_leak(const judged *j, int type);

// "Am", "Eb", "A5" where no third is heard, "N".
void judge_chord_text(char out[CHORDS_KEY_TEXT], const harmony_chord *c);
