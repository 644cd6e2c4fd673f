// engine.c - stemforge.h: a request becomes stems in the batch, and finished sound on the caller's
// thread.
#include <assert.h>
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "audio/file.h"
#include "audio/join.h"
#include "audio/steady.h"
#include "base/os.h"
#include "compute/ops.h"
#include "compute/tune.h"
#include "engine/batch.h"
#include "engine/choice.h"
#include "engine/device_choice.h"
#include "engine/followed.h"
#include "engine/metadata.h"
#include "engine/options.h"
#include "engine/papers.h"
#include "engine/prompt.h"
#include "engine/rests.h"
#include "engine/steadied.h"
#include "engine/together.h"
#include "request/check.h"
#include "request/length.h"
#include "stemforge.h"

#define WAV_MAX ((size_t)1 << 30)
#define ITEMS_MAX (STEMFORGE_STEMS_MAX * STEMFORGE_TAKES_MAX)
#define TAKE_STEP UINT64_C(0x9e3779b97f4a7c15) // from the seed of a take to that of the next
#define WAIT_MS 100                            // between looks at cancellation and progress

struct stemforge_engine {
    turns *turns; // on c; of several engines that share threads
    compute *c;
    device_chosen chosen;
    family *f;
    batch *b;           // NULL: opened by papers, nothing can be made
    resampler *to_rate; // the model's rate to POST_RATE
    follow_limits follow;
    pthread_mutex_t mu;
    pthread_cond_t left;
    // Guarded by mu.
    int inside; // threads in stemforge_generate
    bool closing;
};

const char *stemforge_version(void) {
    return STEMFORGE_VERSION;
}

// --- open and close

// The caller's rounding mode and flush-to-zero must not change a bit, here or in the threads that
// are started from here. *kept gets them back by fesetenv.
static void plain_arithmetic(fenv_t *kept) {
    fegetenv(kept);
    fesetenv(FE_DFL_ENV);
}

// Smaller models fit into caches, so it does not matter how their weights are prefetched.
#define TUNE_BYTES ((size_t)128 << 20)

static status open_device(stemforge_engine *g, const char *name, bool *only, err *e) {
    device_choice choice;
    status rc = choice_parse(&choice, name, e);
    *only = choice.kind == CHOICE_CUDA;
    return rc ? rc : choice_open(&choice, &g->chosen, e);
}

static status open_compute(stemforge_engine *g, const stemforge_options *o, err *e) {
    status rc = OK;
    if (o->beside)
        g->turns = turns_share(o->beside->turns);
    else
        rc = turns_open(&g->turns, o->threads, o->isa, e);
    if (!rc) g->c = turns_compute(g->turns);
    return rc;
}

// With the turn.
static status open_model(stemforge_engine *g, const stemforge_options *o, bool gpu_only, err *e) {
    int places = o->batch_max > 0 ? o->batch_max : OPTIONS_PLACES;
    const family_options files = {.model = o->model,
                                  .weights = (weights_type)o->weights,
                                  .c = g->c,
                                  .places = places,
                                  .gpu = g->chosen.gpu,
                                  .gpu_only = gpu_only};
    tune_find(g->c);
    status rc = family_open(&g->f, &files, e);
    if (!rc && g->f->info.weight_bytes >= TUNE_BYTES) tune_apply(g->c);
    if (!rc) rc = resample_open(&g->to_rate, g->f->info.sample_rate, POST_RATE, e);
    const batch_limits limits = {.places = places, .memory_max = o->memory_max};
    return rc ? rc : batch_open(&g->b, g->f, g->turns, &limits, e);
}

static status open_engine(stemforge_engine *g, const stemforge_options *o, err *e) {
    bool gpu_only;
    g->follow = (follow_limits){o->follow_seconds_max, o->follow_tempo_sure, o->follow_chords_sure};
    status rc = open_device(g, o->device, &gpu_only, e);
    if (!rc) rc = open_compute(g, o, e);
    if (rc) return rc;
    turns_member opening = {0};
    turns_take(g->turns, &opening);
    rc = open_model(g, o, gpu_only, e);
    turns_leave(g->turns, &opening);
    return rc;
}

typedef status (*engine_opener)(stemforge_engine *g, const stemforge_options *o, err *e);

