// heard.c - see heard.h.
#include "engine/musicgen/heard.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/followed.h"
#include "request/sections.h"
#include "request/stems.h"

#define NAMES_SHOWN 4
#define QUOTE_MAX 60 // bytes

// Bytes of a text that a sentence has room for, whole characters.
static size_t quoted(const uint8_t *text, size_t n) {
    return utf8_valid((bytes){text, MIN(n, QUOTE_MAX)});
}

// --- chords

// The pitch classes that the grid's columns say of a chord (control.h).
static unsigned grid_hears(const chord *c) {
    unsigned tones = 1;
    if (c->third >= 2 && c->third <= 5) tones |= 1u << c->third;
    tones |= 1u << (c->fifth == 6 || c->fifth == 8 ? c->fifth : 7);
    if (c->seventh >= 9 && c->seventh <= 11) tones |= 1u << c->seventh;
    unsigned turned = tones << c->root;
    return (turned | turned >> 12) & 0xfff;
}

static unsigned bit(int pitch) {
    return 1u << pitch;
}

// Notes besides the bass that a grid leaves out, or puts in (C5 has no third, but C(no5) a fifth).
static bool has_other_notes(const chord *c) {
    unsigned heard = grid_hears(c);
    return !c->none && ((heard ^ c->mask) & ~(heard & bit(c->bass) ? 0 : bit(c->bass)));
}

static bool has_bass(const chord *c) {
    return c->bass != c->root;
}

static bool named_before(const stemforge_request *r, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (strcmp(r->chords[k], r->chords[i]) == 0) return true;
    return false;
}

// "C/G, Am/E and 3 more": the chords that are like that, each once.
static bool list_chords(char *out, size_t cap, const condition *k, const stemforge_request *r,
                        bool (*like)(const chord *c)) {
    size_t n = 0, at = 0;
    *out = 0;
    for (size_t i = 0; i < r->chord_count; i++) {
        if (!like(&k->chords.bars[i]) || named_before(r, i)) continue;
        if (n++ < NAMES_SHOWN)
            at += (size_t)snprintf(out + at, cap - at, "%s%s", n > 1 ? ", " : "", r->chords[i]);
    }
    if (n > NAMES_SHOWN) snprintf(out + at, cap - at, " and %zu more", n - NAMES_SHOWN);
    return n > 0;
}

// A bass of its own plays the note under a chord, where the model has a grid to tell it by.
static bool plays_bass(const condition *k, const stemforge_request *r) {
    for (size_t i = 0; i < r->stem_count && k->kind == CONDITION_GRID; i++)
        if (strcmp(r->stems[i], "bass") == 0) return true;
    return false;
}

static void warn_chords(warnings *w, const condition *k, const stemforge_request *r) {
    char names[NAMES_SHOWN * (CHORDS_NAME_MAX + 2) + 32];
    if (!plays_bass(k, r) && list_chords(names, sizeof names, k, r, has_bass))
        warnings_add(w, WARNING_NOT_USED, "chords", "the bass of %s is not used: %s", names,
                     k->kind == CONDITION_GRID
                         ? "the bass stem alone plays it, and none is asked for"
                         : "this model is not told which note is lowest");
    if (k->kind == CONDITION_GRID && list_chords(names, sizeof names, k, r, has_other_notes))
        warnings_add(w, WARNING_NOT_USED, "chords",
                     "of %s only root, third, fifth and seventh are used", names);
}

static bool any_pitched(const stemforge_request *r) {
    for (size_t i = 0; i < r->stem_count; i++)
        if (stem_types[stems_find(r->stems[i])].pitched) return true;
    return false;
}

// Where no chroma says them, chords are heard in the text alone, and captions have none.
static void warn_unheard_chords(warnings *w, const condition *k, const stemforge_request *r) {
    if (k->p->own_captions)
        warnings_add(w, WARNING_NOT_USED, "chords",
                     "chords are not used: the melody takes their place");
    else if (!any_pitched(r))
        warnings_add(w, WARNING_NOT_USED, "chords", "chords are not used: drums have none");
}

static void warn_default_chords(warnings *w, const condition *k, const stemforge_request *r) {
    char text[4 * CHORDS_KEY_TEXT] = "";
    size_t at = 0;
    for (size_t i = 0; i < k->chords.count && i < 4; i++) {
        char name[CHORDS_KEY_TEXT];
        chords_triad_text(name, &k->chords.bars[i]);
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i ? " " : "", name);
    }
    warnings_add(w, WARNING_ASSUMED, "chords", "no chords were given: %s is assumed%s", text,
                 r->key ? ", from the key" : "");
}

// --- key and tempo

