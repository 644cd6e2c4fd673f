// origins.c - see origins.h.
#include "service/origins.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define BUSY_MS 1000 // for an origin that has all the senders it may have

typedef struct {
    char name[ORIGIN_SIZE]; // "": unused
    int sending, senders;   // attempts under way; how many there may be
    int silences;           // in a row
    int64_t probe_ms;       // monotonic: no attempt before this while it is silent
} entry;

struct origins {
    int threads;
    pthread_mutex_t mu; // guards what follows
    int sending;        // to all origins
    entry list[ORIGINS_MAX];
};

status origins_open(origins **out, int threads, err *e) {
    origins *o = *out = mem_calloc(1, sizeof *o);
    if (!o) return err_set(e, ERR_OOM, "callback origins");
    o->threads = threads;
    pthread_mutex_init(&o->mu, NULL);
    return OK;
}

void origins_close(origins *o) {
    if (!o) return;
    pthread_mutex_destroy(&o->mu);
    mem_free(o);
}

// The origin's entry, made when there is room; NULL when all are in use. mu is held.
static entry *find(origins *o, const char *origin) {
    entry *vacant = NULL;
    for (size_t i = 0; i < ORIGINS_MAX; i++) {
        entry *n = &o->list[i];
        if (strcmp(n->name, origin) == 0) return n;
        if (!vacant && (!n->name[0] || (!n->sending && !n->silences))) vacant = n;
    }
    if (vacant) {
        *vacant = (entry){.senders = 1};
        snprintf(vacant->name, sizeof vacant->name, "%s", origin);
    }
    return vacant;
}

// Milliseconds until an attempt may begin; 0: now. mu is held.
static int64_t wait_of(const origins *o, const entry *n, int64_t mono_ms) {
    if (n->silences >= ORIGIN_SILENCES_MAX) {
        return n->sending ? ORIGIN_PROBE_MS : MAX(n->probe_ms - mono_ms, 0);
    }
    bool last_thread = o->threads > 1 && o->sending + 1 >= o->threads;
    bool kept = last_thread && (n->sending || n->silences); // for others
    return n->sending >= n->senders || kept ? BUSY_MS : 0;
}

int64_t origins_enter(origins *o, const char *origin, int64_t mono_ms) {
    pthread_mutex_lock(&o->mu);
    entry *n = find(o, origin);
    int64_t wait = n ? wait_of(o, n, mono_ms) : 0;
    if (!wait) o->sending++;
    if (n && !wait) {
        n->sending++;
        n->probe_ms = mono_ms + ORIGIN_PROBE_MS;
    }
    pthread_mutex_unlock(&o->mu);
    return wait;
}

void origins_leave(origins *o, const char *origin, origin_outcome outcome, int64_t mono_ms) {
    pthread_mutex_lock(&o->mu);
    o->sending--;
    entry *n = find(o, origin);
    if (n && n->sending) n->sending--;
    if (n && outcome == ORIGIN_ANSWERED) {
        n->silences = 0;
        n->senders = MIN(n->senders + 1, ORIGIN_SENDERS_MAX);
    } else if (n && outcome == ORIGIN_SILENT) {
        n->silences++;
        n->senders = 1;
        n->probe_ms = mono_ms + ORIGIN_PROBE_MS;
    }
    pthread_mutex_unlock(&o->mu);
}

void origins_waiting(origins *o, int64_t mono_ms, origins_list *out) {
    out->count = 0;
    pthread_mutex_lock(&o->mu);
    for (size_t i = 0; i < ORIGINS_MAX; i++) {
        const entry *n = &o->list[i];
        if (!n->name[0] || !wait_of(o, n, mono_ms)) continue;
        snprintf(out->text[out->count], sizeof out->text[0], "%s/", n->name);
        out->prefix[out->count] = out->text[out->count];
        out->count++;
    }
    pthread_mutex_unlock(&o->mu);
}
