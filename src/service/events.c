// events.c - see events.h.
#include "service/events.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"

// A comment line now and then keeps proxies from closing a quiet stream, and shows us clients that
// have gone.
#define HEARTBEAT_MS 15000
// An event with a whole job in it, parameters of any size and links to all stems included.
#define EVENT_MAX HTTP_STREAM_PIECE_MAX
// Milliseconds between progress events of a job. A thread of this module sends them; the thread
// that generates only writes the numbers down.
#define PROGRESS_MS 200
// Waking hundreds of streams at once would keep the HTTP thread busy for tens of milliseconds, so
// an event is sent to a group of streams at a time, with a pause between groups.
#define GROUP 32
#define GROUP_PAUSE_MS 2

typedef struct running {
    struct running *next;
    char id[JOB_ID_MAX + 1];
    char stems[JOB_STEMS_MAX][JOB_STEM_NAME_MAX + 1];
    double progress[JOB_STEMS_MAX];
    size_t count;
    size_t last; // the stem that made progress last
    bool dirty;  // progress was made that streams have not heard of
    bool remote; // in another process
} running;

typedef struct follower {
    struct follower *next;
    char id[JOB_ID_MAX + 1];
    http_stream *stream;
    uint64_t round; // the last one it was told in
} follower;

struct events {
    pthread_mutex_t mu; // guards everything below
    pthread_cond_t wake;
    running *jobs;
    follower *followers;
    int follower_count;
    uint64_t next_id, round;
    bool dirty; // some job is
    bool stopping;
    pthread_t heart;
    bool beats;
};

// Called with the lock. Sends text to those who follow id (NULL: everyone); drops the ones that do
// not take it, and all of them when it was the last.
static void send_text(events *v, const char *id, const buf *text, bool last) {
    for (follower **at = &v->followers; *at;) {
        follower *f = *at;
        bool mine = !id || strcmp(f->id, id) == 0;
        if (!mine || (http_stream_send(f->stream, buf_bytes(text)) && !last)) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        http_stream_end(f->stream);
        mem_free(f);
        v->follower_count--;
    }
}

// As send_text, by groups. Called with the lock, which is let go between groups.
static void send_by_groups(events *v, const char *id, const buf *text) {
    uint64_t round = ++v->round;
    for (int told = GROUP; told == GROUP && !v->stopping;) {
        told = 0;
        for (follower **at = &v->followers; *at && told < GROUP;) {
            follower *f = *at;
            bool mine = f->round != round && (!id || strcmp(f->id, id) == 0);
            f->round = mine ? round : f->round;
            told += mine;
            if (!mine || http_stream_send(f->stream, buf_bytes(text))) {
                at = &f->next;
                continue;
            }
            *at = f->next;
            http_stream_end(f->stream);
            mem_free(f);
            v->follower_count--;
        }
        if (told < GROUP) break;
        pthread_mutex_unlock(&v->mu);
        os_sleep_ms(GROUP_PAUSE_MS);
        pthread_mutex_lock(&v->mu);
    }
}

static void write_event(events *v, buf *out, const char *name, const json *data) {
    buf_printf(out, "id: %llu\nevent: %s\ndata: ", (unsigned long long)++v->next_id, name);
    json_write(out, data, JSON_TIGHT, NULL);
    buf_add_str(out, "\n\n");
}

static json *progress_json(const running *r) {
    json *j = json_new_object();
    double sum = 0;
    for (size_t i = 0; i < r->count; i++) sum += r->progress[i];
    json_set_str(j, "generation_request_id", r->id);
    json_set_str(j, "stem_type", r->stems[r->last]);
    json_set_num(j, "stem_progress", r->progress[r->last]);
    json_set_num(j, "progress", r->count ? sum / (double)r->count : 0);
    return j;
}

// Tells of one job's progress. False when there was none to tell. The job may be gone after this.
static bool tell_one(events *v) {
    running *r = v->jobs;
    while (r && !r->dirty) r = r->next;
    if (!r) return false;
    r->dirty = false;
    char id[JOB_ID_MAX + 1];
    snprintf(id, sizeof id, "%s", r->id);
    json *j = progress_json(r);
    buf text;
    buf_init(&text, EVENT_MAX);
    write_event(v, &text, "progress", j);
    if (!text.failed) send_by_groups(v, id, &text);
    buf_deinit(&text);
    json_free(j);
    return true;
}