static void warn_key(warnings *w, const condition *k, const stemforge_request *r) {
    key read;
    char text[CHORDS_KEY_TEXT];
    if (!r->key || !*r->key || chords_parse_key(&read, r->key, NULL)) return;
    chords_key_text(text, read);
    if (read.other_scale)
        warnings_add(w, WARNING_NOT_USED, "key", "of the key '%s' only %s is used", r->key, text);
    if (read.guessed)
        warnings_add(w, WARNING_ASSUMED, "key", "the key '%s' says no mode: %s is assumed", r->key,
                     text);
    bool in_chords = k->kind == CONDITION_GRID && !r->chord_count;
    if (!any_pitched(r) && !in_chords)
        warnings_add(w, WARNING_NOT_USED, "key", "the key is not used: drums have none");
}

// --- characters

// Characters that the tokenizer has no piece for become one and the same id.
static bool has_unknown(const pipeline *p, const char *text) {
    int32_t unknown = tok_find(p->tokenizer, "<unk>");
    tok_ids ids = {0};
    bool found = false;
    if (text && unknown >= 0 && !tok_encode(p->tokenizer, bytes_of(text), &ids, NULL))
        for (size_t i = 0; i < ids.count; i++) found |= ids.ids[ids.first + i] == unknown;
    tok_ids_deinit(&ids);
    return found;
}

static void warn_unknown(warnings *w, const pipeline *p, const char *field, const char *text) {
    if (!has_unknown(p, text)) return;
    warnings_add(w, WARNING_NOT_USED, field,
                 "the model does not know all characters of \"%.*s\": those are not read",
                 (int)quoted((const uint8_t *)text, strlen(text)), text);
}

// What the model was not trained on: it is done as well as it can.
static void warn_timing(warnings *w, const condition *k, const stemforge_request *r) {
    bool timed = condition_is_timed(k);
    bool known = k->p->grid_meters >> (k->time.meter - meters) & 1;
    if (timed && !known)
        warnings_add(
            w, WARNING_NOT_USED, "meter",
            "this model was not trained on it: bars and chords are those of %s, its accents "
            "may not be",
            k->time.meter->name);
    else if (!timed && k->time.meter != &meters[0])
        warnings_add(w, WARNING_NOT_USED, "meter",
                     "this model is not told the meter: %s is only the length of bars",
                     k->time.meter->name);
    if (r->chord_count && k->time.chords_per_bar > k->p->chords_per_bar && timed)
        warnings_add(w, WARNING_NOT_USED, "chords_per_bar",
                     "this model was trained on at most %lld a bar: it may miss changes within one",
                     (long long)k->p->chords_per_bar);
}

// A model hears it in its text alone: it is done as well as the words are followed.
static void warn_density(warnings *w, const stemforge_request *r) {
    density_part parts[SECTIONS_MAX];
    if (sections_densities(parts, r) > 1 || parts[0].density)
        warnings_add(w, WARNING_NOT_USED, "sections",
                     "a density is words of the text only: this model follows it a little, or not "
                     "at all");
}

// What only a model that removes noise has.
static void warn_denoising(warnings *w, const stemforge_request *r) {
    static const char *const why = "it is for Stable Audio; MusicGen has nothing like it";
    if (r->steps) warnings_add(w, WARNING_NOT_USED, "steps", "steps is not used: %s", why);
    if (r->sampler && *r->sampler)
        warnings_add(w, WARNING_NOT_USED, "sampler", "sampler is not used: %s", why);
    if (r->canvas > 0) warnings_add(w, WARNING_NOT_USED, "canvas", "canvas is not used: %s", why);
    if (r->past_canvas)
        warnings_add(w, WARNING_NOT_USED, "past_canvas", "past_canvas is not used: %s", why);
    if (r->init_audio)
        warnings_add(w, WARNING_NOT_USED, "init_audio", "init_audio is not used: %s", why);
    if (r->negative_prompt && *r->negative_prompt)
        warnings_add(w, WARNING_NOT_USED, "negative_prompt", "negative_prompt is not used: %s",
                     why);
}

void heard_of_request(warnings *w, const condition *k, const stemforge_request *r) {
    bool timed = condition_is_timed(k);
    if (timed && !(r->bpm > 0))
        warnings_add(w, WARNING_ASSUMED, "bpm", "no tempo was given: %g bpm is assumed",
                     k->time.bpm);
    warn_key(w, k, r);
    if (!r->chord_count && k->kind == CONDITION_GRID)
        warn_default_chords(w, k, r);
    else if (r->chord_count && timed)
        warn_chords(w, k, r);
    else if (r->chord_count)
        warn_unheard_chords(w, k, r);
    warn_timing(w, k, r);
    warn_density(w, r);
    if (followed_asks(r, "melody") && !k->p->chroma)
        warnings_add(w, WARNING_NOT_USED, "follow",
                     "the recording's melody is not used: this model was not made to follow one");
    warn_denoising(w, r);
    warn_unknown(w, k->p, "style", r->style);
    warn_unknown(w, k->p, "prompt", r->prompt);
}

