// measure.c - see measure.h.
#include "engine/measure.h"

#include <math.h> // fabs: exact

#include "audio/loudness.h"
#include "audio/mix.h"
#include "base/mem.h"
#include "engine/rests.h"
#include "request/stems.h"

#define SILENCE_SECONDS 1.0 // a longer one at the end is an early end
#define SILENT_SHARE 0.5
#define KEY_LEAD 0.05 // a key that is less ahead of the next is a guess

static bool is_pitched(const stemforge_stem *s) {
    int type = stems_find(s->name);
    return type < 0 || stem_types[type].pitched;
}

static status name_chords(measured *m, err *e) {
    size_t n = MIN(m->heard.chords, (size_t)STEMFORGE_CHORDS_MAX);
    if (!m->heard.chord || !n) return OK;
    m->chord_text = mem_alloc(n * sizeof *m->chord_text);
    m->chord = mem_alloc(n * sizeof *m->chord);
    if (!m->chord_text || !m->chord) return err_set(e, ERR_OOM, "no memory for %zu chords", n);
    for (size_t i = 0; i < n; i++) {
        judge_chord_text(m->chord_text[i], &m->heard.chord[i]);
        m->chord[i] = m->chord_text[i];
    }
    m->out.chords = m->chord;
    m->out.chord_count = n;
    return OK;
}

static void add_fault(measured *m, bool there, const char *name) {
    if (there) m->fault[m->out.fault_count++] = name;
    m->out.faults = m->fault;
}

// Silence that was asked for.
typedef struct {
    double share, end_s;
} quiet;

static quiet asked_quiet(const stemforge_stem *s) {
    post_rest rest[RESTS_MAX];
    quiet q = {0};
    for (size_t i = 0, n = rests_of(rest, s->request, s->name, s->sample_rate); i < n; i++) {
        double length = (double)(rest[i].to - rest[i].from);
        q.share += length / (double)s->frames;
        if (rest[i].to >= s->frames) q.end_s = (length + (double)rest[i].fade_out) / s->sample_rate;
    }
    return q;
}

static void find_faults(measured *m, const stemforge_stem *s, const float *mono) {
    analyse_defects d = analyse_find_defects(mono, s->frames, s->sample_rate);
    quiet asked = asked_quiet(s);
    bool silent = d.silent_share > asked.share + SILENT_SHARE * (1 - asked.share);
    add_fault(m, silent, "silence");
    add_fault(m, d.silence_end_s > SILENCE_SECONDS + asked.end_s && !silent, "early_end");
    add_fault(m, d.clipped_runs > 0, "flat_tops");
    add_fault(m, d.clicks > 0, "clicks");
}

// What is found in the mean of the channels.
static status hear_mono(measured *m, const stemforge_stem *s, const judge_hint *hint, err *e) {
    float *mono = mem_alloc((size_t)s->frames * sizeof *mono);
    if (!mono) return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)s->frames);
    analyse_mono(mono, s->samples, s->frames, s->channels);
    find_faults(m, s, mono);
    status rc = judge_mono(&m->heard, mono, s->frames, s->sample_rate, hint, e);
    mem_free(mono);
    return rc;
}

// Of a tempo, its half and its double the one nearest to what was asked.
static double nearest_tempo(double heard, double asked) {
    double best = heard / 2;
    for (double bpm = heard; bpm <= 2 * heard; bpm *= 2)
        if (fabs(bpm - asked) < fabs(best - asked)) best = bpm;
    return best;
}

// A tempo counts quarters. Where a bar is felt in longer beats, as in 6/8, those may be what is
// heard.
static double in_quarters(double heard, const stemforge_request *r) {
    double pulse = meter_of(r->meter)->pulse;
    bool felt = unmet_is_tempo(heard, r->bpm / pulse) && !unmet_is_tempo(heard, r->bpm);
    return r->bpm > 0 && felt ? nearest_tempo(heard * pulse, r->bpm) : heard;
}

static void set_rhythm(measured *m, const stemforge_request *r) {
    const beat_track *b = &m->heard.beats;
    if (b->bpm <= 0 || b->sure < JUDGE_TEMPO_SURE) return;
    m->out.bpm = in_quarters(b->bpm, r);
    m->out.first_beat_seconds = m->heard.first_beat;
}

static void set_key(measured *m) {
    if (!m->heard.has_key || m->heard.key_lead < KEY_LEAD) return;
    chords_key_text(m->key, m->heard.key);
    m->out.key = m->key;
}

static void set_type(measured *m, const stemforge_stem *s) {
    int asked = stems_find(s->name), type = judge_type(&m->heard);
    if (m->out.lufs <= LOUDNESS_SILENCE) return;
    m->out.type = stem_types[type].name;
    m->out.type_share = m->heard.share[type];
    m->out.leak = judge_leak(&m->heard, asked < 0 ? type : asked);
}

static status set_loudness(measured *m, const stemforge_stem *s, err *e) {
    status rc = loudness_of(&m->out.lufs, s->samples, s->frames, s->channels, s->sample_rate, e);
    int type = stems_find(s->name);
    double balanced = type < 0 ? MIX_TRACK_LUFS : stem_types[type].lufs;
    if (m->out.lufs > LOUDNESS_SILENCE) m->out.gain_db = balanced - m->out.lufs;
    return rc;
}

status measure_init(measured *m, const stemforge_stem *s, err *e) {
    *m = (measured){0};
    const timing time = timing_of(s->request, 0);
    const judge_hint hint = {.bpm = s->request->bpm,
                             .from_one = s->request->bpm > 0 && !s->request->beats,
                             .unpitched = !is_pitched(s),
                             .beats_per_bar = meter_of(s->request->meter)->quarters,
                             .time = &time};
    status rc = hear_mono(m, s, &hint, e);
    if (!rc) rc = name_chords(m, e);
    if (!rc) rc = set_loudness(m, s, e);
    if (rc) {
        measure_deinit(m);
        return rc;
    }
    set_rhythm(m, s->request);
    set_key(m);
    set_type(m, s);
    m->out.held_pitch = is_pitched(s) ? m->heard.held : -1;
    unmet_find(&m->unmet, s, &m->out, &m->heard);
    return OK;
}

void measure_deinit(measured *m) {
    judge_close(&m->heard);
    mem_free(m->chord_text);
    mem_free(m->chord);
    *m = (measured){0};
}
