// trace.c - see trace.h.
#include "engine/stableaudio/trace.h"

#include <string.h>

#include "compute/rng.h"
#include "engine/stableaudio/noise.h"
#include "engine/stableaudio/plan.h"

// What the stages of one run share.
typedef struct {
    trace_result *out;
    sa_model *m;
    compute *c;
    const json *run;
    st_file *given; // tensors that the run brings; NULL: none
    uint64_t seed;
    double seconds;
    float *global;                   // of the text
    dit_context *context, *negative; // NULL: the run has no such text
    denoise_room *room;
} tracer;

#define ADD_AS(t, type, name, ...)                                                                 \
    trace_add((t)->out, (name), (type), (int)ARRAY_LEN(((const int64_t[]){__VA_ARGS__})),          \
              (const int64_t[]){__VA_ARGS__})
#define ADD(t, name, ...) ((float *)ADD_AS((t), DT_F32, (name), __VA_ARGS__))

// --- what the run brings

static status open_given(tracer *t, const trace_input *in, err *e) {
    char path[OS_PATH_MAX];
    status rc = trace_find_file(in, "tensors", path, e);
    return rc || !*path ? rc : st_open(&t->given, path, e);
}

// A given tensor of so many axes, the last `width` long; 0: any. *v stays NULL when there is none.
static status find_given(tracer *t, const char *name, int dims, int64_t width, float **v,
                         int64_t *count, err *e) {
    const tensor *x = t->given ? st_find(t->given, name) : NULL;
    *v = NULL;
    *count = 0;
    if (!x) return OK;
    bool fits = x->type == DT_F32 && x->dims == dims && (!width || x->shape[dims - 1] == width);
    int64_t n = fits ? tensor_count(x) : 0;
    if (n < 1)
        return err_set(e, ERR_FORMAT, "%s: expected F32 of %d dimensions, the last %lld long", name,
                       dims, (long long)width);
    *v = arena_f32(&t->out->own, 1, (size_t)n);
    if (!*v) return trace_no_memory(e);
    tensor_read_f32(*v, x, 0, n);
    *count = n;
    return OK;
}

// Latents of at most the model's frames.
static status find_latents(tracer *t, const char *name, float **v, int64_t *frames, err *e) {
    const dit_config *net = dit_get_config(t->m->net);
    status rc = find_given(t, name, 2, net->channels, v, frames, e);
    *frames /= net->channels;
    if (rc || *frames <= net->frames) return rc;
    return err_set(e, ERR_FORMAT, "%s: expected at most %lld frames, found %lld", name,
                   (long long)net->frames, (long long)*frames);
}

// --- text

static status trace_one_text(tracer *t, const char *text, const char *const names[3],
                             dit_context **context, float **global, err *e) {
    const sa_condition *k = &t->m->condition;
    int64_t n = sa_model_rows(t->m);
    tok_ids ids = {0};
    size_t cut;
    status rc = sa_model_tokens(t->m, text, &ids, &cut, e);
    int64_t count = rc ? 1 : (int64_t)ids.count;
    int32_t *kept = ADD_AS(t, DT_I32, names[0], count);
    float *rows = ADD(t, names[1], n, k->dim);
    *global = ADD(t, names[2], sa_condition_rows(k) * k->dim);
    if (!rc && !(kept && rows && *global)) rc = trace_no_memory(e);
    if (!rc) memcpy(kept, ids.ids + ids.first, ids.count * sizeof *kept);
    const sa_text one = {kept, count, 0, t->seconds};
    if (!rc) rc = sa_model_rows_of(t->m, t->c, &one, rows, *global, e);
    if (!rc) rc = dit_context_create(context, t->m->net, t->c, rows, n, e);
    tok_ids_deinit(&ids);
    return rc;
}

static status trace_texts(tracer *t, err *e) {
    static const char *const names[][3] = {{"text.ids", "text.rows", "text.global"},
                                           {"negative.ids", "negative.rows", "negative.global"}};
    const char *text = NULL, *negative = NULL;
    float *unused;
    status rc = json_opt_str(t->run, "prompt", &text, e);
    if (!rc) rc = json_opt_str(t->run, "negative_prompt", &negative, e);
    if (!rc && text) rc = trace_one_text(t, text, names[0], &t->context, &t->global, e);
    return rc || !negative ? rc : trace_one_text(t, negative, names[1], &t->negative, &unused, e);
}

