// fleet.c - see fleet.h.
#include "service/fleet.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/job_news.h"

#define FACTS_MAX ((size_t)8 << 10)
#define WORDS_MAX 64 // names of models that were heard of, kept until the end
#define DAY_MS (24 * 3600 * 1000.0)
#define FOR_EVER_MS (INT64_C(100) * 365 * 24 * 3600 * 1000)

// A model of a worker, as it says.
typedef struct {
    const char *key, *name; // words that are kept
} model_word;

struct fleet {
    fleet_config config;
    bool shared;
    char name[JOB_CREW_NAME_MAX + 1]; // of this process
    pthread_mutex_t mu;               // guards what follows
    pthread_cond_t wake;
    fleet_state state;                  // of all
    const char *keys[FLEET_MODELS_MAX]; // of models that were heard of; NULL behind the last
    fleet_state by_key[FLEET_MODELS_MAX];
    const char *model, *family;            // of this process's worker; NULL: not begun
    model_word models[WORKER_MODELS_MAX];  // likewise
    bool gpu;                              // it computes on one
    char papers[JOB_PAPERS_KEY_MAX + 1];   // the key of its first model's; "": not left yet
    char judge_by[JOB_PAPERS_KEY_MAX + 1]; // that of the model that requests are judged by
    far_model *far;                        // NULL where jobs run
    char *words[WORDS_MAX];
    int word_count;
    bool closing;
    pthread_t thread;
    bool runs;
};

// Called with the lock. The same text, kept; NULL for none, or when there are too many.
static const char *keep_word(fleet *f, const char *text) {
    if (!text || !*text) return NULL;
    for (int i = 0; i < f->word_count; i++)
        if (strcmp(f->words[i], text) == 0) return f->words[i];
    char *copy = f->word_count < WORDS_MAX ? mem_strdup(text) : NULL;
    if (copy) f->words[f->word_count++] = copy;
    return copy;
}

// ---- what this process says

static int model_count(const fleet *f) {
    int n = 0;
    while (n < WORKER_MODELS_MAX && f->models[n].key) n++;
    return n;
}

// Called with the lock.
static json *own_models(fleet *f) {
    json *list = json_new_array();
    for (int i = 0; i < model_count(f); i++) {
        json *one = json_new_object();
        json_set_str(one, "key", f->models[i].key);
        json_set_str(one, "model", f->models[i].name ? f->models[i].name : "");
        json_set_int(one, "slots", f->config.slots);
        json_set_num(one, "seconds_per_work",
                     worker_seconds_per_work(f->config.worker, f->models[i].key));
        json_add(list, one);
    }
    return list;
}

static json *own_facts(fleet *f) {
    const fleet_config *c = &f->config;
    json *v = json_new_object();
    pthread_mutex_lock(&f->mu);
    json_set_str(v, "model", f->model ? f->model : "");
    json_set_str(v, "family", f->family ? f->family : "");
    json_set_str(v, "device", f->gpu ? "gpu" : "cpu");
    json_set_str(v, "papers", f->papers);
    json_set(v, "models", own_models(f));
    json_set_int(v, "slots", (int64_t)c->slots * MAX(model_count(f), 1));
    pthread_mutex_unlock(&f->mu);
    json_set_str(v, "version", STEMFORGE_VERSION);
    json_set_str(v, "place", c->place);
    json_set_str(v, "weights", c->weights);
    json_set_int(v, "busy", worker_busy(c->worker));
    json_set_num(v, "seconds_per_work", worker_seconds_per_work(c->worker, ""));
    return v;
}

static void say(fleet *f, bool left) {
    double kept = f->config.kept_days * DAY_MS;
    json *facts = own_facts(f);
    buf text;
    err e;
    buf_init(&text, FACTS_MAX);
    status rc = facts ? json_write(&text, facts, JSON_TIGHT, &e) : ERR_OOM;
    if (!rc)
        rc = job_crew_say(f->config.jobs, f->name, buf_str(&text), left,
                          kept > 0 ? (int64_t)kept : FOR_EVER_MS, &e);
    if (rc && rc != ERR_OOM) log_debug("fleet", "%s", e.text);
    buf_deinit(&text);
    json_free(facts);
}

// ---- who there is

static const char *word(const json *v, const char *name) {
    return json_str_value(json_member_of(v, name));
}

static double number(const json *v, const char *name) {
    return json_num_value(json_member_of(v, name));
}

