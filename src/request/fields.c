// fields.c - see fields.h.
#include "request/fields.h"

#include <string.h>

#include "base/hash.h"
#include "request/chords.h"
#include "request/stems.h"

#define SEED_BITS 53
#define FADE_IN "0.1, on the command line and the page 0.003, of a loop 0"

#define AT(member) offsetof(stemforge_request, member)
#define LIST(member, count) AT(member), AT(count)
#define ONE(member) AT(member), 0

// In the order of help. The samplers' group comes last.
const field field_rows[] = {
    {"stems", "target_stems", "stem", "stems", FIELD_STEMS, LIST(stems, stem_count), 1,
     STEMFORGE_STEMS_MAX, 0, false, "NAME", "once for each", NULL, "Stems", "drums"},
    {"bpm", "parameters.target_bpm", "bpm", "bpm", FIELD_NUMBER, ONE(bpm), 20, 400, 0, false, "N",
     "tempo", NULL, "Tempo (bpm)", "120"},
    {"style", "parameters.style", "style", "style", FIELD_TEXT, ONE(style), 0, 256, 0, false,
     "TEXT", "genre: rock, jazz, house ...", NULL, "Style", "rock"},
    {"key", "parameters.key", "key", "key", FIELD_KEY, ONE(key), 0, 64, 0, false, "TEXT",
     "key: \"A minor\"", NULL, "Key", "A minor"},
    {"chords", "parameters.chord_progression", "chords", "chords", FIELD_CHORDS,
     LIST(chords, chord_count), 0, STEMFORGE_CHORDS_MAX, 0, false, "TEXT",
     "one chord a bar, repeated: \"Am F C G\"", NULL, "Chords, one a bar", "C G Am F"},
    {"chords_per_bar", "parameters.chords_per_bar", "chords-per-bar", "chords_per_bar",
     FIELD_INTEGER, ONE(chords_per_bar), 1, 4, 0, false, "N", "so many of the chords in each bar",
     "1", "Chords a bar", "2"},
    {"meter", "parameters.time_signature", "meter", "meter", FIELD_METER, ONE(meter), 0, 8, 0,
     false, "TEXT", "4/4, 3/4 or 6/8; the tempo counts quarter notes", "4/4", "Time signature",
     "3/4"},
    {"prompt", "parameters.prompt", "prompt", "prompt", FIELD_TEXT, ONE(prompt), 0, 4096, 0, false,
     "TEXT", "your words, added to each stem's description", NULL, "Prompt",
     "warm, live, a little swing"},
    {"negative_prompt", "parameters.negative_prompt", "negative-prompt", "negative_prompt",
     FIELD_TEXT, ONE(negative_prompt), 0, 4096, 0, false, "TEXT",
     "Stable Audio: what it should not sound like", NULL, "Not like", "low quality"},
    {"steps", "parameters.steps", "steps", "steps", FIELD_INTEGER, ONE(steps), 1, 500, 0, false,
     "N", "Stable Audio: steps from noise to sound", "the model's", "Steps", "100"},
    {"sampler", "parameters.sampler", "sampler", "sampler", FIELD_TEXT, ONE(sampler), 0, 40, 0,
     false, "NAME", "Stable Audio: what goes from step to step: dpmpp-3m-sde ...", "the model's",
     "Sampler", "dpmpp-3m-sde"},
    {"canvas", "parameters.canvas_seconds", "canvas", "canvas", FIELD_NUMBER, ONE(canvas), 0.1, 600,
     0, false, "SECONDS", "Stable Audio: what is worked on, of which a stem is the beginning",
     "the model's", "Canvas (s)", "47"},
    {"past_canvas", "parameters.past_canvas", "past-canvas", "past_canvas", FIELD_FLAG,
     ONE(past_canvas), 0, 1, 0, false, NULL,
     "Stable Audio: a stem may be longer than the canvas, it then goes on canvas by canvas",
     "refused", "Past the canvas", "false"},
    {"seconds", "parameters.duration_seconds", "duration", "duration", FIELD_NUMBER, ONE(seconds),
     0.1, 600, -1, false, "SECONDS", "length of each stem", "the bars, else 10", "Length (s)",
     "10"},
    {"bars", "parameters.bars", "bars", "bars", FIELD_INTEGER, ONE(bars), 1, CHORDS_MAX, 0, false,
     "N", "length in bars of the meter at the tempo, in place of seconds", NULL, "Length (bars)",
     "4"},
    {"takes", "parameters.takes", "takes", "takes", FIELD_INTEGER, ONE(takes), 1,
     STEMFORGE_TAKES_MAX, 0, false, "N",
     "takes of each stem: all are kept, the best by type, leak, held pitch and faults is the stem",
     "1", "Takes", "4"},
    {"loop", "parameters.loop", "loop", "loop", FIELD_FLAG, ONE(loop), 0, 1, 0, false, NULL,
     "the bars repeat without a seam; no fades", NULL, "Loop", "false"},
    {"sections", "parameters.sections", "section", "sections", FIELD_SECTIONS,
     LIST(sections, section_count), 0, STEMFORGE_SECTIONS_MAX, 0, false, "TEXT",
     "a part of the piece, in place of bars, once for each: its bars, chords, the stems that play "
     "and their density (sparse, normal, dense), \"8; Am F C G; drums bass; sparse\"",
     NULL, "Sections", "8; Am F C G; drums bass; sparse"},
    {"ending", "parameters.ending", "ending", "ending", FIELD_FLAG, ONE(ending), 0, 1, 0, false,
     NULL, "the last bar is an end: the tonic, which sounds a beat and dies away", NULL, "Ending",
     "false"},
    {"fade_in_seconds", "parameters.fade_in_seconds", "fade-in", "fade_in", FIELD_NUMBER,
     ONE(fade_in_seconds), 0, 30, -1, false, "SECONDS", "fade at the beginning", FADE_IN,
     "Fade in (s)", "0.003"},
    {"fade_out_seconds", "parameters.fade_out_seconds", "fade-out", "fade_out", FIELD_NUMBER,
     ONE(fade_out_seconds), 0, 30, -1, false, "SECONDS", "fade at the end", "0.1, of a loop 0",
     "Fade out (s)", "0.1"},
    {"recording", NULL, "follow", "recording", FIELD_PATH, ONE(recording), 0, 4096, 0, false,
     "FILE", "recording whose beats and chords the stems follow", NULL, NULL, NULL},
    {"follow", "parameters.follow", "follow-what", "follow", FIELD_FOLLOW,
     LIST(follow, follow_count), 0, 3, 0, false, "NAME",
     "tempo, chords, melody: what of the recording, once for each", NULL, "Follow of the recording",
     "tempo"},
    {"melody", NULL, "melody", "melody", FIELD_PATH, ONE(melody), 0, 4096, 0, false, "FILE",
     "melody models: audio whose pitch classes to follow", NULL, NULL, NULL},
    {"continue_from", NULL, "continue", "continue", FIELD_PATH, ONE(continue_from), 0, 4096, 0,
     false, "FILE", "audio, or a .safetensors of codes, that each stem goes on from", NULL, NULL,
     NULL},
    {"more_seconds", NULL, "more", "more", FIELD_NUMBER, ONE(more_seconds), 0.1, 600, 0, false,
     "SECONDS", "length behind what --continue names, in place of the whole length", NULL, NULL,
     NULL},
    {"init_audio", NULL, "init-audio", "init_audio", FIELD_PATH, ONE(init_audio), 0, 4096, 0, false,
     "FILE", "Stable Audio: audio to vary, or to mend in part", NULL, NULL, NULL},
    {"strength", NULL, "strength", "strength", FIELD_NUMBER, ONE(strength), 0.01, 1, 0, false, "N",
     "of the variation, 1: all is new", "0.4, of a part 1", NULL, NULL},
    {"remake_from", NULL, "remake-from", "remake_from", FIELD_NUMBER, ONE(remake_from), 0, 600, -1,
     false, "SECONDS", "with --init-audio: what comes before is kept", NULL, NULL, NULL},
    {"remake_to", NULL, "remake-to", "remake_to", FIELD_NUMBER, ONE(remake_to), 0, 600, -1, false,
     "SECONDS", "with --init-audio: what comes after is kept", NULL, NULL, NULL},
    {"name", "parameters.file_name", "name", "name", FIELD_TEXT, ONE(name), 0, 200, 0, false,
     "PATTERN", "files' names, as \"{style}_{bpm}bpm_{key}_{stem}\"; also {seed}", "{stem}",
     "File names", "{style}_{bpm}bpm_{key}_{stem}"},
    {"seed", "parameters.random_seed", "seed", "seed", FIELD_SEED, ONE(seed), 0, 0, 0, true, "N",
     "same request and seed, same bytes", "drawn", "Seed", "7"},
    {"temperature", "parameters.temperature", "temperature", "temperature", FIELD_NUMBER,
     ONE(temperature), 0, 2, 1, true, "N", "0 is greedy; times the model's own for each stem", "1",
     "Temperature", "1"},
    {"top_k", "parameters.top_k", "top-k", "top_k", FIELD_INTEGER, ONE(top_k), 0, 65536, -1, true,
     "N", "draw from the N best codes, 0: all", "the model's, else 250", "Best codes", "250"},
    {"top_p", "parameters.top_p", "top-p", "top_p", FIELD_NUMBER, ONE(top_p), 0, 1, 0, true, "N",
     "draw from the best codes of so much probability, 0: off", "0", "Best probability", "0"},
    {"guidance", "parameters.guidance", "guidance", "guidance", FIELD_NUMBER, ONE(guidance), 0, 100,
     -1, true, "N", "how closely to follow the text, 1: unguided", "the model's, else 3",
     "Guidance", "3"},
};
const size_t field_count = ARRAY_LEN(field_rows);

