// metrics.c - see metrics.h.
#include "service/metrics.h"

#include <assert.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "request/stems.h"

#define LABELS_MAX 160
#define BOUNDS_MAX 14

// COUNTERS and HISTOGRAMS: one for each of their labels.
typedef enum { COUNTER, GAUGE, HISTOGRAM, COUNTERS, HISTOGRAMS } kind;
static const char *const kind_names[] = {"counter", "gauge", "histogram", "counter", "histogram"};

typedef struct {
    const char *name;
    kind kind;
    const double *bounds; // ascending, ended by 0
    const char *help;
} definition;

static const double job_bounds[] = {0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 0};
static const double fast_bounds[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05,
                                     0.1,    0.25,  0.5,   1,     5,    0};
static const double wait_bounds[] = {0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 0};

#define P "stemforge_"
static const definition table[] = {
    {P "build_info", GAUGE, NULL, "1, with the version and model as labels"},
    {P "ready", GAUGE, NULL, "1 when a model is loaded and jobs are taken"},
    {P "draining", GAUGE, NULL, "1 after SIGTERM"},
    {P "model_loaded", GAUGE, NULL, "1 when a model is loaded, by model"},
    {P "model_info", GAUGE, NULL, "1, with the model and its name as labels"},
    {P "storage_connected", GAUGE, NULL, "1 when the last check of the storage passed"},
    {P "jobs_submitted_total", COUNTER, NULL, "jobs accepted"},
    {P "jobs_rejected_total", COUNTERS, NULL, "submissions not accepted, by reason"},
    {P "jobs_finished_total", COUNTERS, NULL, "jobs that ended, by status and reason"},
    {P "jobs", GAUGE, NULL, "jobs in the database, by state"},
    {P "jobs_waiting", GAUGE, NULL, "jobs in the queue"},
    {P "jobs_running", GAUGE, NULL, "jobs being worked on"},
    {P "queue_max", GAUGE, NULL, "jobs that may wait before 429"},
    {P "oldest_waiting_job_age_seconds", GAUGE, NULL, "age of the oldest job in the queue"},
    {P "queue_work_seconds", GAUGE, NULL, "seconds of audio asked for by jobs in the queue"},
    {P "slots", GAUGE, NULL, "jobs that may run at once (WORKERS)"},
    {P "slots_busy", GAUGE, NULL, "workers that have a job"},
    {P "fleet_workers", GAUGE, NULL, "processes that run jobs, of all that share the queue"},
    {P "fleet_slots", GAUGE, NULL, "jobs that all of them may run at once"},
    {P "fleet_slots_busy", GAUGE, NULL, "of these, the ones that run, as they last said"},
    {P "batch_size", GAUGE, NULL, "stems in the running step now"},
    {P "batch_waiting", GAUGE, NULL, "stems that wait for a place in the running step"},
    {P "batch_occupancy", GAUGE, NULL, "mean stems per step since the start"},
    {P "model_steps_total", COUNTER, NULL, "decoder steps run"},
    {P "model_rows_total", COUNTER, NULL, "sequences stepped: over steps it is the mean batch"},
    {P "model_busy_seconds_total", COUNTER, NULL, "time spent in decoder steps"},
    {P "on_gpu", GAUGE, NULL, "1 when a GPU computes"},
    {P "gpu_info", GAUGE, NULL, "1, with the GPU's name and the CUDA its driver knows as labels"},
    {P "gpu_memory_bytes", GAUGE, NULL, "memory of that GPU"},
    {P "gpu_failures_total", COUNTER, NULL, "times that a GPU failed and the CPU went on"},
    {P "job_queue_seconds", HISTOGRAM, job_bounds, "from acceptance to the first claim"},
    {P "job_predict_seconds", HISTOGRAM, job_bounds, "a stem, from start to samples"},
    {P "job_encode_seconds", HISTOGRAM, wait_bounds, "samples to WAV"},
    {P "job_upload_seconds", HISTOGRAM, wait_bounds, "WAV to storage, waits included"},
    {P "job_total_seconds", HISTOGRAM, job_bounds, "from acceptance to the end"},
    {P "audio_seconds_generated_total", COUNTERS, NULL, "seconds of audio made, by stem"},
    {P "real_time_factor", GAUGE, NULL, "audio seconds per wall second, the last finished job"},
    {P "stem_errors_total", COUNTERS, NULL, "stems that failed, by stem"},
    {P "leases_lost_total", COUNTER, NULL, "jobs taken away from their worker"},
    {P "job_commits_total", COUNTER, NULL, "database commits"},
    {P "job_writes_total", COUNTER, NULL, "writes that shared them"},
    {P "uploads_total", COUNTERS, NULL, "stems put into storage, by outcome"},
    {P "storage_requests_total", COUNTER, NULL, "requests asked of the storage"},
    {P "storage_failures_total", COUNTER, NULL, "of these, the ones that failed in the end"},
    {P "storage_retries_total", COUNTER, NULL, "HTTP requests to the storage that were repeats"},
    {P "storage_bytes_total", COUNTERS, NULL, "bytes to and from the storage, by direction"},
    {P "callback_attempts_total", COUNTERS, NULL, "callback attempts, by outcome"},
    {P "callback_seconds", HISTOGRAM, wait_bounds, "a callback attempt"},
    {P "callbacks", GAUGE, NULL, "callbacks of ended jobs, by state"},
    {P "callbacks_pending", GAUGE, NULL, "callbacks not yet delivered"},
    {P "callback_oldest_pending_age_seconds", GAUGE, NULL, "age of the oldest of them"},
    {P "http_requests_total", COUNTERS, NULL, "requests, by route, method and code"},
    {P "http_request_seconds", HISTOGRAMS, fast_bounds,
     "from a request's head to its answer's end"},
    {P "http_connections", GAUGE, NULL, "open connections"},
    {P "event_streams", GAUGE, NULL, "open /jobs/{id}/events"},
    {"process_resident_memory_bytes", GAUGE, NULL, "resident memory"},
    {"process_cpu_seconds_total", COUNTER, NULL, "processor time of the process"},
    {"process_open_fds", GAUGE, NULL, "open file descriptors"},
    {"process_start_time_seconds", GAUGE, NULL, "when the process started, since 1970"},
};
#undef P