// --- the transformer

static status run_pass(tracer *t, const float *x, int64_t frames, float time, err *e) {
    const dit_config *net = dit_get_config(t->m->net);
    float *y = ADD(t, "forward.y", frames, net->channels);
    float *null = ADD(t, "forward.null.y", frames, net->channels);
    float *whole = arena_f32(&t->out->own, 1, (size_t)net->d);
    dit_room *room = NULL;
    status rc = y && null && whole ? OK : trace_no_memory(e);
    if (!rc) rc = dit_room_create(&room, t->m->net, t->c, frames, e);
    if (rc) return rc;
    dit_global(t->m->net, t->c, room, whole, t->global);
    dit_args a = {
        .y = y, .x = x, .frames = frames, .global = whole, .context = t->context, .t = time};
    dit_run(t->m->net, t->c, room, &a);
    a.y = null;
    a.context = NULL;
    dit_run(t->m->net, t->c, room, &a);
    dit_room_free(room);
    return OK;
}

static status trace_pass(tracer *t, err *e) {
    float *x, *time;
    int64_t frames, one;
    status rc = find_latents(t, "forward.x", &x, &frames, e);
    if (!rc) rc = find_given(t, "forward.t", 1, 1, &time, &one, e);
    if (rc || !x) return rc;
    if (!time || !t->context)
        return err_set(e, ERR_FORMAT, "forward.x: expected forward.t and a prompt beside it");
    return run_pass(t, x, frames, *time, e);
}

// --- steps

static status read_course(const tracer *t, sa_course *course, double *guidance, err *e) {
    const sa_schedule *s = &t->m->schedule;
    const char *name = NULL;
    double strength = 1;
    *course = (sa_course){.s = s, .sampler = s->sampler};
    *guidance = 1;
    status rc = json_opt_int(t->run, "steps", sa_steps_min(s), SA_STEPS_MAX, &course->steps, e);
    if (!rc) rc = json_opt_num(t->run, "guidance", 0, SA_GUIDANCE_MAX, guidance, e);
    if (!rc) rc = json_opt_num(t->run, "strength", 0.01, 1, &strength, e);
    if (!rc) rc = json_opt_str(t->run, "sampler", &name, e);
    course->kept = 1 - strength;
    return rc || !name ? rc : sa_sampler_find(&course->sampler, s, name, e);
}

typedef struct {
    const tracer *t;
    const float *noise; // [draws, values]; NULL: by the seed
} source;

static void draw(void *arg, int64_t number, float *out, int64_t n) {
    const source *s = arg;
    if (s->noise)
        memcpy(out, s->noise + number * n, (size_t)n * sizeof *out);
    else
        sa_noise(out, n, s->t->seed, rng_stream("trace"), (uint64_t)number);
}

// Fills x with what the latent is after each step.
static status run_steps(tracer *t, const denoise_params *p, float *x, err *e) {
    size_t n = (size_t)(p->frames * dit_get_config(t->m->net)->channels);
    denoise *d = NULL;
    status rc = denoise_room_create(&t->room, t->m, t->c, e);
    if (rc) return rc;
    const denoise_conditions k = {t->context, t->negative, t->global};
    t->context = t->negative = NULL; // denoise_create takes them
    rc = denoise_create(&d, t->m, t->c, t->room, p, &k, e);
    for (int64_t i = 0; !rc && i < p->course.steps; i++) {
        denoise_step(d, t->c, t->room);
        memcpy(x + (size_t)i * n, denoise_latents(d), n * sizeof *x);
    }
    denoise_free(d);
    return rc;
}