static void *beat(void *arg) {
    events *v = arg;
    buf ping;
    buf_init(&ping, 64);
    buf_add_str(&ping, ": still here\n\n");
    int64_t beaten = os_clock_ns();
    pthread_mutex_lock(&v->mu);
    while (!v->stopping) {
        // Sleeps until there is progress to tell or a beat is due; then collects for PROGRESS_MS.
        int64_t left = HEARTBEAT_MS - (os_clock_ns() - beaten) / 1000000;
        bool was_dirty = v->dirty;
        os_cond_wait_ms(&v->wake, &v->mu, was_dirty ? PROGRESS_MS : MAX(left, 1));
        if (was_dirty && !v->stopping) {
            v->dirty = false;
            // One turn for each job there is now, so that the heartbeat is not late.
            int turns = 0;
            for (const running *r = v->jobs; r; r = r->next) turns++;
            while (turns-- > 0 && tell_one(v)) continue;
        }
        if (os_clock_ns() - beaten >= (int64_t)HEARTBEAT_MS * 1000000 && !v->stopping) {
            send_by_groups(v, NULL, &ping);
            beaten = os_clock_ns();
        }
    }
    pthread_mutex_unlock(&v->mu);
    buf_deinit(&ping);
    return NULL;
}

status events_open(events **out, err *e) {
    events *v = *out = mem_calloc(1, sizeof *v);
    if (!v) return err_set(e, ERR_OOM, "events");
    pthread_mutex_init(&v->mu, NULL);
    os_cond_init(&v->wake);
    v->beats = pthread_create(&v->heart, NULL, beat, v) == 0;
    if (v->beats) return OK;
    events_close(v);
    *out = NULL;
    return err_set(e, ERR_IO, "no thread for event streams");
}

void events_close(events *v) {
    if (!v) return;
    pthread_mutex_lock(&v->mu);
    v->stopping = true;
    pthread_cond_signal(&v->wake);
    pthread_mutex_unlock(&v->mu);
    if (v->beats) pthread_join(v->heart, NULL);
    while (v->followers) {
        follower *f = v->followers;
        v->followers = f->next;
        http_stream_end(f->stream);
        mem_free(f);
    }
    while (v->jobs) {
        running *r = v->jobs;
        v->jobs = r->next;
        mem_free(r);
    }
    pthread_cond_destroy(&v->wake);
    pthread_mutex_destroy(&v->mu);
    mem_free(v);
}

static running *find(events *v, const char *id) {
    running *r = v->jobs;
    while (r && strcmp(r->id, id) != 0) r = r->next;
    return r;
}

// Called with the lock. The job's entry, made when there was none; NULL: no memory.
static running *begin(events *v, const job *j, bool remote) {
    running *r = find(v, j->id);
    if (!r) {
        r = mem_calloc(1, sizeof *r);
        if (!r) return NULL;
        r->next = v->jobs;
        v->jobs = r;
    }
    snprintf(r->id, sizeof r->id, "%s", j->id);
    r->remote = remote;
    r->count = j->stem_count;
    for (size_t i = 0; i < r->count; i++) {
        snprintf(r->stems[i], sizeof r->stems[i], "%s", j->stems[i].name);
        r->progress[i] = j->stems[i].done ? 1 : 0;
    }
    return r;
}

void events_begin(events *v, const job *j) {
    pthread_mutex_lock(&v->mu);
    begin(v, j, false);
    pthread_mutex_unlock(&v->mu);
}

// Called with the lock.
static void make_progress(events *v, running *r, size_t stem, double fraction) {
    r->progress[stem] = fraction;
    r->last = stem;
    r->dirty = v->followers != NULL;
    if (!r->dirty || v->dirty) return;
    v->dirty = true;
    pthread_cond_signal(&v->wake);
}

void events_progress(events *v, const char *id, size_t stem, double fraction) {
    pthread_mutex_lock(&v->mu);
    running *r = find(v, id);
    if (r && stem < r->count) make_progress(v, r, stem, fraction);
    pthread_mutex_unlock(&v->mu);
}

// Called with the lock.
static void forget(events *v, const char *id) {
    for (running **at = &v->jobs; *at; at = &(*at)->next) {
        running *r = *at;
        if (strcmp(r->id, id) != 0) continue;
        *at = r->next;
        mem_free(r);
        return;
    }
}