typedef struct series {
    struct series *next;
    char labels[LABELS_MAX];
    double value; // histograms: the sum
    uint64_t count;
    uint64_t buckets[BOUNDS_MAX];
} series;

struct metrics {
    pthread_mutex_t mu; // guards everything
    series *first[ARRAY_LEN(table)];
    size_t count;
};

// Counters with labels, all of them: here are those whose labels are known to no other file alone.
static void begin_labelled(metrics *m) {
    static const char *const rejected[] = {
        "reason=\"queue_full\"", "reason=\"key_quota\"", "reason=\"not_ready\"",
        "reason=\"invalid\"",    "reason=\"conflict\"",  "reason=\"busy\"",
        "reason=\"io\"",         "reason=\"oom\"",       NULL};
    static const char *const finished[] = {
        "status=\"completed\",reason=\"ok\"",         "status=\"canceled\",reason=\"canceled\"",
        "status=\"failed\",reason=\"model_error\"",   "status=\"failed\",reason=\"invalid\"",
        "status=\"failed\",reason=\"out_of_memory\"", "status=\"failed\",reason=\"upload_failed\"",
        "status=\"failed\",reason=\"recording\"",     "status=\"failed\",reason=\"timeout\"",
        "status=\"failed\",reason=\"poison\"",        NULL};
    static const char *const uploads[] = {
        "outcome=\"ok\"",       "outcome=\"busy\"",     "outcome=\"io\"",
        "outcome=\"oom\"",      "outcome=\"argument\"", "outcome=\"format\"",
        "outcome=\"conflict\"", "outcome=\"canceled\"", NULL};
    static const char *const callbacks[] = {"outcome=\"2xx\"",
                                            "outcome=\"3xx\"",
                                            "outcome=\"4xx\"",
                                            "outcome=\"410\"",
                                            "outcome=\"429\"",
                                            "outcome=\"5xx\"",
                                            "outcome=\"local\"",
                                            "outcome=\"blocked\"",
                                            "outcome=\"timeout\"",
                                            "outcome=\"connect\"",
                                            NULL};
    static const char *const bytes_moved[] = {"direction=\"up\"", "direction=\"down\"", NULL};
    metrics_begin(m, "stemforge_jobs_rejected_total", rejected);
    metrics_begin(m, "stemforge_jobs_finished_total", finished);
    metrics_begin(m, "stemforge_uploads_total", uploads);
    metrics_begin(m, "stemforge_callback_attempts_total", callbacks);
    metrics_begin(m, "stemforge_storage_bytes_total", bytes_moved);
    for (size_t i = 0; i < ARRAY_LEN(stem_types); i++) {
        char label[40];
        snprintf(label, sizeof label, "stem=\"%s\"", stem_types[i].name);
        const char *const one[] = {label, NULL};
        metrics_begin(m, "stemforge_stem_errors_total", one);
        metrics_begin(m, "stemforge_audio_seconds_generated_total", one);
    }
}

status metrics_open(metrics **out, err *e) {
    metrics *m = mem_calloc(1, sizeof *m);
    *out = m;
    if (!m) return err_set(e, ERR_OOM, "metrics");
    pthread_mutex_init(&m->mu, NULL);
    static const char *const none[] = {"", NULL};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].kind == COUNTER || table[i].kind == HISTOGRAM)
            metrics_begin(m, table[i].name, none);
    }
    begin_labelled(m);
    return OK;
}

