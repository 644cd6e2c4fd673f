// followed.c - see followed.h.
#include "engine/followed.h"

#include <math.h> // floor: exact
#include <string.h>

#include "audio/file.h"
#include "base/mem.h"
#include "request/length.h"

bool followed_asks(const stemforge_request *r, const char *what) {
    for (size_t i = 0; i < r->follow_count; i++)
        if (!what || strcmp(r->follow[i], what) == 0) return true;
    return false;
}

static status read_recording(file_clip *clip, const stemforge_request *r, const follow_limits *l,
                             err *e) {
    file_limits limits = file_limits_default();
    limits.seconds_max = l->seconds_max;
    const bytes image = {r->recording_image, r->recording_size};
    status rc =
        image.p ? file_decode(clip, image, &limits, e) : file_read(clip, r->recording, &limits, e);
    if (rc) err_about(e, "recording");
    return rc;
}

// --- beats

static double beat_time(const beat_track *b, int64_t i) {
    if (i < 0) return b->at[0] + (double)i * (b->at[1] - b->at[0]);
    return b->at[i];
}

// Beats from a bar line at 0 s or before it on. *lead is how many bars lie in front of the first
// one that was heard whole.
static status lay_beats(followed *f, const judged *j, size_t *lead, size_t *n, err *e) {
    int64_t bar = j->beats_per_bar, first = (int64_t)j->first_down;
    while (first > 0 && beat_time(&j->beats, first) > 0) first -= bar;
    while (beat_time(&j->beats, first) > 0) first -= bar;
    *lead = (size_t)(((int64_t)j->first_down - first) / bar);
    *n = (size_t)((int64_t)j->beats.n - first);
    if (*n > FOLLOW_BEATS_MAX)
        return err_field(e, "follow", "expected at most %d beats, found %zu", FOLLOW_BEATS_MAX, *n);
    f->beats = mem_alloc(*n * sizeof *f->beats);
    if (!f->beats) return err_set(e, ERR_OOM, "no memory for %zu beats", *n);
    for (size_t i = 0; i < *n; i++) f->beats[i] = beat_time(&j->beats, first + (int64_t)i);
    return OK;
}

static status check_tempo(const judged *j, double sure, err *e) {
    if (j->beats.bpm > 0 && j->beats.n > (size_t)j->beats_per_bar && j->beats.sure >= sure)
        return OK;
    return err_field(
        e, "follow",
        "expected a recording whose beats are sure (%.2f of 1 or more), found %.2f: give "
        "a tempo, or one with a clearer beat",
        sure, j->beats.bpm > 0 ? j->beats.sure : 0);
}

// --- chords

static double sure_share(const judged *j) {
    size_t sounds = 0, sure = 0;
    for (size_t i = 0; i < j->bars; i++) {
        sounds += j->chord[i].root >= 0;
        sure += j->chord[i].root >= 0 && j->chord[i].sure >= JUDGE_CHORD_SURE;
    }
    return sounds ? (double)sure / (double)sounds : 0;
}

static status check_chords(double sure, double wanted, err *e) {
    if (sure >= wanted) return OK;
    return err_field(e, "follow",
                     "expected a recording with sure chords in %.0f%% of its bars or more, found "
                     "%.0f%%: name the chords and leave \"chords\" out",
                     wanted * 100, sure * 100);
}

// Whether a pitch class lies in a key.
static bool in_scale(key k, int pitch) {
    const unsigned major = 0xAB5, minor = 0x5AD; // bit s: s semitones above the tonic
    return ((k.minor ? minor : major) >> ((pitch - k.tonic + 24) % 12)) & 1;
}

// A third that is not heard is that of the key.
static harmony_chord with_third(const judged *j, harmony_chord c) {
    if (c.root < 0 || c.third || !j->has_key) return c;
    bool minor = !in_scale(j->key, c.root + 4) && in_scale(j->key, c.root + 3);
    c.third = minor ? 3 : 4;
    return c;
}

static void add_chord(followed *f, size_t *n, const judged *j, size_t bar) {
    if (*n == CHORDS_MAX) return;
    const harmony_chord c = with_third(j, j->chord[bar]);
    judge_chord_text(f->text[*n], &c);
    f->chord[*n] = f->text[*n];
    ++*n;
}

// One a bar, the bars before and after those that were heard whole as their neighbours.
static size_t lay_chords(followed *f, const judged *j, size_t lead) {
    size_t n = 0;
    if (!j->bars) return 0;
    for (size_t i = 0; i < lead; i++) add_chord(f, &n, j, 0);
    for (size_t i = 0; i < j->bars; i++) add_chord(f, &n, j, i);
    add_chord(f, &n, j, j->bars - 1);
    return n;
}

// --- the request

static status follow_tempo(followed *f, stemforge_request *r, const judged *j,
                           const follow_limits *l, err *e) {
    size_t lead, n;
    status rc = check_tempo(j, l->tempo_sure, e);
    if (!rc) rc = lay_beats(f, j, &lead, &n, e);
    if (rc) return rc;
    double whole = floor(j->beats.bpm + 0.5); // captions have whole numbers; the beats are exact
    r->bpm = MAX(MIN(whole, 400), 20);
    r->beats = f->beats;
    r->beat_count = n;
    f->heard.bpm = j->beats.bpm;
    f->heard.tempo_sure = j->beats.sure;
    f->heard.first_bar_seconds = f->beats[lead * (size_t)j->beats_per_bar];
    f->heard.bars = j->bars;
    if (!followed_asks(r, "chords")) return OK;
    f->heard.chords_sure = sure_share(j);
    rc = check_chords(f->heard.chords_sure, l->chords_sure, e);
    if (rc) return rc;
    r->chord_count = lay_chords(f, j, lead);
    r->chords = f->chord;
    r->chords_per_bar = 0;
    f->heard.chords = f->chord + lead;
    f->heard.chord_count = MIN(j->bars, r->chord_count - MIN(lead, r->chord_count));
    return OK;
}

static status measure(followed *f, stemforge_request *r, const file_clip *clip,
                      const follow_limits *l, err *e) {
    if (r->seconds < 0 && !length_bars(r) && !(r->more_seconds > 0))
        r->seconds = (double)clip->frames / clip->rate;
    if (!followed_asks(r, "tempo")) return OK;
    judged j;
    const judge_hint hint = {.bpm = r->bpm, .beats_per_bar = meter_of(r->meter)->quarters};
    status rc = judge_open(&j, clip->x, clip->frames, clip->channels, clip->rate, &hint, e);
    if (rc) return rc;
    rc = follow_tempo(f, r, &j, l, e);
    if (!rc && j.has_key) chords_key_text(f->key, j.key);
    if (!rc && j.has_key) f->heard.key = f->key;
    if (!rc && j.has_key && !r->key && followed_asks(r, "chords")) r->key = f->key;
    judge_close(&j);
    return rc;
}

status followed_open(followed **out, stemforge_request *r, const follow_limits *l, err *e) {
    file_clip clip = {0};
    followed *f = mem_calloc(1, sizeof *f);
    *out = NULL;
    if (!f) return err_set(e, ERR_OOM, "no memory for a recording");
    status rc = read_recording(&clip, r, l, e);
    if (!rc) rc = measure(f, r, &clip, l, e);
    file_clip_deinit(&clip);
    if (rc)
        followed_close(f);
    else
        *out = f;
    return rc;
}

void followed_close(followed *f) {
    if (!f) return;
    mem_free(f->beats);
    mem_free(f);
}
