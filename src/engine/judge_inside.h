// judge_inside.h - what the parts of judge.h share; for engine/judge*.c alone.
#pragma once
#include "engine/judge.h"

// Finds the bars of j, whose beats are there: bar, bars, first_down and down_sure.
status judge_find_bars(judged *j, const listened *l, const judge_hint *h, err *e);
