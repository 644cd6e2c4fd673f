// schedule.c - see schedule.h.
#include "engine/stableaudio/schedule.h"

#include <math.h> // sqrt only: IEEE 754 defines its bits
#include <stdio.h>
#include <string.h>

#include "base/num.h"

#define LN2 0.693147180559945309417

// --- configuration

static status expect_word(const json *j, const char *key, const char *absent, const char *want,
                          err *e) {
    const char *found = absent;
    status rc = json_opt_str(j, key, &found, e);
    if (rc || strcmp(found, want) == 0) return rc;
    return err_set(e, ERR_FORMAT, "%s: expected \"%s\", found \"%.40s\"", key, want, found);
}

static status expect_words(const json *j, err *e) {
    static const char *const words[][3] = {
        {"_class_name", "", "CosineDPMSolverMultistepScheduler"},
        {"sigma_schedule", "exponential", "exponential"},
        {"prediction_type", "v_prediction", "v_prediction"},
        {"solver_type", "midpoint", "midpoint"},
        {"final_sigmas_type", "zero", "zero"},
    };
    status rc = OK;
    for (size_t i = 0; i < ARRAY_LEN(words) && !rc; i++)
        rc = expect_word(j, words[i][0], words[i][1], words[i][2], e);
    return rc;
}

static status check_numbers(const json *j, err *e) {
    int64_t order = 2;
    double data = 1;
    bool lower = true, euler = false;
    status rc = json_opt_int(j, "solver_order", 0, 1000, &order, e);
    if (!rc) rc = json_opt_num(j, "sigma_data", 0, 1e6, &data, e);
    if (!rc) rc = json_opt_bool(j, "lower_order_final", &lower, e);
    if (!rc) rc = json_opt_bool(j, "euler_at_final", &euler, e);
    if (rc) return rc;
    if (order != 2)
        return err_set(e, ERR_FORMAT, "solver_order: expected 2, found %lld", (long long)order);
    if (data < 1 || data > 1)
        return err_set(e, ERR_FORMAT, "sigma_data: expected 1, found %g", data);
    if (!lower) return err_set(e, ERR_FORMAT, "lower_order_final: expected true, found false");
    return euler ? err_set(e, ERR_FORMAT, "euler_at_final: expected false, found true") : OK;
}

sa_schedule sa_schedule_diffusers(void) {
    return (sa_schedule){.sigma_min = 0.3,
                         .sigma_max = 500,
                         .unit = true,
                         .sampler = SA_2M_SDE,
                         .steps = 100,
                         .guidance = 7};
}

status sa_schedule_read(sa_schedule *out, const json *config, err *e) {
    *out = sa_schedule_diffusers();
    status rc = expect_words(config, e);
    if (!rc) rc = check_numbers(config, e);
    if (!rc) rc = json_opt_num(config, "sigma_max", 1e-3, 1e5, &out->sigma_max, e);
    if (!rc) rc = json_opt_num(config, "sigma_min", 1e-4, 1e5, &out->sigma_min, e);
    if (rc || out->sigma_min < out->sigma_max) return rc;
    return err_set(e, ERR_FORMAT, "sigma_min: expected less than sigma_max %g, found %g",
                   out->sigma_max, out->sigma_min);
}

// --- samplers

static const struct {
    const char *name;
    bool diffusion, flow; // what it goes with
    int order;            // estimates that a step is made of
    bool noisy;           // each step adds noise
    sa_sampler quiet;
} samplers[SA_SAMPLERS] = {
    [SA_2M_SDE] = {"dpmpp-2m-sde", true, false, 2, true, SA_2M},
    [SA_3M_SDE] = {"dpmpp-3m-sde", true, false, 3, true, SA_2M},
    [SA_2M] = {"dpmpp-2m", true, true, 2, false, SA_2M},
    [SA_PINGPONG] = {"pingpong", false, true, 1, true, SA_EULER},
    [SA_EULER] = {"euler", false, true, 1, false, SA_EULER},
};

const char *sa_sampler_name(sa_sampler k) {
    return samplers[k].name;
}

static bool goes_with(int k, const sa_schedule *s) {
    return s->flow ? samplers[k].flow : samplers[k].diffusion;
}

status sa_sampler_find(sa_sampler *out, const sa_schedule *s, const char *name, err *e) {
    char list[120] = "";
    for (int k = 0; k < SA_SAMPLERS; k++) {
        if (!goes_with(k, s)) continue;
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "", samplers[k].name);
        *out = (sa_sampler)k;
        if (strcmp(samplers[k].name, name) == 0) return OK;
    }
    return err_field(e, "sampler", "expected one that goes with this model: %s; found \"%.40s\"",
                     list, name);
}

sa_sampler sa_sampler_quiet(sa_sampler k) {
    return samplers[k].quiet;
}

// --- levels

int64_t sa_steps_min(const sa_schedule *s) {
    return s->flow ? 1 : 2;
}

// Rounded to f32, as the reference keeps it.
static double sigma(const sa_course *c, int64_t i) {
    double to = num_log2(c->s->sigma_min), from = num_log2(c->s->sigma_max);
    from -= c->kept * (from - to);
    if (i >= c->steps) return 0;
    double share = (double)i / (double)(c->steps - 1);
    return (double)(float)num_exp(LN2 * (from + (to - from) * share));
}