static status open_with(engine_opener opener, stemforge_engine **out, const stemforge_options *o,
                        err *e) {
    err unasked;
    if (!e) e = &unasked;
    *out = NULL;
    status rc = options_check(o, e);
    if (rc) return rc;
    stemforge_engine *g = mem_calloc(1, sizeof *g);
    if (!g) return err_set(e, ERR_OOM, "no memory for an engine");
    fenv_t kept;
    plain_arithmetic(&kept);
    pthread_mutex_init(&g->mu, NULL);
    pthread_cond_init(&g->left, NULL);
    rc = opener(g, o, e);
    fesetenv(&kept);
    if (rc)
        stemforge_close(g);
    else
        *out = g;
    return rc;
}

stemforge_status stemforge_open(stemforge_engine **out, const stemforge_options *o,
                                stemforge_error *e) {
    return open_with(open_engine, out, o, e);
}

stemforge_status stemforge_papers(const char *model, void **papers, size_t *size,
                                  stemforge_error *e) {
    buf all;
    buf_init(&all, PAPERS_MAX);
    status rc = papers_write(&all, model, e);
    *size = rc ? 0 : all.n;
    *papers = rc ? NULL : buf_take(&all);
    buf_deinit(&all);
    return rc;
}

// Weights of zeros, which nobody reads.
static status open_to_look(stemforge_engine *g, const stemforge_options *o, err *e) {
    status rc = turns_open(&g->turns, 1, NULL, e);
    if (rc) return rc;
    g->c = turns_compute(g->turns);
    const family_options files = {.model = o->model, .c = g->c, .blank = true};
    return family_open(&g->f, &files, e);
}

stemforge_status stemforge_open_papers(stemforge_engine **out, const void *papers, size_t size,
                                       stemforge_error *e) {
    char path[OS_PATH_MAX];
    papers_folder at;
    *out = NULL;
    status rc = papers_folder_make(&at, e);
    if (!rc) rc = papers_unpack(path, sizeof path, (bytes){papers, size}, at.path, e);
    stemforge_options o = stemforge_options_default();
    o.model = path;
    if (!rc) rc = open_with(open_to_look, out, &o, e);
    papers_folder_remove(&at); // what is mapped stays
    return rc;
}

void stemforge_close(stemforge_engine *g) {
    if (!g) return;
    pthread_mutex_lock(&g->mu);
    g->closing = true;
    pthread_mutex_unlock(&g->mu);
    batch_stop(g->b);
    // A caller may still be reading what its request goes on from: it then finds the batch closed.
    pthread_mutex_lock(&g->mu);
    while (g->inside) pthread_cond_wait(&g->left, &g->mu);
    pthread_mutex_unlock(&g->mu);
    batch_close(g->b);
    resample_close(g->to_rate);
    family_close(g->f);
    turns_close(g->turns);
    device_close(g->chosen.gpu);
    pthread_cond_destroy(&g->left);
    pthread_mutex_destroy(&g->mu);
    mem_free(g);
}

const char *stemforge_model_title(const char *model) {
    const family_ops *ops = family_find(model);
    return ops ? ops->title : NULL;
}

const char *stemforge_model_key(const char *model) {
    const family_ops *ops = family_find(model);
    return ops ? ops->key : NULL;
}

stemforge_info stemforge_engine_info(const stemforge_engine *g) {
    stemforge_info info = g->f->info;
    info.key = g->f->ops->key;
    info.title = g->f->ops->title;
    info.threads = compute_threads(g->c);
    info.isa = compute_isa(g->c);
    info.arithmetic = ARITHMETIC;
    info.cpu_why = g->f->cpu_why[0] ? g->f->cpu_why : g->chosen.why;
    info.gpu_refused = g->f->cpu_why[0] || g->chosen.refused;
    if (!g->chosen.gpu || info.cpu_why[0]) return info;
    const device_info *gpu = device_get_info(g->chosen.gpu);
    info.gpu = gpu->name;
    info.gpu_memory = gpu->memory;
    info.gpu_driver = gpu->driver;
    return info;
}

_Static_assert(STEMFORGE_DIGEST_SIZE == DIGEST_TEXT, "stemforge.h has the size of digest.h");

stemforge_status stemforge_engine_digest(const stemforge_engine *g, char out[STEMFORGE_DIGEST_SIZE],
                                         stemforge_error *e) {
    return family_digest(out, g->f, e);
}

stemforge_stats stemforge_engine_stats(stemforge_engine *g) {
    if (!g->b) return (stemforge_stats){0};
    batch_stats s = batch_get_stats(g->b);
    return (stemforge_stats){.steps = s.steps,
                             .rows = s.rows,
                             .running = s.running,
                             .waiting = s.waiting,
                             .busy_seconds = s.busy_seconds,
                             .on_gpu = s.on_gpu,
                             .gpu_failures = s.gpu_failures};
}

