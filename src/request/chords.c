// chords.c - see chords.h. A name is read left to right by a table of tokens, the longest match
// first; each token changes the set of tones built so far.
#include "request/chords_inside.h"

#include <math.h> // floor, fmod: exact
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

#define DIM_SEVENTH 9

typedef enum {
    T_MAJOR, // a major triad, or "major" of the seventh that follows
    T_MINOR,
    T_DIM,
    T_HALFDIM,
    T_AUG,
    T_DELTA,  // a triangle: the seventh chord by itself
    T_MINMAJ, // minor triad with major seventh, Harte's minmaj7
    T_SUS_BOTH,
    T_SUS,   // arg: 2 or 5 semitones replace the third
    T_POWER, // 5
    T_ROOT,  // 1
    T_SIXTH,
    T_SIX_NINE,
    T_NUMBER, // arg: 7 9 11 13
    T_TONE,   // arg: semitones added, or altered
    T_ADDED,  // 2 and 4 by themselves: added to the triad
    T_FIFTH,  // arg: semitones of the fifth
    T_NO,     // arg: 3 or 5 left out
    T_ALT,
} op;

typedef struct {
    const char *text;
    op op;
    int arg;
} token;

// Where a token of another table entry begins with this one, the longer wins, so order is free.
static const token tokens[] = {
    {"maj", T_MAJOR, 0},
    {"Maj", T_MAJOR, 0},
    {"MAJ", T_MAJOR, 0},
    {"major", T_MAJOR, 0},
    {"ma", T_MAJOR, 0},
    {"Ma", T_MAJOR, 0},
    {"M", T_MAJOR, 0},
    {"min", T_MINOR, 0},
    {"Min", T_MINOR, 0},
    {"MIN", T_MINOR, 0},
    {"minor", T_MINOR, 0},
    {"mi", T_MINOR, 0},
    {"m", T_MINOR, 0},
    {"-", T_MINOR, 0},
    {"\u2212", T_MINOR, 0},
    {"dim", T_DIM, 0},
    {"o", T_DIM, 0},
    {"\u00b0", T_DIM, 0},
    {"\u00ba", T_DIM, 0},
    {"hdim", T_HALFDIM, 0},
    {"h", T_HALFDIM, 0},
    {"\u00f8", T_HALFDIM, 0},
    {"\u00d8", T_HALFDIM, 0},
    {"aug", T_AUG, 0},
    {"+", T_AUG, 0},
    {"\u0394", T_DELTA, 0},
    {"\u25b3", T_DELTA, 0},
    {"\u2206", T_DELTA, 0},
    {"minmaj", T_MINMAJ, 0},
    {"sus", T_SUS, 5},
    {"sus4", T_SUS, 5},
    {"sus2", T_SUS, 2},
    {"5", T_POWER, 0},
    {"sus24", T_SUS_BOTH, 0},
    {"sus42", T_SUS_BOTH, 0},
    {"j", T_MAJOR, 0},
    {"sus2sus4", T_SUS_BOTH, 0},
    {"sus4sus2", T_SUS_BOTH, 0},
    {"1", T_ROOT, 0},
    {"6", T_SIXTH, 0},
    {"69", T_SIX_NINE, 0},
    {"6/9", T_SIX_NINE, 0},
    {"7", T_NUMBER, 7},
    {"9", T_NUMBER, 9},
    {"11", T_NUMBER, 11},
    {"13", T_NUMBER, 13},
    {"add2", T_TONE, 2},
    {"add9", T_TONE, 2},
    {"add4", T_TONE, 5},
    {"add11", T_TONE, 5},
    {"add6", T_TONE, 9},
    {"add13", T_TONE, 9},
    {"addb9", T_TONE, 1},
    {"add#9", T_TONE, 3},
    {"add#11", T_TONE, 6},
    {"addb13", T_TONE, 8},
    {"b9", T_TONE, 1},
    {"-9", T_TONE, 1},
    {"#9", T_TONE, 3},
    {"+9", T_TONE, 3},
    {"#11", T_TONE, 6},
    {"+11", T_TONE, 6},
    {"b13", T_TONE, 8},
    {"-13", T_TONE, 8},
    {"b5", T_FIFTH, 6},
    {"-5", T_FIFTH, 6},
    {"#5", T_FIFTH, 8},
    {"+5", T_FIFTH, 8},
    {"no3", T_NO, 3},
    {"no5", T_NO, 5},
    {"omit3", T_NO, 3},
    {"omit5", T_NO, 5},
    {"alt", T_ALT, 0},
    {"^", T_DELTA, 0},
    {"\u2205", T_HALFDIM, 0},
    {"\u2300", T_HALFDIM, 0},
    {"2", T_ADDED, 2},
    {"4", T_ADDED, 5},
};

