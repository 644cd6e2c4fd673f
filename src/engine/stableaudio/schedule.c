// schedule.c - see schedule.h.
#include "engine/stableaudio/schedule.h"

#include <math.h> // sqrt only: IEEE 754 defines its bits
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

status sa_schedule_read(sa_schedule *out, const json *config, err *e) {
    *out = (sa_schedule){.sigma_min = 0.3, .sigma_max = 500};
    status rc = expect_words(config, e);
    if (!rc) rc = check_numbers(config, e);
    if (!rc) rc = json_opt_num(config, "sigma_max", 1e-3, 1e5, &out->sigma_max, e);
    if (!rc) rc = json_opt_num(config, "sigma_min", 1e-4, 1e5, &out->sigma_min, e);
    if (rc || out->sigma_min < out->sigma_max) return rc;
    return err_set(e, ERR_FORMAT, "sigma_min: expected less than sigma_max %g, found %g",
                   out->sigma_max, out->sigma_min);
}

// --- numbers

float sa_schedule_start(const sa_schedule *s) {
    return (float)sqrt(s->sigma_max * s->sigma_max + 1);
}

// Rounded to f32, as the reference keeps it.
static double sigma(const sa_schedule *s, int64_t n, int64_t i) {
    double from = num_log2(s->sigma_max), to = num_log2(s->sigma_min);
    if (i >= n) return 0;
    return (double)(float)num_exp(LN2 * (from + (to - from) * (double)i / (double)(n - 1)));
}

// ln(sigma_i / sigma_(i+1)).
static double fall(const sa_schedule *s, int64_t n, int64_t i) {
    return LN2 * (num_log2(sigma(s, n, i)) - num_log2(sigma(s, n, i + 1)));
}

sa_step sa_schedule_step(const sa_schedule *s, int64_t n, int64_t i, bool noisy) {
    double now = sigma(s, n, i), next = sigma(s, n, i + 1), square = now * now + 1;
    sa_step out = {.time = (float)(2 / NUM_PI * num_atan(now)),
                   .in = (float)(1 / sqrt(square)),
                   .keep = (float)(1 / square),
                   .less = (float)(now / sqrt(square)),
                   .now = 1};
    if (i == n - 1) return out; // the estimate itself
    double ratio = next / now, back = noisy ? ratio * ratio : ratio, slope = 0;
    if (i > 0) slope = 0.5 * fall(s, n, i) / fall(s, n, i - 1);
    out.back = (float)back;
    out.now = (float)((1 - back) * (1 + slope));
    out.before = (float)(-(1 - back) * slope);
    out.noise = noisy ? (float)(next * sqrt(1 - back)) : 0;
    return out;
}
