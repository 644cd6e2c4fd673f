// schedule.h - the noise levels of a denoising, and the numbers of each step.
//
// The levels sigma fall from sigma_max to sigma_min, evenly in their logarithm; behind the last
// comes 0. A step goes from one level to the next by SDE-DPM-Solver++(2M), as diffusers'
// CosineDPMSolverMultistepScheduler has it, or by DPM-Solver++(2M), the same without noise. With
// the estimate D of the sound without noise, x at a level sigma, and v of the network at x * in:
//   D = keep x - less v
//   x = back x + now D + before D_of_the_step_before + noise z
// All numbers are made in double by base/num.h and rounded to f32 once.
#pragma once
#include "base/json.h"

typedef struct {
    double sigma_min, sigma_max;
} sa_schedule;

typedef struct {
    float time;           // what the network is told
    float in, keep, less; // see above
    float back, now, before, noise;
} sa_step;

// config: scheduler/scheduler_config.json. What we do not do is refused by name.
status sa_schedule_read(sa_schedule *out, const json *config, err *e);
// The factor of the noise that a denoising starts from.
float sa_schedule_start(const sa_schedule *s);
// Step i of n, n >= 2.
sa_step sa_schedule_step(const sa_schedule *s, int64_t n, int64_t i, bool noisy);