void events_forget(events *v, const char *id) {
    pthread_mutex_lock(&v->mu);
    forget(v, id);
    pthread_mutex_unlock(&v->mu);
}

bool events_remote(events *v, const job *j) {
    pthread_mutex_lock(&v->mu);
    running *r = find(v, j->id);
    bool here = r && !r->remote, began = false;
    if (!here && j->state != JOB_RUNNING) forget(v, j->id);
    if (!here && j->state == JOB_RUNNING) {
        began = !r;
        if (!r) r = begin(v, j, true);
        for (size_t i = 0; r && i < MIN(r->count, j->stem_count); i++)
            if (j->stems[i].progress > r->progress[i]) make_progress(v, r, i, j->stems[i].progress);
    }
    pthread_mutex_unlock(&v->mu);
    return began;
}

// Called with the lock.
static bool follows(const events *v, const char *id) {
    const follower *f = v->followers;
    while (f && strcmp(f->id, id) != 0) f = f->next;
    return f != NULL;
}

bool events_follows(events *v, const char *id) {
    pthread_mutex_lock(&v->mu);
    bool yes = follows(v, id);
    pthread_mutex_unlock(&v->mu);
    return yes;
}

// Called with the lock. Jobs elsewhere that nobody follows any more.
static void forget_unfollowed(events *v) {
    for (running **at = &v->jobs; *at;) {
        running *r = *at;
        if (!r->remote || follows(v, r->id)) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        mem_free(r);
    }
}

size_t events_followed(events *v, char (*ids)[JOB_ID_MAX + 1], size_t cap) {
    size_t n = 0;
    pthread_mutex_lock(&v->mu);
    forget_unfollowed(v);
    for (const follower *f = v->followers; f && n < cap; f = f->next) {
        const running *r = find(v, f->id);
        bool known = r && !r->remote;
        for (size_t i = 0; i < n && !known; i++) known = strcmp(ids[i], f->id) == 0;
        if (!known) snprintf(ids[n++], JOB_ID_MAX + 1, "%s", f->id);
    }
    pthread_mutex_unlock(&v->mu);
    return n;
}

bool events_find(events *v, const char *id, double *progress, size_t cap) {
    pthread_mutex_lock(&v->mu);
    const running *r = find(v, id);
    bool here = r && !r->remote;
    for (size_t i = 0; here && i < MIN(cap, r->count); i++) progress[i] = r->progress[i];
    pthread_mutex_unlock(&v->mu);
    return here;
}

void events_say(events *v, const char *id, const char *name, json *data, bool last) {
    buf text;
    buf_init(&text, EVENT_MAX);
    pthread_mutex_lock(&v->mu);
    if (data) write_event(v, &text, name, data);
    if (text.failed) buf_clear(&text); // no half events: streams that must end do so without it
    if (text.n || last) send_text(v, id, &text, last);
    pthread_mutex_unlock(&v->mu);
    buf_deinit(&text);
    json_free(data);
}

status events_join(events *v, const char *id, http_stream *t, const char *name, json *data,
                   bool last, err *e) {
    follower *f = mem_calloc(1, sizeof *f);
    status rc = f && data ? OK : err_set(e, ERR_OOM, "event stream");
    buf text;
    buf_init(&text, EVENT_MAX);
    pthread_mutex_lock(&v->mu);
    if (!rc && v->follower_count >= EVENTS_STREAMS_MAX)
        rc = err_set(e, ERR_LIMIT, "%d event streams are open, the most there may be",
                     EVENTS_STREAMS_MAX);
    if (!rc) write_event(v, &text, name, data);
    if (!rc) rc = buf_status(&text, e);
    if (!rc && http_stream_send(t, buf_bytes(&text)) && !last) {
        snprintf(f->id, sizeof f->id, "%s", id);
        f->stream = t;
        f->next = v->followers;
        v->followers = f;
        v->follower_count++;
        f = NULL;
    } else {
        http_stream_end(t);
    }
    pthread_mutex_unlock(&v->mu);
    buf_deinit(&text);
    json_free(data);
    mem_free(f);
    return rc;
}

int events_streams(events *v) {
    pthread_mutex_lock(&v->mu);
    int n = v->follower_count;
    pthread_mutex_unlock(&v->mu);
    return n;
}
