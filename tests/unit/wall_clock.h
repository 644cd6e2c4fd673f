// wall_clock.h - a wall clock that a test sets forward or back, for the whole test process.
#pragma once
#include <stdint.h>

// From now on every reading of the wall clock is off by this much. The monotonic clock stays.
void wall_clock_shift(int64_t ms);