// --- text

status heard_line(buf *out, const pipeline *p, const prompt_parts *parts, err *e) {
    return prompt_build(out, p->own_captions ? PROMPT_CAPTION : PROMPT_SENTENCE, parts, e);
}

// Whether the model reads all of the first n bytes of a line.
static bool fits(const pipeline *p, bytes line, size_t n) {
    tok_ids ids = {0};
    bool ok = !tok_encode(p->tokenizer, (bytes){line.p, n}, &ids, NULL) && !ids.cut;
    tok_ids_deinit(&ids);
    return ok;
}

// The first byte of the first word that is not read. 0: all of it or nothing is known.
static size_t first_unread(const pipeline *p, bytes line) {
    size_t lo = 0, hi = line.n; // [0, lo) is read, [0, hi) is not
    while (lo < hi) {
        size_t cut = lo + (hi - lo) / 2;
        while (cut > lo && line.p[cut] != ' ') cut--;
        if (cut == lo) { // no blank in the lower half: the next one in the upper
            cut = lo + (hi - lo) / 2 + 1;
            while (cut < hi && line.p[cut] != ' ') cut++;
        }
        if (cut >= hi) break;
        if (fits(p, line, cut))
            lo = cut;
        else
            hi = cut;
    }
    return lo + (lo < line.n && line.p[lo] == ' ');
}

static bool is_said(const warnings *w, const char *code, const char *field) {
    for (size_t i = 0; i < w->n; i++)
        if (!strcmp(w->item[i].code, code) && !strcmp(w->item[i].field, field)) return true;
    return false;
}

static void warn_cut(warnings *w, const pipeline *p, const char *field, const char *stem,
                     bytes line, const tok_ids *ids) {
    size_t at = first_unread(p, line), n = quoted(line.p + at, line.n - at);
    if (is_said(w, WARNING_TEXT_CUT, field)) return; // of another stem
    warnings_add(w, WARNING_TEXT_CUT, field,
                 "the model reads %zu tokens of text, found %zu for %s: \"%.*s%s\" is not read",
                 ids->count, ids->count + ids->cut, stem, (int)n, line.p + at,
                 at + n < line.n ? " ..." : "");
}

// The parts of a line in its order. in_chroma: the model hears it without the text, too.
typedef struct {
    const char *field;
    bool given, in_chroma;
} line_part;

static void put_part(prompt_parts *to, size_t i, const prompt_parts *from) {
    if (i == 0) to->style = from->style;
    if (i == 1) to->bpm = from->bpm;
    if (i == 2) to->key = from->key;
    if (i == 3) to->chords = from->chords;
    if (i == 4) to->words = from->words;
}

// Warns of the first part that does not fit, and of all behind it.
static status find_cut(warnings *w, const condition *k, const prompt_parts *all, const tok_ids *ids,
                       err *e) {
    bool timed = condition_is_timed(k), chords = all->chords && *all->chords;
    const line_part parts[] = {{"style", all->style != NULL, false},
                               {"bpm", all->bpm > 0, timed},
                               {"key", all->key != NULL, k->kind == CONDITION_GRID && !chords},
                               {"chords", chords, timed},
                               {"prompt", all->words != NULL, false}};
    prompt_parts some = {.stem = all->stem};
    buf whole, line;
    buf_init(&whole, PROMPT_LINE_MAX);
    buf_init(&line, PROMPT_LINE_MAX);
    status rc = heard_line(&whole, k->p, all, e);
    for (size_t i = 0; !rc && i < ARRAY_LEN(parts); i++) {
        size_t before = line.n;
        if (!parts[i].given) continue;
        put_part(&some, i, all);
        buf_clear(&line);
        rc = heard_line(&line, k->p, &some, e);
        bool said = line.n == before || parts[i].in_chroma; // drums have no key
        if (!rc && !said && !fits(k->p, buf_bytes(&line), line.n))
            warn_cut(w, k->p, parts[i].field, all->stem, buf_bytes(&whole), ids);
    }
    buf_deinit(&line);
    buf_deinit(&whole);
    return rc;
}

status heard_of_text(warnings *w, const condition *k, const prompt_parts *parts, const tok_ids *ids,
                     err *e) {
    return ids->cut ? find_cut(w, k, parts, ids, e) : OK;
}