// Called with the lock. Where key stands in keys, or will; -1: there are too many.
static int place_of(fleet *f, const char *key) {
    int i = 0;
    while (i < FLEET_MODELS_MAX && f->keys[i] && strcmp(f->keys[i], key) != 0) i++;
    if (i == FLEET_MODELS_MAX) return -1;
    if (!f->keys[i]) f->keys[i] = keep_word(f, key);
    return f->keys[i] ? i : -1;
}

// Called with the lock. by_key [FLEET_MODELS_MAX], rates: how many said one.
static void count_model(fleet *f, fleet_state *by_key, int *rates, const json *m, bool live) {
    const char *key = word(m, "key");
    int i = key && *key ? place_of(f, key) : -1;
    if (i < 0) return;
    fleet_state *s = &by_key[i];
    double rate = number(m, "seconds_per_work");
    if (!s->known) s->model = keep_word(f, word(m, "model"));
    s->known = true;
    if (!live) return;
    s->live++;
    s->slots += (int)number(m, "slots");
    if (rate > 0) s->seconds_per_work += (rate - s->seconds_per_work) / ++rates[i];
}

// Called with the lock.
static void count_member(fleet *f, fleet_state *s, const job_crew_member *m, int *rates,
                         fleet_state *by_key, int *key_rates) {
    json *v = NULL;
    bool live = !m->left && m->silent_ms < FLEET_SILENT_MS;
    if (json_parse_any(&v, bytes_of(m->facts), FACTS_MAX, NULL)) return;
    if (!s->known) {
        s->model = keep_word(f, word(v, "model"));
        s->family = keep_word(f, word(v, "family"));
        s->place = keep_word(f, word(v, "place"));
        s->weights = keep_word(f, word(v, "weights"));
        s->known = s->model != NULL;
        const char *papers = word(v, "papers");
        if (s->known) snprintf(f->judge_by, sizeof f->judge_by, "%s", papers ? papers : "");
    }
    const json *models = json_find(v, "models");
    for (size_t i = 0; i < json_len(models); i++)
        count_model(f, by_key, key_rates, json_at(models, i), live);
    if (live) {
        double rate = number(v, "seconds_per_work");
        const char *device = word(v, "device");
        s->live++;
        s->slots += (int)number(v, "slots");
        s->busy += (int)number(v, "busy");
        s->gpu |= device && strcmp(device, "gpu") == 0;
        if (rate > 0) s->seconds_per_work += (rate - s->seconds_per_work) / ++*rates;
    }
    json_free(v);
}

static void look(fleet *f) {
    job_crew_member *list;
    size_t n;
    err e;
    if (job_crew_list(f->config.jobs, &list, &n, &e)) {
        log_debug("fleet", "%s", e.text);
        return; // what was known stays
    }
    fleet_state s = {.seconds_per_work = 0};
    fleet_state by_key[FLEET_MODELS_MAX] = {0};
    int rates = 0, key_rates[FLEET_MODELS_MAX] = {0};
    pthread_mutex_lock(&f->mu);
    for (size_t i = 0; i < n; i++) count_member(f, &s, &list[i], &rates, by_key, key_rates);
    if (!rates) s.seconds_per_work = -1;
    f->state = s;
    for (int i = 0; i < FLEET_MODELS_MAX; i++) {
        if (!key_rates[i]) by_key[i].seconds_per_work = -1;
        f->by_key[i] = by_key[i];
    }
    pthread_mutex_unlock(&f->mu);
    job_crew_free(list, n);
}

// Of the worker that was heard of last.
static void find_judge(fleet *f) {
    char key[JOB_PAPERS_KEY_MAX + 1];
    pthread_mutex_lock(&f->mu);
    memcpy(key, f->judge_by, sizeof key);
    pthread_mutex_unlock(&f->mu);
    if (f->far && key[0]) far_model_use(f->far, key);
}

// Once; what fails is tried again.
static void leave_papers(fleet *f) {
    char key[JOB_PAPERS_KEY_MAX + 1] = "";
    err e;
    if (f->papers[0]) return; // set by this thread alone
    status rc = far_model_publish(f->config.jobs, f->config.model, key, &e);
    if (rc) log_warn("fleet", "The papers of the model cannot be left for others: %s", e.text);
    pthread_mutex_lock(&f->mu);
    if (!rc) memcpy(f->papers, key, sizeof key);
    pthread_mutex_unlock(&f->mu);
}

