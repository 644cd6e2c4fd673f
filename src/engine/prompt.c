// prompt.c - see prompt.h.
#include "engine/prompt.h"

#include <string.h>

#include "base/utf8.h"
#include "request/chords.h"

const char *const prompt_stems[PROMPT_STEMS] = {"drums", "bass",  "guitar", "vocals",
                                                "piano", "synth", "other"};

// How a stem is described to a model that has heard whole mixes: what it is, and what to leave out.
static const struct {
    const char *stem, *description;
    bool pitched; // has a key and chords
} stems[PROMPT_STEMS] = {
    {"drums",
     "Isolated drum kit track, solo drums, percussion only, no melody, no other instruments",
     false},
    {"bass", "Isolated bass guitar track, solo bass line only, no drums, no other instruments",
     true},
    {"guitar", "Isolated guitar track, solo guitar only, no drums, no other instruments", true},
    {"vocals", "Isolated vocal track, solo wordless voice, a cappella, no instruments", true},
    {"piano", "Isolated piano track, solo piano only, no drums, no other instruments", true},
    {"synth", "Isolated synthesizer track, solo synth only, no drums, no other instruments", true},
    {"other", "Isolated melodic accompaniment track, strings and brass only, no drums, no vocals",
     true},
};

int prompt_find_stem(const char *name) {
    for (int i = 0; i < PROMPT_STEMS; i++)
        if (!strcmp(name, prompt_stems[i])) return i;
    return -1;
}

// Blanks of every kind, and control characters: C0, DEL, C1, line and paragraph separators.
static bool is_gap(uint32_t c) {
    return c <= 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0x2028 || c == 0x2029;
}

// The cleaned text of at most max bytes into out [max + 1]; ASCII capitals lowered when asked.
static void clean(char *out, size_t max, const char *text, bool lower) {
    bytes rest = bytes_of(text ? text : "");
    size_t n = 0;
    bool gap = false;
    for (size_t step; rest.n; rest.p += step, rest.n -= step) {
        uint32_t c;
        size_t len = utf8_next(&c, rest.p, rest.n);
        step = MAX(len, 1);
        if (len == 0) continue;
        if (is_gap(c)) {
            gap = n > 0;
        } else {
            if (n + gap + len > max) break;
            if (gap) out[n++] = ' ';
            gap = false;
            memcpy(out + n, rest.p, len);
            if (lower && c >= 'A' && c <= 'Z') out[n] = (char)(c + 32);
            n += len;
        }
    }
    out[n] = 0;
}

// At most one decimal, none when it is 0. The tempo was checked: it is positive and below 1e6.
static void add_bpm(buf *out, double bpm) {
    long long tenths = (long long)(bpm * 10 + 0.5);
    buf_printf(out, "%lld", tenths / 10);
    if (tenths % 10) buf_printf(out, ".%lld", tenths % 10);
    buf_add_str(out, " bpm");
}

static void add_part(buf *out, const char *before, const char *text, const char *after) {
    if (!*text) return;
    buf_add_str(out, ", ");
    buf_add_str(out, before);
    buf_add_str(out, text);
    buf_add_str(out, after);
}

static status read_key(char out[CHORDS_KEY_TEXT], const char *text, err *e) {
    key k;
    *out = 0;
    if (!text || !*text) return OK;
    status rc = chords_parse_key(&k, text, e);
    if (!rc) chords_key_text(out, k);
    return rc;
}

status prompt_build(buf *out, prompt_form form, const prompt_parts *parts, err *e) {
    int i = parts->stem ? prompt_find_stem(parts->stem) : -1;
    if (i < 0)
        return err_set(e, ERR_ARG,
                       "stem '%s', expected drums, bass, guitar, vocals, piano, synth or other",
                       parts->stem ? parts->stem : "");
    if (parts->bpm < 0 || !(parts->bpm < 1e6))
        return err_set(e, ERR_ARG, "tempo %g, expected 0 to 1000000", parts->bpm);
    char style[PROMPT_STYLE_MAX + 1], words[PROMPT_WORDS_MAX + 1], chords[PROMPT_CHORDS_MAX + 1];
    char key_text[CHORDS_KEY_TEXT];
    status rc = read_key(key_text, parts->key, e);
    if (rc) return rc;
    bool sentence = form == PROMPT_SENTENCE;
    clean(style, PROMPT_STYLE_MAX, parts->style, true);
    clean(words, PROMPT_WORDS_MAX, parts->words, false);
    clean(chords, PROMPT_CHORDS_MAX, parts->chords, false);
    buf_add_str(out, sentence ? stems[i].description : prompt_stems[i]);
    add_part(out, "", style, sentence ? " style" : "");
    if (parts->bpm > 0) {
        buf_add_str(out, ", ");
        add_bpm(out, parts->bpm);
    }
    if (stems[i].pitched) add_part(out, sentence ? "in " : "", key_text, "");
    if (stems[i].pitched && sentence) add_part(out, "chords ", chords, "");
    add_part(out, "", words, "");
    return buf_status(out, e);
}