// What is known while a name is read. Tones are semitones above the root.
typedef struct {
    const char *text, *at;
    chord c;
    unsigned added;  // bit s: tone s besides third, fifth and seventh
    bool harte;      // after a colon
    bool minor, dim; // said outright
    bool major_next; // "maj" without its number yet: the number's seventh is major
    bool numbered;   // 7, 9, 11, 13, 6 or 5 was read
    bool quality;    // a triad was named
    bool sus;
    bool bare; // Harte's bare list: it is the whole chord
} reader;

static bool begins(const char *s, const char *with) {
    return strncmp(s, with, strlen(with)) == 0;
}

// The place of the reader in characters, from 1.
static int place(const reader *r) {
    return 1 + (int)utf8_length((bytes){(const uint8_t *)r->text, (size_t)(r->at - r->text)});
}

// What to write instead, where a name is a common one of another language or several in one.
static const char *advice(const reader *r) {
    static const char *const words[] = {"Do", "Re", "R\u00e9", "Mi", "Fa", "Sol", "La", "Si", "Ti"};
    static const char *const between[] = {"-", ";", ">", ".", "&", "\u2192", "\u2013", "\u2014"};
    static const char *const qualities[] = {"sus", "maj", "min", "add", "dim", "aug"};
    const char *at = r->at;
    for (size_t i = 0; i < ARRAY_LEN(between);) {
        bool found = begins(at, between[i]);
        at += found ? strlen(between[i]) : 0;
        i = found ? 0 : i + 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        char next = begins(r->text, words[i]) ? r->text[strlen(words[i])] : 'x';
        if (next < 'a' || next > 'z') return " (write C D E F G A B for the notes Do to Si)";
    }
    for (size_t i = 0; i < ARRAY_LEN(qualities) && r->at == r->text; i++)
        if (begins(r->text, qualities[i])) return " (write it behind its note without a blank)";
    if (*r->text == 'H') return " (write B for the German H, and Bb for the German B)";
    if (*r->text >= 'a' && *r->text <= 'g' && r->at == r->text)
        return " (write the root as a capital)";
    if (*r->text == '%') return " (write the chord again)";
    if (*r->text == '[' || *r->text == '{') return " (leave out brackets)";
    if (r->at > r->text && (at > r->at || (*at >= 'A' && *at <= 'G')))
        return " (put blanks between chords)";
    return "";
}

static status wrong(const reader *r, const char *expected, err *e) {
    if (!*r->at)
        return err_set(e, ERR_ARG, "'%s': expected %s at its end%s", r->text, expected, advice(r));
    return err_set(e, ERR_ARG, "'%s': expected %s at character %d, found '%s'%s", r->text, expected,
                   place(r), r->at, advice(r));
}

// The sharps less the flats that stand here; skips them.
static int read_accidentals(const char **at) {
    int sum = 0;
    for (; **at == '#' || **at == 'b'; ++*at) sum += **at == '#' ? 1 : -1;
    return sum;
}

