// chords.h - chord names to pitch classes, keys, and a progression at a tempo to chroma rows.
//
// Names come from users, so they are checked fully; a name that could mean two things is refused
// rather than guessed. Accepted: a root A to G in upper case with any of # b (or their Unicode
// signs), then a quality as lead sheets write it (m, maj7, M7, 7, 9, sus4, dim7, m7b5, aug, +, 6/9,
// add9, no3, alt, triangle, o and slashed o signs, alterations such as 7#9 or 7(b9,#11)) or as
// Harte's syntax does after a colon (C:min7, C:maj(9), C:(1,5)), then a bass: /note or /degree. m
// is minor and M is major; 2 and 4 alone are added to the triad; ^ is a triangle. N, NC and N.C.
// are "no chord". Do is refused: it is D diminished to some, and C to others.
#pragma once
#include "base/err.h"
#include "request/timing.h"

#define CHORDS_NAME_MAX 32              // bytes of one name
#define CHORDS_MAX STEMFORGE_CHORDS_MAX // in a progression
#define CHORDS_KEY_MAX 256              // bytes of a key
#define CHORDS_BEATS 4                  // a bar of 4/4

#define CHORDS_NO_TONE (-1)

typedef struct {
    bool none;     // N: nothing sounds; root and bass are 0, the tones are absent
    int root;      // pitch class 0 to 11, C = 0
    int bass;      // the same; the root unless a slash says otherwise
    uint16_t mask; // bit p: pitch class p sounds, bass included
    // Semitones above the root, or CHORDS_NO_TONE. third: 4, 3, 5 (sus4) or 2 (sus2).
    int third, fifth; // fifth: 7, 6 or 8
    int seventh;      // 10, 11, or 9 (dim7, and the sixth of 6 and m6 chords)
} chord;

// ERR_ARG says what was expected at which character.
status chords_parse_chord(chord *out, const char *name, err *e);

// Chords repeated for ever, from bar 1 on.
typedef struct {
    chord bars[CHORDS_MAX]; // one a bar, or as many as time says
    size_t count;           // at least 1
    timing time;
} progression;

// names [count], 1 to CHORDS_MAX; bpm above 0, and even: a chord a bar of 4/4. The error names the
// chord and its place; where is "chords[i]".
status chords_parse(progression *out, const char *const *names, size_t count, double bpm, err *e);
// Finds the next name in a text of several, "Am F C G": names are apart by blanks, bars (|) or
// commas; what stands in parentheses belongs to its name. *text moves behind the name, which is the
// *len bytes before it. False when there is none left.
bool chords_next_name(const char **text, size_t *len);
// The same as chords_parse from one text.
status chords_parse_text(progression *out, const char *text, double bpm, err *e);

// The chord that sounds at a beat (timing.h), and at t seconds. Before bar 1 the progression goes
// on backwards.
const chord *chords_at_beat(const progression *p, double beat);
const chord *chords_at(const progression *p, double t);

// Rows for MusicGen-Melody's chroma input: row r is 1 at every sounding pitch class of the chord at
// (first + r) * hop / rate seconds, else 0; N is all zero. Melody models: hop 4096, rate 32000.
// out [rows, 12].
void chords_fill_chroma(float *out, const progression *p, size_t rows, size_t first, int hop,
                        int rate);

typedef struct {
    int tonic; // pitch class
    bool minor;
    bool other_scale; // a mode or a scale was named that is neither plain major nor natural minor
    bool guessed;     // a small letter alone, "a": major to some, minor to others; read as major
} key;

// "C major", "F# minor", "Am", "Bb", "E flat major", "c# min": case-blind but for a lone m or M.
// The church modes count as the major or minor their third makes them, and so do the harmonic,
// melodic and natural scales. With Dur or Moll the German names are read, but for H and B: the
// German B is Bb.
status chords_parse_key(key *out, const char *text, err *e);
// "Eb major", "F# minor". One spelling a tonic whatever the mode (C# Eb F# Ab Bb): it is the one
// the captions of our own models were trained with.
#define CHORDS_KEY_TEXT 16
void chords_key_text(char out[CHORDS_KEY_TEXT], key k);

// "Am", "Eb": the name of a major or minor triad, its root spelt as above.
void chords_triad_text(char out[CHORDS_KEY_TEXT], const chord *c);

#define CHORDS_ASSUMED 4
// The progression for when none was asked for: I V vi IV in major, i VI III VII in minor.
void chords_default(progression *out, key k, double bpm);