static status trace_steps(tracer *t, err *e) {
    const dit_config *net = dit_get_config(t->m->net);
    sa_course course;
    double guidance;
    source from = {.t = t};
    float *given = NULL, *noise, *x;
    int64_t n, frames = net->frames;
    status rc = read_course(t, &course, &guidance, e);
    if (rc || !course.steps) return rc;
    if (!t->context) return err_set(e, ERR_FORMAT, "steps: expected a prompt beside it");
    if (course.kept > 0) rc = find_latents(t, "sound.latents", &given, &frames, e);
    if (!rc) rc = find_given(t, "noise", 3, net->channels, &noise, &n, e);
    if (rc) return rc;
    if (course.kept > 0 && frames != net->frames)
        return err_set(e, ERR_FORMAT, "strength: expected sound.latents of %lld frames, found %lld",
                       (long long)net->frames, (long long)frames);
    if (noise && n < (course.steps + 1) * net->frames * net->channels)
        return err_set(e, ERR_FORMAT, "noise: expected %lld draws of %lld frames, found fewer",
                       (long long)course.steps + 1, (long long)net->frames);
    from.noise = noise;
    const denoise_params p = {.course = course,
                              .frames = net->frames,
                              .guidance = (float)guidance,
                              .draw = draw,
                              .arg = &from,
                              .given = given,
                              .fresh = {0, net->frames}};
    x = ADD(t, "x", course.steps, net->frames, net->channels);
    return x ? run_steps(t, &p, x, e) : trace_no_memory(e);
}

// --- the codec

static status trace_decode(tracer *t, err *e) {
    float *x;
    int64_t frames;
    status rc = find_latents(t, "vae.x", &x, &frames, e);
    if (rc || !x) return rc;
    int64_t samples = oobleck_samples(t->m->codec, frames);
    float *wave = ADD(t, "vae.wave", oobleck_get_config(t->m->codec)->channels, samples);
    const oobleck_args a = {.latents = x, .frames = frames, .planes = wave, .samples = samples};
    return wave ? oobleck_decode(t->m->codec, t->c, &a, e) : trace_no_memory(e);
}

static status trace_encode(tracer *t, err *e) {
    const oobleck_config *codec = oobleck_get_config(t->m->codec);
    float *sound;
    int64_t n;
    status rc = find_given(t, "sound", 2, 0, &sound, &n, e);
    if (rc || !sound) return rc;
    n /= codec->channels;
    if (st_find(t->given, "sound")->shape[0] != codec->channels || n < codec->hop)
        return err_set(e, ERR_FORMAT, "sound: expected [%lld, %lld or more]",
                       (long long)codec->channels, (long long)codec->hop);
    int64_t frames = n / codec->hop;
    float *latents = ADD(t, "sound.latents", frames, codec->latent);
    const oobleck_encode_args a = {
        .planes = sound, .samples = n, .latents = latents, .frames = frames};
    return latents ? sa_model_encode(t->m, t->c, &a, e) : trace_no_memory(e);
}

// --- a run

static status trace_all(tracer *t, const trace_input *in, err *e) {
    int64_t seed = 0;
    t->seconds = sa_model_seconds(t->m);
    status rc = open_given(t, in, e);
    if (!rc) rc = json_opt_num(t->run, "seconds", 0, 600, &t->seconds, e);
    if (!rc) rc = json_opt_int(t->run, "seed", 0, INT64_MAX, &seed, e);
    t->seed = (uint64_t)seed;
    if (!rc) rc = trace_texts(t, e);
    if (!rc) rc = trace_pass(t, e);
    if (!rc) rc = trace_steps(t, e);
    if (!rc) rc = trace_decode(t, e);
    return rc ? rc : trace_encode(t, e);
}

status stableaudio_trace(trace_result *out, family *f, const trace_input *in, err *e) {
    tracer t = {.out = out, .m = &((stableaudio_family *)f)->m, .c = f->c, .run = in->run};
    if (in->gpu)
        return err_set(e, ERR_ARG,
                       "device: expected cpu, found a GPU: Stable Audio computes on "
                       "the CPU");
    status rc = trace_all(&t, in, e);
    dit_context_free(t.context);
    dit_context_free(t.negative);
    denoise_room_free(t.room);
    st_close(t.given);
    return rc;
}
