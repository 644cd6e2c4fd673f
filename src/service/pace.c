// pace.c - see pace.h.
#include "service/pace.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"

#define REST_MS 60000 // without a job; a new one wakes the thread
#define BODY_MAX ((size_t)64 << 10)

// What a callback says of a job beside its progress. Texts are mem_free.
typedef struct told {
    struct told *next;
    char id[JOB_ID_MAX + 1], audio_file_id[JOB_ID_MAX + 1];
    char stems[JOB_STEMS_MAX][JOB_STEM_NAME_MAX + 1];
    size_t stem_count;
    int64_t seq, due_ns, every_ns;
    char *url, *trace; // trace: NULL: none
} told;

struct pace {
    hook *hook;
    events *events;
    int64_t every_ns;
    pthread_mutex_t mu; // guards everything below
    pthread_cond_t wake;
    told *jobs;
    bool closing;
    pthread_t thread;
    bool runs;
};

static void told_free(told *t) {
    if (!t) return;
    mem_free(t->url);
    mem_free(t->trace);
    mem_free(t);
}

static told *told_of(const job *j, int64_t every_ns) {
    told *t = mem_calloc(1, sizeof *t);
    if (!t) return NULL;
    snprintf(t->id, sizeof t->id, "%s", j->id);
    snprintf(t->audio_file_id, sizeof t->audio_file_id, "%s", j->audio_file_id);
    t->stem_count = MIN(j->stem_count, (size_t)JOB_STEMS_MAX);
    for (size_t i = 0; i < t->stem_count; i++)
        snprintf(t->stems[i], sizeof t->stems[i], "%s", j->stems[i].name);
    t->seq = j->seq;
    t->every_ns = every_ns;
    t->due_ns = os_clock_ns() + every_ns;
    t->url = mem_strdup(j->callback_url);
    t->trace = mem_strdup(j->trace);
    if (t->url && (t->trace || !j->trace)) return t;
    told_free(t);
    return NULL;
}

static told *told_copy(const told *t) {
    told *copy = mem_calloc(1, sizeof *copy);
    if (!copy) return NULL;
    *copy = *t;
    copy->next = NULL;
    copy->url = mem_strdup(t->url);
    copy->trace = mem_strdup(t->trace);
    if (copy->url && (copy->trace || !t->trace)) return copy;
    told_free(copy);
    return NULL;
}

// Of no other delivery: a callback of an end has no time in what its id is made of.
static status delivery_id(const told *t, int64_t now_ms, char out[40], err *e) {
    char text[JOB_ID_MAX + 64], hex[2 * SHA256_LEN + 1];
    uint8_t digest[SHA256_LEN];
    snprintf(text, sizeof text, "%s %lld at %lld", t->id, (long long)t->seq, (long long)now_ms);
    status rc = hash_sha256(digest, bytes_of(text), e);
    if (rc) return rc;
    hex_encode(hex, digest, sizeof digest);
    snprintf(out, 40, "msg_%.26s", hex);
    return OK;
}

static status write_body(buf *out, const told *t, const double *progress, int64_t now_ms, err *e) {
    json *v = json_new_object(), *stems = json_new_array();
    double all = 0;
    for (size_t i = 0; i < t->stem_count; i++) {
        json *one = json_new_object();
        json_set_str(one, "stem_type", t->stems[i]);
        json_set_num(one, "progress", progress[i]);
        json_add(stems, one);
        all += progress[i] / (double)t->stem_count;
    }
    char when[OS_TIME_SIZE];
    os_time_text(when, now_ms, true);
    json_set_str(v, "generation_request_id", t->id);
    json_set_str(v, "audio_file_id", t->audio_file_id);
    json_set_str(v, "status", "processing");
    json_set_num(v, "progress", all);
    json_set(v, "stems", stems);
    json_set_str(v, "timestamp", when);
    status rc = json_write(out, v, JSON_TIGHT, e);
    json_free(v);
    return rc;
}

static void tell(pace *p, const told *t) {
    double progress[JOB_STEMS_MAX] = {0};
    if (!events_find(p->events, t->id, progress, JOB_STEMS_MAX)) return; // it has just ended
    int64_t now_ms = os_time_ms();
    char id[40];
    err e;
    buf body;
    buf_init(&body, BODY_MAX);
    status rc = delivery_id(t, now_ms, id, &e);
    if (!rc) rc = write_body(&body, t, progress, now_ms, &e);
    if (rc) {
        log_warn("callback", "progress of %s: %s", t->id, e.text);
    } else {
        hook_result r;
        const hook_message m = {t->url, id, t->trace, buf_bytes(&body)};
        hook_send(p->hook, &m, now_ms, &r);
        if (r.outcome != HOOK_DELIVERED)
            log_debug("callback", "The progress callback failed request_id=%s: %s", t->id, r.text);
    }
    buf_deinit(&body);
}

static told *first_due(pace *p) {
    told *first = p->jobs;
    for (told *t = first; t; t = t->next)
        if (t->due_ns < first->due_ns) first = t;
    return first;
}

static void *pace_thread(void *arg) {
    pace *p = arg;
    pthread_mutex_lock(&p->mu);
    while (!p->closing) {
        told *t = first_due(p);
        int64_t now = os_clock_ns();
        if (!t || t->due_ns > now) {
            int64_t ms = t ? (t->due_ns - now) / 1000000 + 1 : REST_MS;
            os_cond_wait_ms(&p->wake, &p->mu, ms);
            continue;
        }
        t->due_ns = now + t->every_ns;
        told *copy = told_copy(t);
        pthread_mutex_unlock(&p->mu);
        if (copy) tell(p, copy);
        told_free(copy);
        pthread_mutex_lock(&p->mu);
    }
    pthread_mutex_unlock(&p->mu);
    return NULL;
}

status pace_open(pace **out, hook *h, events *v, double seconds, err *e) {
    pace *p = *out = mem_calloc(1, sizeof *p);
    if (!p) return err_set(e, ERR_OOM, "callbacks of progress");
    *p = (pace){.hook = h, .events = v, .every_ns = (int64_t)(seconds * 1e9)};
    pthread_mutex_init(&p->mu, NULL);
    os_cond_init(&p->wake);
    p->runs = pthread_create(&p->thread, NULL, pace_thread, p) == 0;
    if (p->runs) return OK;
    pace_close(p);
    *out = NULL;
    return err_set(e, ERR_IO, "no thread for callbacks of progress");
}

void pace_close(pace *p) {
    if (!p) return;
    pthread_mutex_lock(&p->mu);
    p->closing = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->mu);
    if (p->runs) pthread_join(p->thread, NULL);
    while (p->jobs) {
        told *t = p->jobs;
        p->jobs = t->next;
        told_free(t);
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mu);
    mem_free(p);
}

void pace_begin(pace *p, const job *j, double seconds) {
    if (!p || !j->callback_url) return;
    int64_t every_ns = seconds < 0 ? p->every_ns : (int64_t)(seconds * 1e9);
    if (!every_ns) return;
    told *t = told_of(j, every_ns);
    if (!t) {
        log_warn("callback", "no memory to tell the progress of %s", j->id);
        return;
    }
    pthread_mutex_lock(&p->mu);
    t->next = p->jobs;
    p->jobs = t;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->mu);
}

void pace_end(pace *p, const char *id) {
    if (!p) return;
    pthread_mutex_lock(&p->mu);
    told **at = &p->jobs;
    while (*at && strcmp((*at)->id, id) != 0) at = &(*at)->next;
    told *gone = *at;
    if (gone) *at = gone->next;
    pthread_mutex_unlock(&p->mu);
    told_free(gone);
}