// --- requests

stemforge_status stemforge_request_check(const stemforge_request *r, stemforge_error *e) {
    fenv_t kept;
    plain_arithmetic(&kept);
    status rc = check_first(r, e);
    fesetenv(&kept);
    return rc;
}

// --- one request

typedef struct {
    stemforge_engine *g;
    const stemforge_request *r; // of ours: says what the caller left to the model
    stemforge_request settled;
    followed *followed; // what the request follows; NULL: nothing
    const stemforge_events *ev;
    plan *plan;
    bool look; // nothing is made
    double started;
    batch_item items[ITEMS_MAX]; // the takes to make; they are ours
    batch_job job;
    candidate *best[STEMFORGE_STEMS_MAX]; // of the takes that have ended
    int ended[STEMFORGE_STEMS_MAX];       // takes of each stem
} request;

static const char *stem_name(const request *q, const take *t) {
    return q->r->stems[t->stem];
}

// The numbers that the model stands for, so that a stem can say them.
static void settle_defaults(stemforge_request *r, const stemforge_info *info) {
    if (r->top_k < 0) r->top_k = info->top_k;
    if (r->guidance < 0 && info->guidance > 0) r->guidance = info->guidance;
    if (!r->steps) r->steps = info->steps;
}

// What a recording would say, for a look at a request whose recording comes later.
static void stand_in(stemforge_request *r) {
    static const char *const none[] = {"N"};
    if (!followed_asks(r, "tempo")) return;
    if (!(r->bpm > 0)) r->bpm = 120;
    if (followed_asks(r, "chords")) r->chords = none, r->chord_count = 1;
}

static status settle_recording(request *q, err *e) {
    stemforge_request *r = &q->settled;
    if (!r->follow_count) return OK;
    if (r->recording || r->recording_image) return followed_open(&q->followed, r, &q->g->follow, e);
    if (!q->look) return err_field(e, "recording", "expected a recording to follow, found none");
    stand_in(r);
    return OK;
}

static int takes_of(const stemforge_request *r) {
    return MAX(r->takes, 1);
}

static status add_take(request *q, size_t stem, int number, err *e) {
    take *t;
    status rc = q->g->f->ops->take(q->plan, stem, &t, e);
    if (rc) return rc;
    t->number = number;
    t->seed = q->r->seed + (uint64_t)number * TAKE_STEP;
    q->items[q->job.count++].t = t;
    return OK;
}

static status plan_takes(request *q, size_t stem, err *e) {
    int first = q->r->take ? q->r->take[stem] : 0;
    if (first < 0 || first >= STEMFORGE_TAKES_MAX)
        return err_field(e, "take", "expected 0 to %d, found %d", STEMFORGE_TAKES_MAX - 1, first);
    status rc = OK;
    for (int k = 0; !rc && k < takes_of(q->r); k++) rc = add_take(q, stem, first + k, e);
    return rc;
}

static status plan_stems(request *q, err *e) {
    const stemforge_request *r = q->r;
    const family_ops *ops = q->g->f->ops;
    status rc = check_first(r, e);
    settle_defaults(&q->settled, &q->g->f->info);
    if (!rc) rc = settle_recording(q, e);
    if (!rc) rc = ops->plan(q->g->f, r, &q->plan, e);
    q->job.items = q->items;
    for (size_t i = 0; !rc && i < r->stem_count; i++) {
        if (r->skip && r->skip[i]) continue;
        rc = plan_takes(q, i, e);
    }
    return rc;
}

static post_shape shape_of(const stemforge_request *r) {
    post_shape s = post_plain(length_frames(r, POST_RATE));
    if (r->loop) s = (post_shape){.frames = s.frames, .fold = length_fold_frames(r, POST_RATE)};
    if (r->fade_in_seconds >= 0) s.fade_in = post_frames(r->fade_in_seconds, POST_RATE);
    if (r->fade_out_seconds >= 0) s.fade_out = post_frames(r->fade_out_seconds, POST_RATE);
    return s;
}

static status finish_sound(const request *q, const take *t, const post_shape *shape, float *out,
                           err *e) {
    const join_front kept = {q->plan->front.x, q->plan->front.frames};
    const stemforge_info *info = &q->g->f->info;
    int channels = info->channels;
    double seconds = steadied_span(q->plan->r, info->window_seconds);
    status rc = seconds > 0
                    ? steady_hold(t->planes, channels, t->samples, info->sample_rate, seconds, e)
                    : OK;
    if (rc) return rc;
    if (kept.x)
        return join_finish(out, &kept, shape, t->planes, channels, t->samples, q->g->to_rate, e);
    return post_finish(out, shape, t->planes, channels, t->samples, q->g->to_rate, e);
}