void chords_plain(char *out, const char *name, char blank) {
    static const struct {
        const char *text, *plain;
    } signs[] = {{"\u266f", "#"},      {"\u266d", "b"}, {"\U0001D12A", "##"},
                 {"\U0001D12B", "bb"}, {"\u266e", ""},  {"\u00a0", " "}};
    while (*name) {
        size_t i = 0;
        while (i < ARRAY_LEN(signs) && !begins(name, signs[i].text)) i++;
        if (i < ARRAY_LEN(signs)) {
            for (const char *p = signs[i].plain; *p;) *out++ = *p++;
            name += strlen(signs[i].text);
        } else {
            bool is_blank = strchr(" \t\r\n", *name) != NULL;
            if (!is_blank || blank) *out++ = is_blank ? blank : *name;
            name++;
        }
    }
    *out = 0;
}

int chords_pitch(int x) {
    return ((x % 12) + 12) % 12;
}

int chords_read_note(const char **at) {
    static const char names[] = "CxDxEFxGxAxB";
    const char *p = **at >= 'A' && **at <= 'G' ? strchr(names, **at) : NULL;
    if (!p) return -1;
    ++*at;
    return chords_pitch((int)(p - names) + read_accidentals(at));
}

// A degree of the major scale with accidentals before it, 1 to 13, as semitones 0 to 11; -1 when
// there is none.
static int read_degree(const char **at, int *number) {
    static const int scale[] = {0, 2, 4, 5, 7, 9, 11};
    const char *p = *at;
    int by = read_accidentals(&p), n = 0;
    while (*p >= '0' && *p <= '9' && n < 100) n = n * 10 + (*p++ - '0');
    if (n < 1 || n > 13) return -1;
    *at = p;
    *number = n;
    return chords_pitch(scale[(n - 1) % 7] + by);
}

static const token *longest_token(const reader *r) {
    const token *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        const token *t = &tokens[i];
        size_t n = strlen(t->text);
        // "-5", "+9" and the like alter a seventh chord; before a number the sign is a quality.
        bool sign = n > 1 && (*t->text == '-' || *t->text == '+');
        if (n <= most || (sign && !r->numbered) || !begins(r->at, t->text)) continue;
        if (t->text[n - 1] == 'a' && begins(r->at + n, "dd")) continue; // "madd9" is m, then add9
        best = t;
        most = n;
    }
    return best;
}

// 7, 9, 11 and 13 stack thirds; 13 leaves 9 and 11 out, 11 leaves out none (as MusicGen-Chord's
// table).
static bool apply_number(reader *r, int n) {
    if (r->numbered) return false;
    r->numbered = true;
    r->c.seventh = r->major_next ? 11 : r->dim ? DIM_SEVENTH : 10;
    r->major_next = false;
    if (n == 9 || n == 11) r->added |= 1u << 2;
    if (n == 11) r->added |= 1u << 5;
    if (n == 13) r->added |= 1u << 9;
    return true;
}

static bool set_triad(reader *r, int third, int fifth) {
    if (r->quality || r->numbered || r->sus) return false;
    r->quality = true;
    r->c.third = third;
    r->c.fifth = fifth;
    return true;
}

static bool apply_major(reader *r) {
    if (r->numbered && r->c.seventh == 10 && !r->dim) { // "C7M"
        r->c.seventh = 11;
        return true;
    }
    if (r->numbered || r->major_next) return false;
    r->major_next = true;
    r->quality = true; // of "mmaj7" the third stays minor
    return true;
}

static bool apply_sixth(reader *r, bool nine) {
    if (r->numbered) return false;
    r->numbered = true;
    r->major_next = false; // maj6 is 6
    r->c.seventh = 9;
    if (nine) r->added |= 1u << 2;
    return true;
}

static bool apply_sus(reader *r, int tone) {
    if (r->sus || r->c.third != 4) return false;
    r->sus = true;
    r->c.third = tone;
    return true;
}

static bool apply_bare(reader *r, int fifth) {
    if (r->quality || r->numbered || r->sus) return false;
    r->numbered = r->quality = true;
    r->c.third = CHORDS_NO_TONE;
    r->c.fifth = fifth;
    return true;
}

