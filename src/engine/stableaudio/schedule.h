// schedule.h - the noise levels of a denoising, and the numbers of each step.
//
// A model says how noise and sound mix at a level. Diffusion: x = sound + sigma noise, and sigma
// falls from sigma_max to sigma_min, evenly in its logarithm; behind the last comes 0. Rectified
// flow: x = (1 - t) sound + t noise, and t falls from 1 to 0, evenly in the logarithm of
// (1 - t) / t. A sampler goes from one level to the next. Whatever the sampler, with the estimate
// D of the sound, D1 and D2 those of the two steps before, noise z, and v of the network at x * in:
//   D = keep x - less v
//   x = back x + now D + before D1 + older D2 + noise z
// All numbers are made in double by base/num.h and rounded to f32 once. docs/MODELS.md has the
// formulas of the samplers and whose they are.
#pragma once
#include "base/json.h"

typedef enum { SA_2M_SDE, SA_3M_SDE, SA_2M, SA_PINGPONG, SA_EULER, SA_SAMPLERS } sa_sampler;

#define SA_STEPS_MAX 500
#define SA_GUIDANCE_MAX 100

typedef struct {
    bool flow; // rectified flow, else diffusion
    double sigma_min, sigma_max;
    bool unit;          // diffusion starts from noise * sqrt(sigma_max^2 + 1), else * sigma_max
    sa_sampler sampler; // for a request that names none, as all below
    int64_t steps;
    double guidance;
} sa_schedule;

// Diffusion as diffusers does it, with its scheduler.
sa_schedule sa_schedule_diffusers(void);
// config: scheduler/scheduler_config.json. What we do not do is refused by name.
status sa_schedule_read(sa_schedule *out, const json *config, err *e);

const char *sa_sampler_name(sa_sampler k); // "dpmpp-2m-sde"
// The sampler of that name; ERR_ARG lists those that go with s.
status sa_sampler_find(sa_sampler *out, const sa_schedule *s, const char *name, err *e);
// The sampler nearest to k whose steps add no noise.
sa_sampler sa_sampler_quiet(sa_sampler k);

// One denoising.
typedef struct {
    const sa_schedule *s;
    sa_sampler sampler;
    int64_t steps; // at least sa_steps_min
    double kept;   // of a given sound: the share of the levels that is left out, below 1
} sa_course;

typedef struct {
    float time;           // what the network is told
    float in, keep, less; // see above
    float back, now, before, older, noise;
    float sound_next, noise_next; // what x of the next level is of a sound and of noise
} sa_step;

int64_t sa_steps_min(const sa_schedule *s);
// What a denoising starts from: the factor of the noise. *sound: that of a given sound, whose
// latent is added; NULL: there is none.
float sa_course_start(const sa_course *c, float *sound);
sa_step sa_course_step(const sa_course *c, int64_t i);
