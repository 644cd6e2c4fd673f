// unmet.c - see unmet.h.
#include "engine/unmet.h"

#include <math.h> // fabs: exact
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "request/sections.h"
#include "request/stems.h"
#include "request/timing.h"
#include "request/warnings.h"

#define NAMES_SHOWN 8
#define NAMES_SIZE (NAMES_SHOWN * (CHORDS_NAME_MAX + 1) + 8)

static void say(unmet *to, const char *field, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void say(unmet *to, const char *field, const char *fmt, ...) {
    char *text = to->text[to->n];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, UNMET_TEXT, fmt, ap);
    va_end(ap);
    utf8_mend(text);
    to->item[to->n++] = (stemforge_warning){WARNING_UNMET, field, text};
}

bool unmet_is_tempo(double heard, double asked) {
    for (double times = 0.5; times <= 2; times *= 2)
        if (fabs(heard / (asked * times) - 1) <= UNMET_TEMPO) return true;
    return false;
}

static void find_tempo(unmet *to, const stemforge_stem *s, const stemforge_measured *m,
                       const judged *j) {
    double asked = s->request->bpm;
    if (!(asked > 0) || !(m->bpm > 0) || unmet_is_tempo(m->bpm, asked)) return;
    say(to, "bpm", "%s: asked %g bpm, heard %.1f bpm (%.2f sure)", s->name, asked, m->bpm,
        j->beats.sure);
}

// The seven notes of a key's scale.
static unsigned scale_of(key k) {
    static const int major[] = {0, 2, 4, 5, 7, 9, 11};
    int tonic = k.minor ? k.tonic + 3 : k.tonic; // that of the relative major
    unsigned notes = 0;
    for (size_t i = 0; i < ARRAY_LEN(major); i++) notes |= 1u << (tonic + major[i]) % 12;
    return notes;
}

static void find_key(unmet *to, const stemforge_stem *s, const stemforge_measured *m,
                     const judged *j) {
    key asked;
    char text[CHORDS_KEY_TEXT];
    if (!m->key || s->request->chord_count) return; // chords say more than a key
    if (!s->request->key || chords_parse_key(&asked, s->request->key, NULL)) return;
    unsigned lacking = scale_of(asked) & ~scale_of(j->key);
    if (__builtin_popcount(lacking) < UNMET_SCALE_NOTES) return;
    chords_key_text(text, asked);
    say(to, "key", "%s: asked %s, heard %s (%.2f ahead of the next key)", s->name, text, m->key,
        j->key_lead);
}

// --- chords

// Whether the chord that is heard may be the one that was asked for: a melody over C may sound as
// Em or Am, which share two notes with it. A bass plays one note.
static bool is_chord(const harmony_chord *heard, const chord *asked, bool bass) {
    if (bass) return heard->root == asked->bass || heard->root == asked->root;
    unsigned tones = 1u | 1u << heard->third | 1u << 7, shared = tones << heard->root;
    shared = (shared | shared >> 12) & asked->mask;
    return __builtin_popcount(shared) >= 2;
}

static void add_name(char names[NAMES_SIZE], size_t i, const char *name) {
    size_t n = strlen(names);
    if (i < NAMES_SHOWN)
        snprintf(names + n, NAMES_SIZE - n, "%s%s", i ? " " : "", name);
    else if (i == NAMES_SHOWN)
        snprintf(names + n, NAMES_SIZE - n, " ...");
}

typedef struct {
    size_t sure, other;
    char heard[NAMES_SIZE], asked[NAMES_SIZE];
} chord_count;

static void count_chords(chord_count *k, const progression *p, const stemforge_stem *s,
                         const judged *j) {
    bool bass = strcmp(s->name, "bass") == 0;
    for (size_t i = 0; i < j->chords; i++) {
        const harmony_chord *heard = &j->chord[i];
        double middle = (j->chord_at[i] + j->chord_at[i + 1]) / 2;
        const chord *asked = chords_at(p, middle);
        char name[CHORDS_KEY_TEXT];
        judge_chord_text(name, heard);
        add_name(k->heard, i, name);
        if (asked->none || heard->root < 0 || heard->sure < JUDGE_CHORD_SURE) continue;
        k->sure++;
        k->other += !is_chord(heard, asked, bass);
    }
}

static void find_chords(unmet *to, const stemforge_stem *s, const judged *j) {
    stemforge_request own = *s->request, *r = &own;
    section_chords laid = {.n = 0};
    progression p;
    if (r->section_count || r->ending) {
        sections_chords(&laid, s->request);
        r->chords = laid.name;
        r->chord_count = laid.named ? laid.n : 0;
    }
    if (!r->chord_count || !j->chord || !j->chords) return;
    if (chords_parse(&p, r->chords, r->chord_count, r->bpm > 0 ? r->bpm : j->beats.bpm, NULL))
        return;
    p.time = timing_of(r, p.time.bpm);
    chord_count k = {0};
    count_chords(&k, &p, s, j);
    if (k.sure < UNMET_CHORDS_MIN || (double)k.other <= UNMET_CHORDS_SHARE * (double)k.sure) return;
    for (size_t i = 0; i < r->chord_count; i++) add_name(k.asked, i, r->chords[i]);
    say(to, "chords", "%s: asked %s, heard %s: %zu of %zu sure chords are others", s->name, k.asked,
        k.heard, k.other, k.sure);
}

// --- sound

static void find_sound(unmet *to, const stemforge_stem *s, const stemforge_measured *m) {
    if (!m->type || stems_find(s->name) < 0) return;
    if (strcmp(m->type, s->name) != 0 && m->type_share >= UNMET_TYPE_SHARE)
        say(to, "stems", "%s: asked %s, heard %s in %.0f%% of its energy", s->name, s->name,
            m->type, m->type_share * 100);
    if (m->leak >= UNMET_LEAK)
        say(to, "stems", "%s: asked %s alone, heard other stems in %.0f%% of its energy", s->name,
            s->name, m->leak * 100);
}

void unmet_find(unmet *out, const stemforge_stem *s, const stemforge_measured *m, const judged *j) {
    *out = (unmet){0};
    find_tempo(out, s, m, j);
    find_key(out, s, m, j);
    find_chords(out, s, j);
    find_sound(out, s, m);
}