const field *fields_find_wire(const char *wire) {
    for (size_t i = 0; i < field_count; i++)
        if (field_rows[i].wire && strcmp(field_rows[i].wire, wire) == 0) return &field_rows[i];
    return NULL;
}

const field *fields_find(const char *name) {
    for (size_t i = 0; i < field_count; i++)
        if (strcmp(field_rows[i].name, name) == 0) return &field_rows[i];
    return NULL;
}

const char *field_wire_name(const field *f) {
    const char *dot = f->wire ? strrchr(f->wire, '.') : NULL;
    return dot ? dot + 1 : f->wire;
}

static const void *member(const field *f, const stemforge_request *r) {
    return (const char *)r + f->at;
}

static void *member_of(const field *f, stemforge_request *r) {
    return (char *)r + f->at;
}

double field_number(const field *f, const stemforge_request *r) {
    if (f->kind == FIELD_FLAG) return *(const bool *)member(f, r);
    if (f->kind == FIELD_INTEGER) return *(const int *)member(f, r);
    return *(const double *)member(f, r);
}

const char *field_text(const field *f, const stemforge_request *r) {
    return *(const char *const *)member(f, r);
}

uint64_t field_seed(const field *f, const stemforge_request *r) {
    return *(const uint64_t *)member(f, r);
}