static bool apply_added(reader *r, int tone) {
    if (r->numbered || r->sus || r->major_next) return false;
    r->numbered = true;
    r->added |= 1u << tone;
    return true;
}

// Of "C7alt" and "Calt" alike.
static bool apply_alt(reader *r) {
    if (!r->numbered && !r->quality) r->c.seventh = 10;
    if (r->c.seventh != 10) return false;
    r->numbered = true;
    r->c.fifth = 8;
    r->added |= 1u << 1 | 1u << 3 | 1u << 6;
    return true;
}

// False when the token makes no sense here.
static bool apply(reader *r, const token *t) {
    switch (t->op) {
    case T_MAJOR: return apply_major(r);
    case T_MINOR: return r->minor = set_triad(r, 3, 7);
    case T_MINMAJ: return r->minor = r->major_next = set_triad(r, 3, 7);
    case T_DIM: return r->dim = set_triad(r, 3, 6);
    case T_AUG:
        if (r->numbered) { // 7+
            r->c.fifth = 8;
            return true;
        }
        return set_triad(r, 4, 8);
    case T_HALFDIM:
        if (!set_triad(r, 3, 6)) return false;
        r->c.seventh = 10;
        return true;
    case T_DELTA: r->c.seventh = 11; return apply_major(r);
    case T_SUS: return apply_sus(r, t->arg);
    case T_SUS_BOTH: r->added |= 1u << 2; return apply_sus(r, 5);
    case T_POWER: return apply_bare(r, 7);
    case T_ROOT: return apply_bare(r, CHORDS_NO_TONE);
    case T_SIXTH: return apply_sixth(r, false);
    case T_SIX_NINE: return apply_sixth(r, true);
    case T_NUMBER: return apply_number(r, t->arg);
    case T_TONE: r->added |= 1u << t->arg; return true;
    case T_ADDED: return apply_added(r, t->arg);
    case T_FIFTH: r->c.fifth = t->arg; return true;
    case T_NO: *(t->arg == 3 ? &r->c.third : &r->c.fifth) = CHORDS_NO_TONE; return true;
    case T_ALT: return apply_alt(r);
    }
    return false;
}

// One degree of a list in parentheses: "b9", "11", "*3" leaves out.
static bool read_listed_degree(reader *r) {
    bool omit = *r->at == '*';
    if (omit) r->at++;
    int number = 0, tone = read_degree(&r->at, &number);
    if (tone < 0 || (omit && number == 1)) return false; // a chord has its root
    if (number == 7 && !r->harte && tone == 11)
        tone = 10; // C7 means a minor seventh, C:(7) a major
    int *slot = number == 3 ? &r->c.third : number == 5 ? &r->c.fifth : NULL;
    if (number == 7) slot = &r->c.seventh;
    if (slot)
        *slot = omit ? CHORDS_NO_TONE : tone;
    else if (omit)
        r->added &= ~(1u << tone);
    else
        r->added |= 1u << tone;
    return true;
}

// "(b9,#11)", "(maj7)", "(add9)", "(1,5)". r->at is at the parenthesis.
static status read_list(reader *r, err *e) {
    r->at++;
    if (r->harte) r->major_next = false; // C:maj(9) adds a degree; Cmaj(9) is a maj9
    for (;;) {
        const char *p = r->at;
        int number = 0;
        bool degree = !r->major_next && (*p == '*' || read_degree(&p, &number) >= 0);
        if (degree) {
            if (!read_listed_degree(r)) return wrong(r, "a degree", e);
        } else {
            const token *t = longest_token(r);
            if (!t || !apply(r, t)) return wrong(r, "a degree or an addition", e);
            r->at += strlen(t->text);
            if (r->major_next && *r->at != ',' && *r->at != ')') continue; // maj, then its 7
        }
        if (*r->at == ')') break;
        if (*r->at == '#' || *r->at == 'b') continue; // "(#9b13)"
        if (*r->at != ',') return wrong(r, "',' or ')'", e);
        r->at++;
    }
    r->at++;
    return OK;
}