void metrics_close(metrics *m) {
    if (!m) return;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        while (m->first[i]) {
            series *s = m->first[i];
            m->first[i] = s->next;
            mem_free(s);
        }
    }
    pthread_mutex_destroy(&m->mu);
    mem_free(m);
}

static size_t find_definition(const char *name) {
    size_t i = 0;
    while (i < ARRAY_LEN(table) && strcmp(table[i].name, name) != 0) i++;
    assert(i < ARRAY_LEN(table));
    return i;
}

// Called with the lock. NULL when there is no room for another.
static series *find(metrics *m, size_t at, const char *labels) {
    if (!labels) labels = "";
    series **end = &m->first[at];
    for (; *end; end = &(*end)->next) {
        if (strcmp((*end)->labels, labels) == 0) return *end;
    }
    if (m->count == METRICS_SERIES_MAX || strlen(labels) >= LABELS_MAX) return NULL;
    series *s = mem_calloc(1, sizeof *s);
    if (!s) return NULL;
    snprintf(s->labels, sizeof s->labels, "%s", labels);
    m->count++;
    *end = s;
    return s;
}

static void touch(metrics *m, const char *name, const char *labels, double v, bool set) {
    if (!m) return;
    size_t at = find_definition(name);
    pthread_mutex_lock(&m->mu);
    series *s = find(m, at, labels);
    if (s) s->value = set ? v : s->value + v;
    pthread_mutex_unlock(&m->mu);
}

void metrics_begin(metrics *m, const char *name, const char *const *labels) {
    if (!m) return;
    size_t at = find_definition(name);
    pthread_mutex_lock(&m->mu);
    for (; *labels; labels++) (void)find(m, at, *labels);
    pthread_mutex_unlock(&m->mu);
}

void metrics_add(metrics *m, const char *name, const char *labels, double by) {
    touch(m, name, labels, by, false);
}

void metrics_set(metrics *m, const char *name, const char *labels, double value) {
    touch(m, name, labels, value, true);
}

void metrics_count(metrics *m, const char *name, const char *labels_fmt, ...) {
    char labels[LABELS_MAX];
    va_list ap;
    va_start(ap, labels_fmt);
    vsnprintf(labels, sizeof labels, labels_fmt, ap);
    va_end(ap);
    metrics_add(m, name, labels, 1);
}

void metrics_observe(metrics *m, const char *name, const char *labels, double value) {
    if (!m) return;
    size_t at = find_definition(name);
    const double *bounds = table[at].bounds;
    assert(bounds);
    pthread_mutex_lock(&m->mu);
    series *s = find(m, at, labels);
    if (s) {
        s->value += value;
        s->count++;
        for (size_t i = 0; bounds[i] > 0; i++) s->buckets[i] += value <= bounds[i];
    }
    pthread_mutex_unlock(&m->mu);
}

double metrics_get(metrics *m, const char *name, const char *labels) {
    size_t at = find_definition(name);
    double v = 0;
    pthread_mutex_lock(&m->mu);
    for (const series *s = m->first[at]; s; s = s->next) {
        if (strcmp(s->labels, labels ? labels : "") == 0)
            v = table[at].bounds ? (double)s->count : s->value;
    }
    pthread_mutex_unlock(&m->mu);
    return v;
}

static void write_histogram(const definition *d, const series *s, buf *out) {
    const char *comma = s->labels[0] ? "," : "";
    for (size_t i = 0; d->bounds[i] > 0; i++) {
        buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", d->name, s->labels, comma, d->bounds[i],
                   (unsigned long long)s->buckets[i]);
    }
    buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", d->name, s->labels, comma,
               (unsigned long long)s->count);
    const char *open = s->labels[0] ? "{" : "", *close = s->labels[0] ? "}" : "";
    buf_printf(out, "%s_sum%s%s%s %.9g\n", d->name, open, s->labels, close, s->value);
    buf_printf(out, "%s_count%s%s%s %llu\n", d->name, open, s->labels, close,
               (unsigned long long)s->count);
}

void metrics_write(metrics *m, buf *out) {
    pthread_mutex_lock(&m->mu);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const definition *d = &table[i];
        if (!m->first[i]) continue;
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", d->name, d->help, d->name,
                   kind_names[d->kind]);
        for (const series *s = m->first[i]; s; s = s->next) {
            if (d->bounds) {
                write_histogram(d, s, out);
            } else {
                buf_printf(out, "%s%s%s%s %.15g\n", d->name, s->labels[0] ? "{" : "", s->labels,
                           s->labels[0] ? "}" : "", s->value);
            }
        }
    }
    pthread_mutex_unlock(&m->mu);
}
