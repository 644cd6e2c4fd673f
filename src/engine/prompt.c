// prompt.c - see prompt.h.
#include "engine/prompt.h"

#include <string.h>

#include "base/utf8.h"
#include "request/chords.h"
#include "request/stems.h"

// Blanks of every kind, and control characters: C0, DEL, C1, line and paragraph separators.
static bool is_gap(uint32_t c) {
    return c <= 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0x2028 || c == 0x2029;
}

// Appends the cleaned text; ASCII capitals are lowered when asked.
static void add_clean(buf *out, const char *text, bool lower) {
    bytes rest = bytes_of(text ? text : "");
    bool gap = false, begun = false;
    for (size_t step; rest.n; rest.p += step, rest.n -= step) {
        uint32_t c;
        size_t len = utf8_next(&c, rest.p, rest.n);
        step = MAX(len, 1);
        if (len == 0) continue;
        if (is_gap(c)) {
            gap = begun;
            continue;
        }
        if (gap) buf_add_char(out, ' ');
        gap = false;
        begun = true;
        if (lower && c >= 'A' && c <= 'Z')
            buf_add_char(out, (char)(c + 32));
        else
            buf_add(out, rest.p, len);
    }
}

// At most one decimal, none when it is 0. The tempo was checked: it is positive and below 1e6.
static void add_bpm(buf *out, double bpm, const char *unit) {
    long long tenths = (long long)(bpm * 10 + 0.5);
    buf_printf(out, "%lld", tenths / 10);
    if (tenths % 10) buf_printf(out, ".%lld", tenths % 10);
    buf_add_str(out, unit);
}

// ", before TEXT after", or nothing when the text is empty.
static void add_part(buf *out, const char *before, const char *text, bool lower,
                     const char *after) {
    buf cleaned;
    buf_init(&cleaned, PROMPT_LINE_MAX);
    add_clean(&cleaned, text, lower);
    if (cleaned.failed) out->failed = cleaned.failed;
    if (buf_bytes(&cleaned).n) {
        buf_add_str(out, ", ");
        buf_add_str(out, before);
        buf_add_str(out, buf_str(&cleaned));
        buf_add_str(out, after);
    }
    buf_deinit(&cleaned);
}

static status unknown_stem(const char *name, err *e) {
    buf names;
    buf_init(&names, 400);
    stems_add_names(&names, ", ", " or ");
    err_set(e, ERR_ARG, "stem '%.40s', expected %s", name ? name : "", buf_str(&names));
    buf_deinit(&names);
    return ERR_ARG;
}

static status read_key(char out[CHORDS_KEY_TEXT], const char *text, err *e) {
    key k;
    *out = 0;
    if (!text || !*text) return OK;
    status rc = chords_parse_key(&k, text, e);
    if (!rc) chords_key_text(out, k);
    return rc;
}

// What a sentence and a caption say behind the stem.
static void add_facts(buf *out, bool sentence, const stem_type *stem, const prompt_parts *parts,
                      const char *key_text) {
    add_part(out, "", parts->style, true, sentence ? " style" : "");
    if (parts->bpm > 0) {
        buf_add_str(out, ", ");
        add_bpm(out, parts->bpm, " bpm");
    }
    if (stem->pitched) add_part(out, sentence ? "in " : "", key_text, false, "");
    if (stem->pitched && sentence) add_part(out, "chords ", parts->chords, false, "");
    add_part(out, "", parts->density, false, "");
    add_part(out, "", parts->words, false, "");
}

// Tags, key, bars and tempo, and the comma at the end.
static void add_loop(buf *out, const stem_type *stem, const prompt_parts *parts,
                     const char *key_text) {
    add_part(out, "", parts->style, true, "");
    add_part(out, "", parts->density, false, "");
    add_part(out, "", parts->words, false, "");
    if (stem->pitched) add_part(out, "", key_text, false, "");
    if (parts->bars > 0) buf_printf(out, ", %d bars", parts->bars);
    if (parts->bpm > 0) {
        buf_add_str(out, ", ");
        add_bpm(out, parts->bpm, "BPM");
    }
    buf_add_char(out, ',');
}

status prompt_build(buf *out, prompt_form form, const prompt_parts *parts, err *e) {
    int i = parts->stem ? stems_find(parts->stem) : -1;
    if (i < 0) return unknown_stem(parts->stem, e);
    if (parts->bpm < 0 || !(parts->bpm < 1e6))
        return err_set(e, ERR_ARG, "tempo %g, expected 0 to 1000000", parts->bpm);
    const stem_type *stem = &stem_types[i];
    char key_text[CHORDS_KEY_TEXT];
    status rc = read_key(key_text, parts->key, e);
    if (rc) return rc;
    bool sentence = form == PROMPT_SENTENCE;
    buf_add_str(out, sentence ? stem->description : stem->name);
    if (form == PROMPT_LOOP)
        add_loop(out, stem, parts, key_text);
    else
        add_facts(out, sentence, stem, parts, key_text);
    return buf_status(out, e);
}

status prompt_join_chords(buf *out, const stemforge_request *r, err *e) {
    buf_init(out, CHORDS_MAX * (CHORDS_NAME_MAX + 1));
    for (size_t i = 0; i < r->chord_count; i++) buf_printf(out, "%s%s", i ? " " : "", r->chords[i]);
    return buf_status(out, e);
}