const char *const *field_list(const field *f, const stemforge_request *r, size_t *count) {
    *count = *(const size_t *)((const char *)r + f->count_at);
    return *(const char *const *const *)member(f, r);
}

void field_set_number(const field *f, stemforge_request *r, double v) {
    if (f->kind == FIELD_FLAG)
        *(bool *)member_of(f, r) = v != 0;
    else if (f->kind == FIELD_INTEGER)
        *(int *)member_of(f, r) = (int)v;
    else
        *(double *)member_of(f, r) = v;
}

void field_set_text(const field *f, stemforge_request *r, const char *s) {
    *(const char **)member_of(f, r) = s;
}

void field_set_seed(const field *f, stemforge_request *r, uint64_t v) {
    *(uint64_t *)member_of(f, r) = v;
}

void field_set_list(const field *f, stemforge_request *r, const char *const *list, size_t count) {
    *(const char *const **)member_of(f, r) = list;
    *(size_t *)((char *)r + f->count_at) = count;
}

bool field_is_text(const field *f) {
    return f->kind == FIELD_TEXT || f->kind == FIELD_KEY || f->kind == FIELD_METER ||
           f->kind == FIELD_PATH;
}

bool field_is_list(const field *f) {
    return f->kind == FIELD_STEMS || f->kind == FIELD_CHORDS || f->kind == FIELD_FOLLOW ||
           f->kind == FIELD_SECTIONS;
}

bool field_has_default(const field *f) {
    bool number = f->kind == FIELD_NUMBER || f->kind == FIELD_INTEGER;
    return number && f->absent >= f->lo && f->absent <= f->hi;
}

bool field_is_given(const field *f, const stemforge_request *r) {
    size_t n;
    if (field_is_text(f)) return field_text(f, r) != NULL;
    if (field_is_list(f)) return field_list(f, r, &n) && n > 0;
    if (f->kind == FIELD_SEED || field_has_default(f)) return true;
    return field_number(f, r) != f->absent;
}

void field_add_help(buf *out, const field *f) {
    if (f->kind == FIELD_STEMS) {
        stems_add_names(out, " ", " ");
        buf_add_str(out, "; ");
    }
    buf_add_str(out, f->help);
    if (f->otherwise) buf_printf(out, " (%s)", f->otherwise);
}

status fields_draw_seed(uint64_t *out, err *e) {
    uint64_t v = 0;
    status rc = random_bytes((uint8_t *)&v, sizeof v, e);
    *out = v >> (64 - SEED_BITS);
    return rc;
}

stemforge_request stemforge_request_default(void) {
    stemforge_request r = {0};
    for (size_t i = 0; i < field_count; i++) {
        field_kind k = field_rows[i].kind;
        if (k == FIELD_NUMBER || k == FIELD_INTEGER)
            field_set_number(&field_rows[i], &r, field_rows[i].absent);
    }
    return r;
}
