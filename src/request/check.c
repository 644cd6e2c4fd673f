// check.c - see check.h.
#include "request/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/near.h"
#include "base/utf8.h"
#include "request/chords.h"
#include "request/length.h"
#include "request/sections.h"
#include "request/stem_name.h"
#include "request/stems.h"

#define DETAIL_MAX 400
#define AT(member) offsetof(stemforge_request, member)

typedef struct {
    const field *f;
    check_fault fault;
    void *arg;
} checker;

static void say(const checker *c, int64_t item, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void say(const checker *c, int64_t item, const char *fmt, ...) {
    char text[DETAIL_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->fault(c->arg, c->f, item, text);
}

static void check_text(const checker *c, const char *s) {
    if (!s) return;
    bytes text = bytes_of(s);
    size_t good = utf8_valid(text), n = utf8_length(text);
    err e;
    key k;
    if (good < text.n)
        say(c, -1, "expected UTF-8, found byte 0x%02x at byte %zu", text.p[good], good + 1);
    else if (strstr(s, JSON_NO_TEXT))
        say(c, -1, "expected text, found \\u0000 or half a surrogate pair");
    else if ((double)n > c->f->hi)
        say(c, -1, "expected at most %g characters, found %zu", c->f->hi, n);
    else if (c->f->kind == FIELD_KEY && n && chords_parse_key(&k, s, &e))
        say(c, -1, "%s", e.text);
    else if (c->f->kind == FIELD_METER && n && !meter_find(s))
        say(c, -1, "expected 4/4, 3/4 or 6/8, found \"%s\"", s);
}

static void check_number(const checker *c, double v, double hi) {
    bool none = v == c->f->absent && !field_has_default(c->f);
    if (none || (v >= c->f->lo && v <= hi)) return;
    say(c, -1, "expected %g to %g, found %g", c->f->lo, hi, v);
}

static void check_stem(const checker *c, const char *const *names, size_t i) {
    buf all;
    buf_init(&all, 200);
    stems_add_names(&all, ", ", " or ");
    if (!names[i] || stems_find(names[i]) < 0) {
        char maybe[NEAR_TEXT];
        near meant = {.word = names[i] ? names[i] : ""};
        for (int k = 0; k < STEMFORGE_STEMS_MAX; k++) near_try(&meant, stem_types[k].name);
        near_text(maybe, &meant, "");
        say(c, (int64_t)i, "expected %s, found \"%.40s\"%s", buf_str(&all), meant.word, maybe);
    } else {
        for (size_t k = 0; k < i; k++) {
            if (!names[k] || strcmp(names[k], names[i]) != 0) continue;
            say(c, (int64_t)i, "%s is there twice", names[i]);
            break;
        }
    }
    buf_deinit(&all);
}

static void check_chord(const checker *c, const char *name, size_t i) {
    chord read;
    err e;
    if (chords_parse_chord(&read, name ? name : "", &e)) say(c, (int64_t)i, "%s", e.text);
}

static void check_follow(const checker *c, const char *const *names, size_t i) {
    static const char *const known[] = {"tempo", "chords", "melody"};
    const char *name = names[i] ? names[i] : "";
    bool good = false;
    for (size_t k = 0; k < ARRAY_LEN(known); k++) good |= strcmp(known[k], name) == 0;
    if (!good) say(c, (int64_t)i, "expected tempo, chords or melody, found \"%.40s\"", name);
    for (size_t k = 0; good && k < i; k++)
        if (names[k] && strcmp(names[k], name) == 0) {
            say(c, (int64_t)i, "%s is there twice", name);
            return;
        }
}

static void check_section(const checker *c, const char *text, size_t i) {
    section read;
    err e;
    if (section_parse(&read, text ? text : "", &e)) say(c, (int64_t)i, "%s", e.text);
}

static void check_list(const checker *c, const stemforge_request *r) {
    size_t n;
    const char *const *names = field_list(c->f, r, &n);
    if (!names && n) {
        say(c, -1, "expected %zu names, found no list (NULL)", n);
        return;
    }
    if ((double)n < c->f->lo || (double)n > c->f->hi) {
        say(c, -1, "expected %g to %g names, found %zu", c->f->lo, c->f->hi, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (c->f->kind == FIELD_STEMS)
            check_stem(c, names, i);
        else if (c->f->kind == FIELD_FOLLOW)
            check_follow(c, names, i);
        else if (c->f->kind == FIELD_SECTIONS)
            check_section(c, names[i], i);
        else
            check_chord(c, names[i], i);
    }
}

void check_field(const field *f, const stemforge_request *r, double seconds_max, check_fault fault,
                 void *arg) {
    const checker c = {f, fault, arg};
    bool seconds = f->at == AT(seconds);
    if (f->kind == FIELD_SEED || f->kind == FIELD_FLAG) return; // each value is one
    if (field_is_text(f))
        check_text(&c, field_text(f, r));
    else if (field_is_list(f))
        check_list(&c, r);
    else
        check_number(&c, field_number(f, r), seconds && seconds_max > 0 ? seconds_max : f->hi);
}

static checker checker_of(size_t at, check_fault fault, void *arg) {
    size_t i = 0;
    while (field_rows[i].at != at) i++;
    return (checker){&field_rows[i], fault, arg};
}

// Of bars or sections.
static void check_bars(const checker *c, const stemforge_request *r, double most) {
    double seconds = r->bpm > 0 ? length_seconds(r) : 0;
    int bars = length_bars(r);
    if (r->seconds > 0)
        say(c, -1, "expected bars or seconds, found both: %d bars and %g s; leave one out", bars,
            r->seconds);
    else if (!(r->bpm > 0))
        say(c, -1, "expected a tempo (bpm) beside %d bars, found none", bars);
    else if (seconds > most)
        say(c, -1, "expected at most %g s, found %d bars of %g s", most, bars, seconds / bars);
}

static bool is_asked(const stemforge_request *r, bytes stem) {
    for (size_t i = 0; i < r->stem_count; i++)
        if (strlen(r->stems[i]) == stem.n && !memcmp(r->stems[i], stem.p, stem.n)) return true;
    return false;
}

// Each stem that a section names is asked for, and each that is asked for plays somewhere.
static void check_players(const checker *c, const stemforge_request *r) {
    section s[SECTIONS_MAX];
    size_t n = sections_of(s, r);
    for (size_t i = 0; i < n; i++) {
        bytes names = s[i].stems, word;
        while (section_next_stem(&names, &word))
            if (!is_asked(r, word))
                say(c, (int64_t)i, "expected stems that are asked for, found %.*s", (int)word.n,
                    (const char *)word.p);
    }
    for (size_t k = 0; k < r->stem_count; k++) {
        size_t i = 0;
        while (i < n && !section_plays(&s[i], r->stems[k])) i++;
        if (i == n)
            say(c, -1,
                "expected a section in which %s plays, found none: leave it out of the stems",
                r->stems[k]);
    }
}

static void check_sections(const checker *c, const stemforge_request *r) {
    int most = CHORDS_MAX / MAX(r->chords_per_bar, 1), bars = length_bars(r);
    if (r->bars > 0)
        say(c, -1, "expected bars or sections, found both: sections have their own bars");
    else if (bars > most)
        say(c, -1, "expected at most %d bars in all, found %d", most, bars);
    else if (r->loop)
        say(c, -1, "expected no loop beside them: a loop is one part");
    else if (r->stems)
        check_players(c, r);
}

static void check_ending(const checker *c, const stemforge_request *r) {
    int most = CHORDS_MAX / MAX(r->chords_per_bar, 1), bars = length_bars(r);
    if (bars <= 0)
        say(c, -1, "expected bars or sections beside it, found none: it ends with a whole bar");
    else if (bars > most)
        say(c, -1, "expected at most %d bars beside it, found %d", most, bars);
    else if (r->loop)
        say(c, -1, "expected no loop beside it: a loop has no end");
}

static bool follows(const stemforge_request *r, const char *what) {
    for (size_t i = 0; i < r->follow_count; i++)
        if (r->follow[i] && strcmp(r->follow[i], what) == 0) return true;
    return false;
}

static void check_followed(const checker *c, const stemforge_request *r) {
    if (follows(r, "chords") && !follows(r, "tempo"))
        say(c, -1, "expected tempo beside chords, found chords alone: they are heard bar by bar");
    else if (follows(r, "chords") && r->chord_count)
        say(c, -1, "expected chords from the recording or from the request, found both");
    else if (follows(r, "tempo") && length_bars(r) > 0)
        say(c, -1,
            "expected a length in seconds, found bars: the recording says how long they are");
    else if (follows(r, "melody") && r->melody)
        say(c, -1, "expected a melody from the recording or from a file, found both");
}

static void check_more(const checker *c, const stemforge_request *r) {
    if (!r->continue_from)
        say(c, -1, "expected a file to go on from (continue_from) beside it, found none");
    else if (r->seconds > 0 || length_bars(r) > 0)
        say(c, -1, "expected it alone, found %s too: either says the whole length; leave one out",
            length_bars(r) > 0 ? "bars" : "seconds");
}

static void check_no_fade(const checker *c, const stemforge_request *r) {
    double v = field_number(c->f, r);
    if (v > 0) say(c, -1, "expected 0 or nothing, found %g: a loop has no fades", v);
}

#define DRAWN_MAX 4.0 // the most that a request and a model may say together

static void check_temperatures(const checker *c, const stemforge_request *r) {
    size_t n = r->temperatures && r->stem_count <= STEMFORGE_STEMS_MAX ? r->stem_count : 0;
    for (size_t i = 0; i < n; i++)
        if (!(r->temperatures[i] <= DRAWN_MAX))
            say(c, -1, "expected at most %g for each stem, found %g", DRAWN_MAX,
                r->temperatures[i]);
}

static void check_name(const checker *c, const stemforge_request *r) {
    char name[STEM_NAME_MAX + 1];
    err e;
    size_t n = r->stems && r->stem_count <= STEMFORGE_STEMS_MAX ? r->stem_count : 0;
    for (size_t i = 0; i < n; i++)
        if (r->stems[i] && stem_name(name, r, r->stems[i], &e)) {
            say(c, -1, "%s", e.text);
            return;
        }
}

void check_together(const stemforge_request *r, double seconds_max, check_fault fault, void *arg) {
    const checker seconds = checker_of(AT(seconds), fault, arg);
    const checker bars = checker_of(AT(bars), fault, arg), loop = checker_of(AT(loop), fault, arg);
    const checker in = checker_of(AT(fade_in_seconds), fault, arg);
    const checker out = checker_of(AT(fade_out_seconds), fault, arg);
    const checker temperature = checker_of(AT(temperature), fault, arg);
    const checker more = checker_of(AT(more_seconds), fault, arg);
    const checker follow = checker_of(AT(follow), fault, arg);
    double most = seconds_max > 0 ? seconds_max : seconds.f->hi;
    const checker name = checker_of(AT(name), fault, arg);
    const checker parts = checker_of(AT(sections), fault, arg);
    const checker ending = checker_of(AT(ending), fault, arg);
    bool sound_sections = sections_bars(r) > 0; // what is no section was told
    check_temperatures(&temperature, r);
    if (r->name) check_name(&name, r);
    if (r->more_seconds > 0) check_more(&more, r);
    if (r->follow && r->follow_count <= 3) check_followed(&follow, r);
    if (sound_sections) check_sections(&parts, r);
    if (r->ending) check_ending(&ending, r);
    if ((r->section_count || r->ending) && r->continue_from)
        say(r->ending ? &ending : &parts, -1,
            "expected no file to go on from beside it, found %.200s", r->continue_from);
    if (length_bars(r) > 0)
        check_bars(r->section_count ? &parts : &bars, r, most);
    else if (!field_is_given(seconds.f, r))
        check_number(&seconds, length_seconds(r), most);
    if (!r->loop) return;
    if (r->bars <= 0) say(&loop, -1, "expected bars beside it, found none: a loop is whole bars");
    if (r->bars * MAX(r->chords_per_bar, 1) > CHORDS_MAX)
        say(&bars, -1, "expected at most %d bars of %d chords in a loop, found %d",
            CHORDS_MAX / r->chords_per_bar, r->chords_per_bar, r->bars);
    if (r->continue_from)
        say(&loop, -1,
            "expected no file to go on from beside it, found %.200s: a loop has no front",
            r->continue_from);
    check_no_fade(&in, r);
    check_no_fade(&out, r);
}

void check_request(const stemforge_request *r, double seconds_max, check_fault fault, void *arg) {
    for (size_t i = 0; i < field_count; i++)
        check_field(&field_rows[i], r, seconds_max, fault, arg);
    check_together(r, seconds_max, fault, arg);
}

static void keep_first(void *arg, const field *f, int64_t item, const char *detail) {
    err *e = arg;
    char where[48];
    if (e->code) return;
    if (item < 0)
        snprintf(where, sizeof where, "%s", f->name);
    else
        snprintf(where, sizeof where, "%s[%d]", f->name, (int)item);
    err_field(e, where, "%s", detail);
}

status check_first(const stemforge_request *r, err *e) {
    err first = {0};
    check_request(r, 0, keep_first, &first);
    if (first.code && e) *e = first;
    return first.code;
}
