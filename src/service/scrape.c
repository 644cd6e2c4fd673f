// scrape.c - see scrape.h.
#include "service/scrape.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/os.h"

static void gauge(const scrape_sources *s, const char *name, double value) {
    metrics_set(s->metrics, name, NULL, value);
}

static double age_seconds(int64_t since_ms) {
    int64_t now = os_time_ms();
    return since_ms > 0 && now > since_ms ? (double)(now - since_ms) / 1000 : 0;
}

static void jobs(const scrape_sources *s) {
    job_stats t;
    if (job_read_stats(s->jobs, &t, NULL)) return;
    char label[48];
    for (int i = 0; i < JOB_STATES; i++) {
        snprintf(label, sizeof label, "state=\"%s\"", job_state_name((job_state)i));
        metrics_set(s->metrics, "stemforge_jobs", label, (double)t.jobs[i]);
    }
    for (int i = 0; i < JOB_HOOK_STATES; i++) {
        snprintf(label, sizeof label, "state=\"%s\"", job_hook_state_name((job_hook_state)i));
        metrics_set(s->metrics, "stemforge_callbacks", label, (double)t.hooks[i]);
    }
    gauge(s, "stemforge_jobs_waiting", (double)t.jobs[JOB_QUEUED]);
    gauge(s, "stemforge_jobs_running", (double)t.jobs[JOB_RUNNING]);
    gauge(s, "stemforge_queue_work_seconds", t.work[JOB_QUEUED]);
    gauge(s, "stemforge_oldest_waiting_job_age_seconds", age_seconds(t.oldest_queued_ms));
    gauge(s, "stemforge_callbacks_pending", (double)t.hooks[JOB_HOOK_PENDING]);
    gauge(s, "stemforge_callback_oldest_pending_age_seconds", age_seconds(t.oldest_hook_ms));
    metrics_set(s->metrics, "stemforge_jobs_finished_total", "status=\"failed\",reason=\"poison\"",
                (double)t.given_up);
    gauge(s, "stemforge_job_commits_total", (double)t.commits);
    gauge(s, "stemforge_job_writes_total", (double)t.writes);
}

static void gpu(const scrape_sources *s, const stemforge_info *m, bool works) {
    char label[160];
    snprintf(label, sizeof label, "name=\"%.80s\",cuda=\"%d.%d\"", m->gpu, m->gpu_driver / 1000,
             m->gpu_driver % 1000 / 10);
    metrics_set(s->metrics, "stemforge_gpu_info", label, works);
    gauge(s, "stemforge_gpu_memory_bytes", (double)m->gpu_memory);
}

// Of all processes that share the queue: each of them says the same.
static void fleet_of(const scrape_sources *s) {
    const fleet_state f = fleet_read(s->fleet, "");
    gauge(s, "stemforge_fleet_workers", f.live);
    gauge(s, "stemforge_fleet_slots", f.slots);
    gauge(s, "stemforge_fleet_slots_busy", f.busy);
}

static void engine(const scrape_sources *s, stemforge_engine *g) {
    const stemforge_info info = stemforge_engine_info(g);
    stemforge_stats t = stemforge_engine_stats(g);
    const struct {
        const char *name;
        double value;
    } of_model[] = {
        {"stemforge_model_loaded", s->model_loaded},
        {"stemforge_model_steps_total", (double)t.steps},
        {"stemforge_model_rows_total", (double)t.rows},
        {"stemforge_model_busy_seconds_total", t.busy_seconds},
        {"stemforge_batch_size", t.running},
        {"stemforge_batch_waiting", t.waiting},
        {"stemforge_batch_occupancy", t.steps ? (double)t.rows / (double)t.steps : 0},
    };
    char label[160];
    snprintf(label, sizeof label, "model=\"%s\"", info.key);
    for (size_t i = 0; i < ARRAY_LEN(of_model); i++)
        metrics_set(s->metrics, of_model[i].name, label, of_model[i].value);
    snprintf(label, sizeof label, "model=\"%s\",name=\"%.80s\"", info.key, info.name);
    metrics_set(s->metrics, "stemforge_model_info", label, 1);
    if (!info.gpu) return;
    gpu(s, &info, t.on_gpu);
}

// Of the first model, the one that may be on a GPU.
static void device(const scrape_sources *s) {
    if (!s->engines[0]) return;
    stemforge_stats t = stemforge_engine_stats(s->engines[0]);
    gauge(s, "stemforge_on_gpu", t.on_gpu);
    gauge(s, "stemforge_gpu_failures_total", t.gpu_failures);
}

static void storage(const scrape_sources *s) {
    blob_counts c = {0};
    blob_read_counts(s->blobs, &c);
    gauge(s, "stemforge_storage_connected", upkeep_storage_ok(s->upkeep));
    gauge(s, "stemforge_storage_requests_total", (double)c.requests);
    gauge(s, "stemforge_storage_failures_total", (double)c.failures);
    gauge(s, "stemforge_storage_retries_total", (double)c.retries);
    metrics_set(s->metrics, "stemforge_storage_bytes_total", "direction=\"up\"",
                (double)c.bytes_up);
    metrics_set(s->metrics, "stemforge_storage_bytes_total", "direction=\"down\"",
                (double)c.bytes_down);
}

static void process(const scrape_sources *s) {
    FILE *f = fopen("/proc/self/statm", "r");
    char line[128] = "";
    unsigned long all, resident;
    if (f && fgets(line, sizeof line, f) && sscanf(line, "%lu %lu", &all, &resident) == 2)
        gauge(s, "process_resident_memory_bytes", (double)resident * (double)sysconf(_SC_PAGESIZE));
    if (f) fclose(f);
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) == 0) {
        gauge(s, "process_cpu_seconds_total",
              (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                  (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6);
    }
    DIR *d = opendir("/proc/self/fd");
    int n = -3; // ".", ".." and the directory itself
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    if (d) gauge(s, "process_open_fds", n);
    gauge(s, "process_start_time_seconds", (double)s->started_ms / 1000);
}

void scrape_gauges(const scrape_sources *s) {
    char label[200];
    snprintf(label, sizeof label, "version=\"%s\",model=\"%.80s\"", STEMFORGE_VERSION,
             s->model_name ? s->model_name : "");
    metrics_set(s->metrics, "stemforge_build_info", label, 1);
    gauge(s, "stemforge_ready",
          s->model_loaded && !s->draining && !worker_broken(s->worker) &&
              upkeep_jobs_ok(s->upkeep));
    gauge(s, "stemforge_draining", s->draining);
    gauge(s, "stemforge_queue_max", s->queue_max);
    int models = 0;
    for (size_t i = 0; i < WORKER_MODELS_MAX; i++) models += s->engines[i] != NULL;
    gauge(s, "stemforge_slots", s->workers * MAX(models, 1));
    gauge(s, "stemforge_slots_busy", worker_busy(s->worker));
    gauge(s, "stemforge_event_streams", events_streams(s->events));
    if (s->server) gauge(s, "stemforge_http_connections", http_server_connections(s->server));
    jobs(s);
    fleet_of(s);
    for (size_t i = 0; i < WORKER_MODELS_MAX; i++)
        if (s->engines[i]) engine(s, s->engines[i]);
    device(s);
    storage(s);
    process(s);
}