static status read_qualities(reader *r, err *e) {
    while (*r->at && *r->at != '/') {
        if (*r->at == '(') {
            status rc = read_list(r, e);
            if (rc) return rc;
            continue;
        }
        const token *t = longest_token(r);
        if (!t || !apply(r, t)) return wrong(r, "a chord quality", e);
        r->at += strlen(t->text);
    }
    if (r->major_next && r->minor && r->c.seventh != 11)
        return wrong(r, "7, 9, 11 or 13 after maj", e);
    return OK;
}

static status read_bass(reader *r, err *e) {
    r->c.bass = r->c.root;
    if (*r->at != '/') return OK;
    r->at++;
    int number, note = chords_read_note(&r->at);
    if (note < 0) {
        int tone = read_degree(&r->at, &number);
        note = tone < 0 ? -1 : chords_pitch(r->c.root + tone);
    }
    if (note < 0) return wrong(r, "a bass note or degree", e);
    if (*r->at) return wrong(r, "nothing after the bass", e);
    r->c.bass = note;
    return OK;
}

static void add_tone(chord *c, int tone) {
    if (tone != CHORDS_NO_TONE) c->mask |= (uint16_t)(1u << (c->root + tone) % 12);
}

static void finish(reader *r) {
    chord *c = &r->c;
    if (r->bare && c->third == CHORDS_NO_TONE) // a second or fourth stands for the third
        c->third = r->added & 1u << 5 ? 5 : r->added & 1u << 2 ? 2 : CHORDS_NO_TONE;
    add_tone(c, 0);
    add_tone(c, c->third);
    add_tone(c, c->fifth);
    add_tone(c, c->seventh);
    for (int s = 0; s < 12; s++)
        if (r->added & 1u << s) add_tone(c, s);
    c->mask |= (uint16_t)(1u << c->bass);
}

static status check_name(const char *name, err *e) {
    size_t n = strlen(name);
    if (n == strspn(name, " \t\r\n"))
        return err_set(e, ERR_ARG, "empty chord name, expected one such as Am or N");
    if (n > CHORDS_NAME_MAX)
        return err_set(e, ERR_ARG, "chord name of %zu bytes, expected at most %d", n,
                       CHORDS_NAME_MAX);
    return OK;
}

status chords_parse_chord(chord *out, const char *name, err *e) {
    char plain[CHORDS_NAME_MAX + 1];
    status rc = check_name(name, e);
    if (rc) return rc;
    chords_plain(plain, name, 0);
    name = plain;
    if (!strcmp(name, "N") || !strcmp(name, "NC") || !strcmp(name, "N.C.")) {
        *out = (chord){.none = true,
                       .third = CHORDS_NO_TONE,
                       .fifth = CHORDS_NO_TONE,
                       .seventh = CHORDS_NO_TONE};
        return OK;
    }
    reader r = {.text = name, .at = name};
    r.c = (chord){.third = 4, .fifth = 7, .seventh = CHORDS_NO_TONE};
    int root = chords_read_note(&r.at);
    if (root < 0) return wrong(&r, "a note A to G, or N", e);
    r.c.root = root;
    if (begins(name, "Do")) // D diminished, or the note Do
        return err_set(e, ERR_ARG,
                       "'%s' can mean two things: write Ddim or D\u00b0, or C for the note Do",
                       name);
    r.harte = *r.at == ':';
    if (r.harte) {
        r.at++;
        if (!*r.at || *r.at == '/') return wrong(&r, "a chord quality", e);
        r.bare = *r.at == '(';
        if (r.bare) r.c.third = r.c.fifth = CHORDS_NO_TONE;
    }
    rc = read_qualities(&r, e);
    if (!rc) rc = read_bass(&r, e);
    if (rc) return rc;
    finish(&r);
    *out = r.c;
    return OK;
}