static void *fleet_thread(void *arg) {
    fleet *f = arg;
    pthread_mutex_lock(&f->mu);
    while (!f->closing) {
        bool begun = f->model != NULL;
        pthread_mutex_unlock(&f->mu);
        if (begun) leave_papers(f);
        if (begun) say(f, false);
        look(f);
        find_judge(f);
        pthread_mutex_lock(&f->mu);
        if (!f->closing && begun == (f->model != NULL))
            os_cond_wait_ms(&f->wake, &f->mu, FLEET_SAY_MS);
    }
    pthread_mutex_unlock(&f->mu);
    return NULL;
}

// A name that no other process has.
static status make_name(fleet *f, err *e) {
    uint8_t random[16];
    status rc = random_bytes(random, sizeof random, e);
    if (!rc) hex_encode(f->name, random, sizeof random);
    return rc;
}

status fleet_open(fleet **out, const fleet_config *c, err *e) {
    fleet *f = *out = mem_calloc(1, sizeof *f);
    if (!f) return err_set(e, ERR_OOM, "fleet");
    f->config = *c;
    f->state.seconds_per_work = -1;
    f->shared = job_news_any(c->jobs);
    pthread_mutex_init(&f->mu, NULL);
    os_cond_init(&f->wake);
    status rc = make_name(f, e);
    if (!rc && f->shared && !c->works) rc = far_model_open(&f->far, c->jobs, e);
    if (!rc && f->shared) {
        look(f);
        f->runs = pthread_create(&f->thread, NULL, fleet_thread, f) == 0;
        if (!f->runs) rc = err_set(e, ERR_IO, "no thread for the fleet");
    }
    if (!rc) return OK;
    fleet_close(f);
    *out = NULL;
    return rc;
}

void fleet_begin(fleet *f, const stemforge_info *models, size_t n, bool gpu) {
    pthread_mutex_lock(&f->mu);
    f->model = keep_word(f, models[0].name);
    f->family = keep_word(f, models[0].family);
    for (size_t i = 0; i < n; i++)
        f->models[i] = (model_word){keep_word(f, models[i].key), keep_word(f, models[i].name)};
    f->gpu = gpu;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->mu);
}

// Called with the lock. What this process alone is.
static fleet_state own_state(fleet *f, const char *key, double rate) {
    const model_word *m = &f->models[0];
    while (key[0] && m < f->models + WORKER_MODELS_MAX && m->key && strcmp(m->key, key) != 0) m++;
    bool begun = m < f->models + WORKER_MODELS_MAX && m->key;
    return (fleet_state){.live = begun,
                         .known = begun,
                         .gpu = f->gpu,
                         .slots = f->config.slots * (key[0] ? 1 : MAX(model_count(f), 1)),
                         .busy = worker_busy(f->config.worker),
                         .model = begun ? m->name : NULL,
                         .family = begun ? f->family : NULL,
                         .seconds_per_work = rate};
}

fleet_state fleet_read(fleet *f, const char *key) {
    pthread_mutex_lock(&f->mu);
    double own = worker_seconds_per_work(f->config.worker, key);
    fleet_state s = f->state;
    if (key[0]) s = (fleet_state){.seconds_per_work = -1};
    for (int i = 0; i < FLEET_MODELS_MAX && key[0] && f->keys[i]; i++)
        if (strcmp(f->keys[i], key) == 0) s = f->by_key[i];
    if (s.seconds_per_work < 0) s.seconds_per_work = own; // newer than what was said
    if (f->far) s.judge = far_model_engine(f->far);
    s.judges = !f->far || s.judge || !f->judge_by[0] || far_model_refused(f->far);
    if (!f->shared) s = own_state(f, key, own);
    pthread_mutex_unlock(&f->mu);
    return s;
}

const char *fleet_key(fleet *f, size_t i) {
    pthread_mutex_lock(&f->mu);
    const char *key = i < FLEET_MODELS_MAX ? f->keys[i] : NULL;
    pthread_mutex_unlock(&f->mu);
    return key;
}

bool fleet_shared(const fleet *f) {
    return f->shared;
}

void fleet_close(fleet *f) {
    if (!f) return;
    pthread_mutex_lock(&f->mu);
    f->closing = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->mu);
    if (f->runs) {
        pthread_join(f->thread, NULL);
        if (f->model) say(f, true);
    }
    far_model_close(f->far);
    for (int i = 0; i < f->word_count; i++) mem_free(f->words[i]);
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->mu);
    mem_free(f);
}
