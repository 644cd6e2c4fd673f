// chords_key.c - keys of chords.h: read in the words of several traditions, written in one.
#include <stdio.h>
#include <string.h>

#include "request/chords_inside.h"

static bool begins(const char *s, const char *with) {
    return strncmp(s, with, strlen(with)) == 0;
}

// Whether the n bytes at s are the word, which is in lower case; the case of s does not count.
static bool word_is(const char *s, size_t n, const char *word) {
    if (strlen(word) != n) return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] + 32) : s[i];
        if (c != word[i]) return false;
    }
    return true;
}

typedef struct {
    const char *word;
    int tonic_by; // semitones
    int minor;    // 0 or 1; -1: says nothing of the third
    bool needs;   // a mode must be said too: "A natural" is none
    bool other;   // the scale is not plain major or natural minor
} key_word;

static const key_word key_words[] = {
    {"flat", -1, -1, false, false},    {"sharp", 1, -1, false, false},
    {"major", 0, 0, false, false},     {"maj", 0, 0, false, false},
    {"dur", 0, 0, false, false},       {"minor", 0, 1, false, false},
    {"min", 0, 1, false, false},       {"moll", 0, 1, false, false},
    {"ionian", 0, 0, false, false},    {"lydian", 0, 0, false, true},
    {"mixolydian", 0, 0, false, true}, {"dorian", 0, 1, false, true},
    {"phrygian", 0, 1, false, true},   {"aeolian", 0, 1, false, false},
    {"eolian", 0, 1, false, false},    {"locrian", 0, 1, false, true},
    {"harmonic", 0, -1, true, true},   {"melodic", 0, -1, true, true},
    {"natural", 0, -1, true, false},   {"pentatonic", 0, -1, true, true},
    {"mode", 0, -1, true, false},      {"scale", 0, -1, true, false},
};

// The rest of a key after its note: words apart by blanks and the like. False when they are none.
// *says: whether they say major or minor.
static bool read_mode(key *k, const char *p, bool *says) {
    bool mode = false, shifted = false, needs = false;
    for (;;) {
        const char *from = p;
        p += strspn(p, " -:_");
        *says = mode;
        if (!*p) return (mode || !needs) && !(p > from && p[-1] != ' '); // "C-" says nothing
        size_t n = strcspn(p, " -:_"), i = 0;
        if (n == 1 && (*p == 'm' || *p == 'M') && !mode) {
            k->minor = *p == 'm';
            mode = true;
            p += n;
            continue;
        }
        while (i < ARRAY_LEN(key_words) && !word_is(p, n, key_words[i].word)) i++;
        const key_word *w = &key_words[i];
        if (i == ARRAY_LEN(key_words)) return false;
        if ((mode && w->minor >= 0) || (w->tonic_by && shifted)) return false;
        k->tonic = chords_pitch(k->tonic + w->tonic_by);
        shifted |= w->tonic_by != 0;
        needs |= w->needs;
        k->other_scale |= w->other;
        mode |= w->minor >= 0;
        if (w->minor >= 0) k->minor = w->minor == 1;
        p += n;
    }
}

// Cis, Fis, Es, As and their like, of the German names; before "Dur" or "Moll" only. B and H are
// left alone: the German B is Bb. Returns the bytes of the suffix.
static size_t german_suffix(const char *at, int *by) {
    char note = at[-1];
    *by = 0;
    if (begins(at, "is")) return *by = 1, 2;
    if (begins(at, "es")) return *by = -1, 2;
    if ((note == 'E' || note == 'A') && *at == 's') return *by = -1, 1;
    return 0;
}

// Whether "dur" or "moll" stands in a key.
static bool is_german(const char *p) {
    for (; *p; p++)
        if (word_is(p, 3, "dur") || word_is(p, strnlen(p, 4), "moll")) return true;
    return false;
}

status chords_parse_key(key *out, const char *text, err *e) {
    char upper[CHORDS_KEY_MAX + 1];
    key k = {0};
    text += strspn(text, " \t\r\n");
    size_t n = strlen(text);
    if (n > CHORDS_KEY_MAX)
        return err_set(e, ERR_ARG, "key of %zu bytes, expected at most %d", n, CHORDS_KEY_MAX);
    chords_plain(upper, text, ' ');
    bool lower = *upper >= 'a' && *upper <= 'g', says = false;
    if (lower) upper[0] = (char)(upper[0] - 32);
    const char *at = upper;
    bool german = is_german(upper);
    int by = 0, tonic = german && *at == 'B' && at[1] != 'b' ? -1 : chords_read_note(&at);
    if (german && tonic >= 0) at += german_suffix(at, &by);
    k.tonic = chords_pitch(tonic + by);
    if (tonic < 0 || !read_mode(&k, at, &says))
        return err_set(e, ERR_ARG, "key '%s', expected one such as 'C major' or 'F# minor'%s", text,
                       *upper == 'H' || *upper == 'h' || (german && *upper == 'B')
                           ? " (write B for the German H, and Bb for the German B)"
                           : "");
    k.guessed = lower && !says;
    *out = k;
    return OK;
}

static const char *const note_names[] = {"C",  "C#", "D",  "Eb", "E",  "F",
                                         "F#", "G",  "Ab", "A",  "Bb", "B"};

void chords_key_text(char out[CHORDS_KEY_TEXT], key k) {
    snprintf(out, CHORDS_KEY_TEXT, "%s %s", note_names[k.tonic], k.minor ? "minor" : "major");
}

void chords_triad_text(char out[CHORDS_KEY_TEXT], const chord *c) {
    snprintf(out, CHORDS_KEY_TEXT, "%s%s", note_names[c->root], c->third == 3 ? "m" : "");
}
