// condition.c - see condition.h.
#include "engine/musicgen/condition.h"

#include <math.h> // floor: exact

#include "audio/file.h"

// Frames of n samples that the decoder hears: its prefix has no room for more.
static int64_t rows_heard(const condition *k, int64_t n) {
    return MIN(chroma_frames(k->p->chroma, n), mg_get_config(k->p->lm)->chroma_length);
}

static status read_melody(condition *k, const condition_wish *w, err *e) {
    if (!k->p->chroma) {
        return err_field(e, "melody",
                         "%s was not made to follow one, expected a MusicGen-Melody model",
                         k->p->files->name);
    }
    file_clip clip = {0};
    const file_limits limits = file_limits_default();
    status rc = w->melody ? file_read(&clip, w->melody, &limits, e)
                          : file_decode(&clip, w->melody_image, &limits, e);
    int rate = (int)chroma_get_config(k->p->chroma)->sample_rate;
    if (!rc) rc = file_clip_planes(&k->wave, &k->n, &clip, rate, 1, e);
    file_clip_deinit(&clip);
    int64_t longest = chroma_get_config(k->p->chroma)->samples_max;
    if (!rc) rc = chroma_check_work(k->p->chroma, rows_heard(k, longest), e);
    if (rc) err_about(e, "melody");
    k->kind = CONDITION_MELODY;
    return rc;
}

static status default_chords(condition *k, const char *text, err *e) {
    key tonic = {0}; // C major
    status rc = text ? chords_parse_key(&tonic, text, e) : OK;
    if (rc) {
        err_about(e, "key");
        return err_within(e, rc, "key");
    }
    chords_default(&k->chords, tonic, k->time.bpm);
    return OK;
}

static status read_chords(condition *k, const condition_wish *w, err *e) {
    if (!w->chord_count) return default_chords(k, w->key, e);
    k->has_chords = true;
    status rc = chords_parse(&k->chords, w->chords, w->chord_count, k->time.bpm, e);
    return rc ? err_within(e, rc, "chords") : OK;
}

// Makes the progression begin anew after so many chords.
static void close_circle(progression *p, size_t chords) {
    for (size_t i = p->count; i < chords; i++) p->bars[i] = p->bars[i % p->count];
    p->count = chords;
}

status condition_open(condition *out, const pipeline *p, const condition_wish *w, err *e) {
    *out = (condition){.p = p, .time = w->time};
    if (!(w->time.bpm > 0)) out->time.bpm = CONDITION_BPM;
    if (!w->time.meter) out->time = timing_even(out->time.bpm);
    status rc = OK;
    if (w->melody || w->melody_image.p)
        rc = read_melody(out, w, e);
    else if (p->has_grid)
        out->kind = CONDITION_GRID;
    else if (mg_get_config(p->lm)->melody && w->chord_count)
        out->kind = CONDITION_CHORDS;
    if (!rc && condition_is_timed(out)) rc = read_chords(out, w, e);
    out->chords.time = out->time;
    if (!rc && w->loop_bars && out->chords.count)
        close_circle(&out->chords, w->loop_bars * (size_t)out->time.chords_per_bar);
    if (rc) condition_close(out);
    return rc;
}

bool condition_is_timed(const condition *k) {
    return k->kind == CONDITION_GRID || k->kind == CONDITION_CHORDS;
}

static bool sounds(const chord *c, int above_bass) {
    return c->mask >> (c->bass + above_bass) % 12 & 1;
}

// What a bass plays under c: its lowest note, with the third that c has over it.
static chord on_its_bass(const chord *c) {
    chord own = *c;
    own.root = c->bass;
    own.third = sounds(c, 4) ? 4 : sounds(c, 3) ? 3 : CHORDS_NO_TONE;
    own.fifth = 7;
    own.seventh = CHORDS_NO_TONE;
    return own;
}

bool condition_of_bass(condition *out, const condition *k) {
    size_t slashes = 0;
    if (k->kind != CONDITION_GRID) return false;
    for (size_t i = 0; i < k->chords.count; i++)
        slashes += k->chords.bars[i].bass != k->chords.bars[i].root;
    if (!slashes) return false;
    *out = *k;
    for (size_t i = 0; i < k->chords.count; i++) {
        chord *c = &out->chords.bars[i];
        if (!c->none && c->bass != c->root) *c = on_its_bass(c);
    }
    return true;
}

void condition_close(condition *k) {
    mem_free(k->wave);
    *k = (condition){0};
}

// Samples of the melody, from its sample `from` on, that a window hears.
static int64_t samples_heard(const condition *k, int64_t from) {
    int64_t most = chroma_get_config(k->p->chroma)->samples_max;
    return from ? most : MIN(k->n, most);
}

int64_t condition_melody_rows(const condition *k) {
    return rows_heard(k, samples_heard(k, 0));
}

// The melody repeats for ever. A window hears it from the time at which the window starts.
status condition_melody(const condition *k, chroma_rows *to, double start_s, err *e) {
    const chroma_config *cfg = chroma_get_config(k->p->chroma);
    int64_t from = (int64_t)(start_s * (double)cfg->sample_rate) % k->n;
    int64_t n = samples_heard(k, from);
    float *turned = mem_alloc((size_t)n * sizeof *turned);
    if (!turned) return err_set(e, ERR_OOM, "no memory for a melody");
    to->n = rows_heard(k, n);
    for (int64_t i = 0; i < n; i++) turned[i] = k->wave[(from + i) % k->n];
    status rc = chroma_extract(k->p->chroma, turned, n, to, e);
    mem_free(turned);
    return rc;
}

status condition_chroma(void *arg, float *out, int64_t start_frame, int64_t *rows, err *e) {
    const condition *k = arg;
    double start_s = (double)start_frame / k->p->frame_rate;
    chroma_rows melody = {.onehot = out};
    status rc = OK;
    *rows = mg_get_config(k->p->lm)->chroma_length;
    switch (k->kind) {
    case CONDITION_NONE: *rows = 0; break;
    case CONDITION_GRID: control_fill(out, &k->p->grid, &k->chords, &k->time, start_s); break;
    case CONDITION_CHORDS: {
        const chroma_config *cfg = chroma_get_config(k->p->chroma);
        size_t first = (size_t)(start_s * (double)cfg->sample_rate / (double)cfg->hop + 0.5);
        chords_fill_chroma(out, &k->chords, (size_t)*rows, first, (int)cfg->hop,
                           (int)cfg->sample_rate);
        break;
    }
    case CONDITION_MELODY:
        rc = condition_melody(k, &melody, start_s, e);
        *rows = melody.n;
        break;
    }
    return rc;
}

int64_t condition_anchor(const void *arg, int64_t start_frame, int64_t from) {
    const condition *k = arg;
    double rate = k->p->frame_rate, bar = k->time.meter->quarters;
    double first = timing_beat(&k->time, (double)from / rate);
    double bars = (timing_beat(&k->time, (double)start_frame / rate) - first) / bar;
    double at = timing_seconds(&k->time, first + (bars - floor(bars)) * bar);
    return MAX(from, MIN(start_frame, (int64_t)floor(at * rate + 0.5)));
}