// The finished sound of a take, heard.
static status hear(candidate **out, request *q, take *t, err *e) {
    post_rest rests[RESTS_MAX];
    post_shape shape = shape_of(q->plan->r);
    shape.rest = rests;
    shape.rests = rests_of(rests, q->plan->r, stem_name(q, t), POST_RATE);
    *out = NULL;
    float *sound = mem_alloc((size_t)((shape.frames + shape.fold) * POST_CHANNELS) * sizeof *sound);
    if (!sound) return err_set(e, ERR_OOM, "no memory for the sound of %s", stem_name(q, t));
    status rc = finish_sound(q, t, &shape, sound, e);
    mem_free(t->planes);
    t->planes = NULL;
    if (rc) {
        mem_free(sound);
        return rc;
    }
    const stemforge_stem s = {.name = stem_name(q, t),
                              .frames = shape.frames,
                              .channels = POST_CHANNELS,
                              .sample_rate = POST_RATE,
                              .prompt = t->line,
                              .model = q->g->f->info.name,
                              .request = q->plan->r,
                              .heard = q->followed ? &q->followed->heard : NULL,
                              .temperature = t->temperature,
                              .seconds_spent = os_seconds() - q->started,
                              .take = t->number};
    return choice_hear(out, &s, sound, e);
}

// Hands a take to the caller and lets go of it.
static status tell(request *q, size_t stem, candidate *c, bool chosen, err *e) {
    status rc = OK;
    c->stem.chosen = chosen;
    *e = (err){0};
    if (q->ev->stem_done) rc = q->ev->stem_done(q->ev->arg, stem, &c->stem, e);
    e->code = rc;
    choice_free(c);
    return rc;
}

// Keeps the better one of a finished take and the best before it. The last one decides.
static status deliver(request *q, const take *t, candidate *c, err *e) {
    candidate **best = &q->best[t->stem];
    status rc = OK;
    candidate *other = *best;
    bool better = !other || choice_is_better(c, other);
    *best = better ? c : other;
    if (other) rc = tell(q, t->stem, better ? other : c, false, e);
    if (rc || ++q->ended[t->stem] < takes_of(q->r)) return rc;
    c = *best;
    *best = NULL;
    return tell(q, t->stem, c, true, e);
}

// The steps of all takes of a stem. Those that wait are as long as those that run.
static void report_stem(request *q, size_t stem) {
    int64_t done = 0, longest = 0;
    for (size_t i = 0; i < q->job.count; i++) {
        int64_t d, t;
        if (q->items[i].t->stem != stem) continue;
        batch_progress(q->g->b, &q->job, i, &d, &t);
        done += d;
        longest = MAX(longest, t);
    }
    if (longest) q->ev->progress(q->ev->arg, stem, done, longest * takes_of(q->r));
}

static void report(request *q) {
    for (size_t i = 0; i < q->r->stem_count && q->ev->progress; i++) report_stem(q, i);
}

// Takes that have ended, in the order of the batch.
typedef struct {
    request *q;
    size_t n;
    take *t[TOGETHER_MAX];
    candidate *heard[TOGETHER_MAX]; // NULL: why says it
    err why[TOGETHER_MAX];
} ended;

static void hear_one(void *arg, size_t k) {
    ended *x = arg;
    if (!x->why[k].code) x->why[k].code = hear(&x->heard[k], x->q, x->t[k], &x->why[k]);
}

// Waits for the next one, and takes those that ended with it along.
static void wait_ended(ended *x, request *q) {
    *x = (ended){.q = q};
    for (int i, ms = WAIT_MS; x->n < TOGETHER_MAX; ms = 0, x->n++) {
        i = batch_wait(q->g->b, &q->job, ms);
        if (i < 0) return;
        x->t[x->n] = q->items[i].t;
        x->why[x->n] = q->items[i].why;
    }
}

// After a failure the rest is only freed.
static status deliver_ended(ended *x, err *e) {
    status rc = OK;
    for (size_t k = 0; k < x->n; k++) {
        if (rc) {
            choice_free(x->heard[k]);
            continue;
        }
        rc = x->why[k].code;
        if (rc) *e = x->why[k];
        if (!rc) rc = deliver(x->q, x->t[k], x->heard[k], e);
        if (rc) err_about(e, "%s", stem_name(x->q, x->t[k]));
    }
    return rc;
}