static status check_progression(size_t count, double bpm, err *e) {
    status rc = OK;
    if (count < 1 || count > CHORDS_MAX) {
        rc = err_set(e, ERR_ARG, "%zu chords, expected 1 to %d", count, CHORDS_MAX);
        err_about(e, "chords");
    } else if (!(bpm > 0 && bpm <= 1000)) {
        rc = err_set(e, ERR_ARG, "tempo %g, expected above 0 and at most 1000", bpm);
        err_about(e, "bpm");
    }
    return rc;
}

status chords_parse(progression *out, const char *const *names, size_t count, double bpm, err *e) {
    status rc = check_progression(count, bpm, e);
    for (size_t i = 0; !rc && i < count; i++) {
        rc = chords_parse_chord(&out->bars[i], names[i], e);
        if (rc) err_about(e, "chords[%zu]", i);
        if (rc) err_within(e, rc, "chord %zu of %zu", i + 1, count);
    }
    out->count = count;
    out->time = timing_even(bpm);
    return rc;
}

// Bytes of the separator at p: a blank, a bar, a comma, or a blank that does not break. 0: none.
static size_t apart(const char *p) {
    if (*p && strchr(" \t\r\n|,", *p)) return 1;
    return begins(p, "\u00a0") ? 2 : 0;
}

bool chords_next_name(const char **text, size_t *len) {
    const char *from = *text, *p;
    while (apart(from)) from += apart(from);
    p = from;
    while (*p && !apart(p)) {
        size_t list = *p == '(' ? strcspn(p, ")|") : 0;
        p += list && p[list] == ')' ? list + 1 : 1;
    }
    *text = p;
    *len = (size_t)(p - from);
    return *len > 0;
}

status chords_parse_text(progression *out, const char *text, double bpm, err *e) {
    size_t n = 0, len;
    while (chords_next_name(&text, &len)) {
        char name[CHORDS_NAME_MAX + 2];
        size_t kept = MIN(len, CHORDS_NAME_MAX + 1); // a name that long is refused
        memcpy(name, text - len, kept);
        name[kept] = 0;
        if (n == CHORDS_MAX)
            return err_set(e, ERR_ARG, "expected at most %d chords, found more", CHORDS_MAX);
        status rc = chords_parse_chord(&out->bars[n], name, e);
        if (rc) return err_within(e, rc, "chord %zu", n + 1);
        n++;
    }
    out->count = n;
    out->time = timing_even(bpm);
    return check_progression(n, bpm, e);
}

const chord *chords_at_beat(const progression *p, double beat) {
    int64_t n = (int64_t)p->count, i = timing_chord(&p->time, beat) % n;
    return &p->bars[i < 0 ? i + n : i];
}

const chord *chords_at(const progression *p, double t) {
    return chords_at_beat(p, timing_beat(&p->time, t));
}

void chords_fill_chroma(float *out, const progression *p, size_t rows, size_t first, int hop,
                        int rate) {
    for (size_t r = 0; r < rows; r++) {
        const chord *c = chords_at(p, (double)(first + r) * hop / rate);
        for (int i = 0; i < 12; i++) out[r * 12 + (size_t)i] = c->mask >> i & 1 ? 1.0f : 0.0f;
    }
}

static chord triad(int root, bool minor) {
    chord c = {
        .root = root, .bass = root, .third = minor ? 3 : 4, .fifth = 7, .seventh = CHORDS_NO_TONE};
    add_tone(&c, 0);
    add_tone(&c, c.third);
    add_tone(&c, c.fifth);
    return c;
}

void chords_default(progression *out, key k, double bpm) {
    static const int major[CHORDS_ASSUMED] = {0, 7, 9, 5}, minor[CHORDS_ASSUMED] = {0, 8, 3, 10};
    for (size_t i = 0; i < CHORDS_ASSUMED; i++) {
        int root = chords_pitch(k.tonic + (k.minor ? minor : major)[i]);
        out->bars[i] = triad(root, k.minor ? i == 0 : i == 2);
    }
    out->count = CHORDS_ASSUMED;
    out->time = timing_even(bpm);
}