#define FLOW_FROM (-6.0) // ln((1 - t) / t) of the levels of rectified flow
#define FLOW_TO 2.0

static double flow_time(const sa_course *c, int64_t i) {
    double first = 1 - c->kept, from = FLOW_FROM;
    if (i == 0) return first;
    if (c->kept > 0) from = LN2 * num_log2(c->kept / first + 1e-6);
    double to = MAX(FLOW_TO, from); // a weak variation begins behind the end
    double at = from + (to - from) * (double)i / (double)c->steps;
    return i >= c->steps ? 0 : (double)(float)(1 / (1 + num_exp(at)));
}

float sa_course_start(const sa_course *c, float *sound) {
    double most = c->s->sigma_max;
    if (sound) *sound = c->s->flow ? (float)c->kept : 1;
    if (c->s->flow) return (float)(1 - c->kept);
    if (sound) return (float)sigma(c, 0);
    return (float)(c->s->unit ? sqrt(most * most + 1) : most);
}

// --- diffusion

// ln(sigma_i / sigma_(i+1)).
static double fall(const sa_course *c, int64_t i) {
    return LN2 * (num_log2(sigma(c, i)) - num_log2(sigma(c, i + 1)));
}

// DPM-Solver++(2M), and its SDE by the midpoint.
static void second_order(sa_step *out, const sa_course *c, int64_t i, double back) {
    double slope = i > 0 ? 0.5 * fall(c, i) / fall(c, i - 1) : 0;
    out->now = (float)((1 - back) * (1 + slope));
    out->before = (float)(-(1 - back) * slope);
}

// The SDE of third order: with d0 = (D - D1) / r0 and d1 = (D1 - D2) / r1,
//   (1 - back) D + phi2 (d0 + (d0 - d1) r0 / (r0 + r1)) - phi3 (d0 - d1) / (r0 + r1)
static void third_order(sa_step *out, const sa_course *c, int64_t i, double back) {
    double h = fall(c, i), all = -num_log2(back) * LN2;
    double phi2 = (back - 1) / all + 1, phi3 = phi2 / all - 0.5;
    double r0 = i > 0 ? fall(c, i - 1) / h : 1, r1 = i > 1 ? fall(c, i - 2) / h : 1;
    double d0 = i > 0 ? phi2 / r0 : 0, d1 = 0; // factors of D - D1 and of D1 - D2
    if (i > 1) {
        double curve = (phi2 * r0 - phi3) / (r0 + r1);
        d0 = (phi2 + curve) / r0;
        d1 = -curve / r1;
    }
    out->now = (float)(1 - back + d0);
    out->before = (float)(d1 - d0);
    out->older = (float)-d1;
}

static sa_step diffusion_step(const sa_course *c, int64_t i) {
    double now = sigma(c, i), next = sigma(c, i + 1), square = now * now + 1;
    bool noisy = samplers[c->sampler].noisy;
    sa_step out = {.time = (float)(2 / NUM_PI * num_atan(now)),
                   .in = (float)(1 / sqrt(square)),
                   .keep = (float)(1 / square),
                   .less = (float)(now / sqrt(square)),
                   .now = 1,
                   .sound_next = 1,
                   .noise_next = (float)next};
    if (i == c->steps - 1) return out; // the estimate itself
    double ratio = next / now, back = noisy ? ratio * ratio : ratio;
    out.back = (float)back;
    if (samplers[c->sampler].order == 3)
        third_order(&out, c, i, back);
    else
        second_order(&out, c, i, back);
    // Of the noise of level `next`, what is not already in x.
    if (noisy) out.noise = (float)(next * sqrt(1 - ratio * ratio));
    return out;
}

// --- rectified flow

// ln((1 - t_(i+1)) / t_(i+1)) - ln((1 - t_i) / t_i), i > 0.
static double rise(const sa_course *c, int64_t i) {
    double t = flow_time(c, i), next = flow_time(c, i + 1);
    return LN2 * (num_log2((1 - next) / next) - num_log2((1 - t) / t));
}

static sa_step flow_step(const sa_course *c, int64_t i) {
    double t = flow_time(c, i), next = flow_time(c, i + 1), back = next / t, slope = 0;
    sa_step out = {.time = (float)t,
                   .in = 1,
                   .keep = 1,
                   .less = (float)t,
                   .sound_next = (float)(1 - next),
                   .noise_next = (float)next};
    if (samplers[c->sampler].noisy) {
        out.now = (float)(1 - next);
        out.noise = (float)next;
        return out;
    }
    // At t = 1 the logarithm is infinite: the step after it is of first order too.
    int64_t first = c->kept > 0 ? 1 : 2;
    if (samplers[c->sampler].order == 2 && i >= first && i < c->steps - 1)
        slope = 0.5 * rise(c, i) / rise(c, i - 1);
    out.back = (float)back;
    out.now = (float)((1 - back) * (1 + slope));
    out.before = (float)(-(1 - back) * slope);
    return out;
}

sa_step sa_course_step(const sa_course *c, int64_t i) {
    return c->s->flow ? flow_step(c, i) : diffusion_step(c, i);
}