// Equally long stems end together, so they are heard together.
static status follow(request *q, err *e) {
    status rc = OK;
    for (size_t left = q->job.count; left && !rc;) {
        ended x;
        wait_ended(&x, q);
        report(q);
        if (q->ev->canceled && q->ev->canceled(q->ev->arg))
            return err_set(e, ERR_CANCELED, "canceled");
        left -= x.n;
        together_run(x.n, compute_threads(q->g->c), hear_one, &x);
        rc = deliver_ended(&x, e);
    }
    return rc;
}

static void request_close(request *q) {
    const family_ops *ops = q->g->f->ops;
    for (size_t i = 0; i < q->job.count; i++) ops->take_free(q->items[i].t);
    for (size_t i = 0; i < STEMFORGE_STEMS_MAX; i++) choice_free(q->best[i]);
    if (q->plan) ops->plan_free(q->plan);
    followed_close(q->followed);
    mem_free(q);
}

static void tell_warnings(const request *q) {
    const warnings *all = &q->plan->said;
    for (size_t i = 0; i < all->n && q->ev->warning; i++) {
        const warning *w = &all->item[i];
        q->ev->warning(q->ev->arg, &(stemforge_warning){w->code, w->field, w->text});
    }
}

static status make(request *q, err *e) {
    batch *b = q->g->b;
    if (!q->job.count) return OK;
    status rc = batch_enter(b, &q->job, e);
    if (rc) return rc;
    rc = follow(q, e);
    batch_leave(b, &q->job);
    return rc;
}

// look: nothing is made.
static status generate(stemforge_engine *g, const stemforge_request *r, const stemforge_events *ev,
                       bool look, err *e) {
    static const stemforge_events none;
    request *q = mem_calloc(1, sizeof *q);
    if (!q) return err_set(e, ERR_OOM, "no memory for a request");
    q->g = g;
    q->settled = *r;
    q->look = look;
    q->r = &q->settled;
    q->ev = ev ? ev : &none;
    q->started = os_seconds();
    status rc = plan_stems(q, e);
    if (!rc) tell_warnings(q);
    if (!rc && !look) rc = make(q, e);
    request_close(q);
    return rc;
}

static status come_in(stemforge_engine *g, err *e) {
    pthread_mutex_lock(&g->mu);
    status rc = g->closing ? err_set(e, ERR_CANCELED, "the engine is closing") : OK;
    g->inside += rc == OK;
    pthread_mutex_unlock(&g->mu);
    return rc;
}

static void go_out(stemforge_engine *g) {
    pthread_mutex_lock(&g->mu);
    g->inside--;
    pthread_cond_broadcast(&g->left);
    pthread_mutex_unlock(&g->mu);
}

static status enter(stemforge_engine *g, const stemforge_request *r, const stemforge_events *ev,
                    bool look, err *e) {
    err unasked;
    if (!e) e = &unasked;
    if (!look && !g->b)
        return err_set(e, ERR_ARG, "expected a model with its weights, found its papers alone");
    status rc = come_in(g, e);
    if (rc) return rc;
    fenv_t kept;
    plain_arithmetic(&kept);
    rc = generate(g, r, ev, look, e);
    fesetenv(&kept);
    go_out(g);
    return rc;
}

stemforge_status stemforge_generate(stemforge_engine *g, const stemforge_request *r,
                                    const stemforge_events *ev, stemforge_error *e) {
    return enter(g, r, ev, false, e);
}

stemforge_status stemforge_engine_check(stemforge_engine *g, const stemforge_request *r,
                                        const stemforge_events *ev, stemforge_error *e) {
    return enter(g, r, ev, true, e);
}

// --- finished stems

stemforge_status stemforge_stem_wav(const stemforge_stem *s, uint8_t **wav, size_t *size,
                                    stemforge_error *e) {
    buf out;
    fenv_t kept;
    buf_init(&out, WAV_MAX);
    plain_arithmetic(&kept);
    metadata about = {0};
    status rc = s->request ? metadata_init(&about, s, e) : OK;
    if (!rc)
        rc = file_encode(&out, FILE_WAV16, s->samples, s->frames, s->channels, s->sample_rate,
                         &about.tags, e);
    metadata_deinit(&about);
    fesetenv(&kept);
    if (!rc) rc = buf_status(&out, e);
    if (rc) buf_deinit(&out);
    *size = rc ? 0 : out.n;
    *wav = rc ? NULL : (uint8_t *)buf_take(&out);
    return rc;
}

void stemforge_free(void *p) {
    mem_free(p);
}
