// judge_bars.c - see judge.h: where bars lie.
#include "base/mem.h"
#include "engine/judge_inside.h"

#define BARS_MAX 4096

// The seconds that a beat lasts; the last one as long as the one before.
static double beat_end(const judged *j, size_t i) {
    const beat_track *b = &j->beats;
    return i + 1 < b->n ? b->at[i + 1] : b->at[i] + 60 / b->bpm;
}

static status fill_even(judged *j, double bar, double seconds, err *e) {
    j->bars = (size_t)MAX(MIN(seconds / bar + 0.3, (double)BARS_MAX), 1.0);
    j->bar = mem_alloc((j->bars + 1) * sizeof *j->bar);
    if (!j->bar) return err_set(e, ERR_OOM, "no memory for %zu bars", j->bars);
    for (size_t i = 0; i <= j->bars; i++) j->bar[i] = MIN((double)i * bar, seconds);
    return OK;
}

static status fill_from_beats(judged *j, err *e) {
    size_t of = (size_t)j->beats_per_bar;
    j->bars = j->beats.n > j->first_down ? (j->beats.n - j->first_down) / of : 0;
    j->bars = MIN(j->bars, (size_t)BARS_MAX);
    j->bar = mem_alloc((j->bars + 1) * sizeof *j->bar);
    if (!j->bar) return err_set(e, ERR_OOM, "no memory for %zu bars", j->bars);
    for (size_t i = 0; i <= j->bars; i++) {
        size_t k = j->first_down + i * of;
        j->bar[i] = k < j->beats.n ? j->beats.at[k] : beat_end(j, k - 1);
    }
    return OK;
}

status judge_find_bars(judged *j, const listened *l, const judge_hint *h, err *e) {
    if (judge_is_asked(h)) return fill_even(j, j->beats_per_bar * 60 / h->bpm, l->seconds, e);
    return j->beats.n < (size_t)j->beats_per_bar ? OK : fill_from_beats(j, e);
}
