// judge_inside.h - what the parts of judge.h share; for engine/judge*.c alone.
#pragma once
#include "engine/judge.h"

// Whether the sound was made at a tempo, from bar 1 on.
static inline bool judge_is_asked(const judge_hint *h) {
    return h->from_one && h->bpm > 0;
}

// Finds the bars of j, whose beats are there: bar and bars.
status judge_find_bars(judged *j, const listened *l, const judge_hint *h, err *e);
