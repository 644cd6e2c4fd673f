// fuzz_config.c - config.json as each network reads it, the schedules of a diffusion model and of a
// packed one, and model_config.json of an original one, against a file without tensors.
#include "base/log.h"
#include "engine/stableaudio/condition.h"
#include "engine/stableaudio/files_inside.h"
#include "engine/stableaudio/original.h"
#include "model/dit.h"
#include "model/musicgen.h"
#include "model/oobleck.h"
#include "model/t5.h"

static const tensor *nothing(const void *file, const char *name) {
    (void)file;
    (void)name;
    return NULL;
}

static void run_schedule(const sa_schedule *s) {
    const sa_course c = {s, s->sampler, 9, 0};
    (void)sa_course_start(&c, NULL);
    for (int64_t i = 0; i < c.steps; i++) (void)sa_course_step(&c, i);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    log_setup(LOG_OFF, false); // every miss is logged, and here all are missing
    json *j;
    if (json_parse(&j, (bytes){p, n}, (size_t)1 << 20, NULL)) return 0;
    arena own;
    arena_init(&own, (size_t)64 << 20);
    weights w;
    weights_init(&w, (weights_source){.find = nothing, .file = NULL}, &own, WEIGHTS_AS_STORED);
    w.problems = 1000; // known to be missing: only the counting is wanted
    musicgen *m;
    t5 *t;
    (void)!mg_open(&m, &w, j, &own, NULL);
    const json *text = json_find(j, "text_encoder");
    if (text) (void)!t5_open(&t, &w, text, "", &own, NULL);
    dit *net;
    oobleck *codec;
    sa_condition condition;
    sa_schedule schedule;
    (void)!dit_open(&net, &w, j, &own, NULL);
    (void)!oobleck_open(&codec, &w, j, &own, NULL);
    (void)!sa_condition_open(&condition, &w, j, NULL);
    if (!sa_schedule_read(&schedule, j, NULL)) run_schedule(&schedule);
    sa_files packed = {0};
    if (!sa_files_read_schedule(&packed, j, NULL)) run_schedule(&packed.schedule);
    sa_original original;
    if (!sa_original_read(&original, j, NULL)) run_schedule(&original.schedule);
    sa_original_close(&original);
    json_free(j);
    arena_deinit(&own);
    return 0;
}
