// tone.c - see tone.h.
#include "tone.h"

#include <stdlib.h>
#include <string.h>

#include "request/length.h"

#define RATE 44100
#define STEP_MS 10

atomic_bool tone_hold;
atomic_bool tone_device_back;
atomic_bool tone_gpu, tone_gpu_stays;
atomic_int tone_held;
atomic_int tone_made[7];

typedef struct {
    plan base;
    int64_t ms;    // a stem
    int64_t takes; // so far
} tone_plan;

typedef struct {
    take base;
    const char *name;
    bool slow;
} tone_take;

static bool recognise(const checkpoint *files) {
    const char *type = json_str_value(json_find(files->config, "model_type"));
    return type && strcmp(type, "tone") == 0;
}

static status open_tone(family *f, const family_options *o, err *e) {
    (void)o;
    const char *ms = getenv("TONE_LOAD_MS");
    os_sleep_ms(ms ? (int)strtol(ms, NULL, 10) : 0);
    if (getenv("TONE_LOAD_FAIL")) return err_set(e, ERR_NOT_FOUND, "no such model");
    f->on_gpu = atomic_load(&tone_gpu);
    f->info = (stemforge_info){.name = f->files.name,
                               .family = "tone",
                               .sample_rate = RATE,
                               .channels = 2,
                               .window_seconds = 600,
                               .frame_rate = 1000.0 / STEP_MS};
    return OK;
}

static void close_tone(family *f) {
    (void)f;
}

// --- requests

static const char *word(const plan *p, const char *name) {
    const char *at = p->r->prompt ? strstr(p->r->prompt, name) : NULL;
    return at ? at + strlen(name) : NULL;
}

// Whether the word "name" or "name:STEM" is about this stem.
static bool about(const tone_take *t, const char *name) {
    const char *at = word(t->base.of, name);
    return at && (*at != ':' || strncmp(at + 1, t->name, strlen(t->name)) == 0);
}

static status plan_create(family *f, const stemforge_request *r, plan **out, err *e) {
    tone_plan *p = mem_calloc(1, sizeof *p);
    if (!p) return err_set(e, ERR_OOM, "no memory for a request");
    p->base = (plan){.f = f, .r = r};
    const char *ms = word(&p->base, "slow:");
    p->ms = ms ? strtol(ms, NULL, 10) : 0;
    if (word(&p->base, "hum"))
        warnings_add(&p->base.said, WARNING_NOT_USED, "prompt", "a tone does not hum");
    if (word(&p->base, "refuse")) {
        mem_free(p);
        return err_field(e, "prompt", "expected a tone, found words");
    }
    *out = &p->base;
    return OK;
}

static void plan_free(plan *p) {
    mem_free(p);
}

static status take_create(plan *p, size_t stem, take **out, err *e) {
    tone_plan *q = (tone_plan *)p;
    tone_take *t = mem_calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_OOM, "no memory for a stem");
    t->base = (take){.of = p, .stem = stem, .line = "tone"};
    t->base.total = MAX(2, ++q->takes * q->ms / STEP_MS);
    t->base.length = (int64_t)(length_made_seconds(p->r) * RATE + 0.5);
    t->name = p->r->stems[stem];
    t->slow = q->ms > 0;
    *out = &t->base;
    return OK;
}

static void take_free(take *t) {
    mem_free(t->planes);
    mem_free(t);
}

// --- the batch's thread

static bool gpu_fails(const take *t, const char *name, err *e) {
    if (!t->of->f->on_gpu || !about((const tone_take *)t, name)) return false;
    err_set(e, ERR_DEVICE, "the GPU is lost");
    return true;
}

static status begin(take *t, err *e) {
    if (gpu_fails(t, "gpu-begin", e)) return ERR_DEVICE;
    return about((tone_take *)t, "nomemory") ? err_set(e, ERR_OOM, "no memory for a tone") : OK;
}

static bool held(const take *t) {
    return atomic_load(&tone_hold) && t->done >= t->total / 2;
}

static status step(family *f, take *const *list, size_t n, err *e) {
    (void)f;
    int ms = 0;
    for (size_t i = 0; i < n; i++) {
        take *t = list[i];
        if (about((tone_take *)t, "step")) return err_set(e, ERR_DEVICE, "device lost");
        if (t->done > 0 && gpu_fails(t, "gpu-column", e)) return ERR_DEVICE;
        if (((tone_take *)t)->slow) ms = STEP_MS;
        if (held(t)) {
            ms = STEP_MS;
            atomic_fetch_add(&tone_held, 1);
        } else if (t->done < t->total) {
            t->done++;
        }
    }
    os_sleep_ms(ms);
    return OK;
}

// A triangle wave whose pitch follows from the seed and the stem: same request, same bytes.
static void fill(take *t, const char *name) {
    uint64_t h = t->seed * 0x9e3779b97f4a7c15u;
    for (; *name; name++) h = (h ^ (uint64_t)*name) * 0x100000001b3u;
    int64_t period = 100 + (int64_t)(h >> 33) % 400;
    for (int64_t i = 0; i < 2 * t->samples; i++) {
        float p = (float)(i % t->samples % period) / (float)period;
        t->planes[i] = p < 0.5f ? 4 * p - 1 : 3 - 4 * p;
    }
}

static status finish_one(tone_take *t, err *e) {
    if (about(t, "device") && !atomic_load(&tone_device_back))
        return err_set(e, ERR_DEVICE, "device lost");
    if (about(t, "fail")) return err_set(e, ERR_FORMAT, "the tone broke");
    t->base.samples = t->base.length;
    t->base.planes = mem_alloc(2 * (size_t)t->base.length * sizeof *t->base.planes);
    if (!t->base.planes) return err_set(e, ERR_OOM, "no memory for a tone");
    fill(&t->base, t->name);
    if (t->base.stem < ARRAY_LEN(tone_made)) atomic_fetch_add(&tone_made[t->base.stem], 1);
    return OK;
}

static status finish(family *f, take *const *list, size_t n, err *e) {
    (void)f;
    status rc = OK;
    for (size_t i = 0; i < n && !rc; i++) {
        // A failure makes the batch call again for each take alone: what is there is there.
        if (gpu_fails(list[i], "gpu-end", e)) return ERR_DEVICE;
        if (!list[i]->planes) rc = finish_one((tone_take *)list[i], e);
    }
    return rc;
}

static void end(take *t) {
    (void)t;
}

static status leave_gpu(family *f, err *e) {
    if (atomic_load(&tone_gpu_stays)) return err_set(e, ERR_OOM, "no memory for the CPU's part");
    f->on_gpu = false;
    return OK;
}

const family_ops tone_family_ops = {
    .key = "musicgen",
    .title = "MusicGen", // the word of the service's log lines
    .expects = "\"tone\"",
    .size = sizeof(family),
    .recognise = recognise,
    .open = open_tone,
    .close = close_tone,
    .plan = plan_create,
    .plan_free = plan_free,
    .take = take_create,
    .take_free = take_free,
    .begin = begin,
    .step = step,
    .finish = finish,
    .end = end,
    .leave_gpu = leave_gpu,
};
