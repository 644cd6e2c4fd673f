// serve_models.c - see serve_models.h.
#include "app/serve_models.h"

#include <string.h>

#include "app/serve_parts.h"
#include "base/cgroup.h"
#include "base/hubdir.h"
#include "base/log.h"
#include "base/os.h"

#define STABLE_AUDIO "Stable Audio"

served_models serve_models_of(const config *c) {
    served_models m = {.count = 1};
    m.list[0] =
        (served_model){.setting = "MODEL", .options = serve_engine_options(c), .place = c->model};
    m.list[0].title = stemforge_model_title(m.list[0].options.model);
    m.list[0].key = stemforge_model_key(m.list[0].options.model);
    if (!c->stable_audio[0]) return m;
    served_model *second = &m.list[m.count++];
    *second = (served_model){.setting = "STABLE_AUDIO_MODEL",
                             .options = serve_engine_options(c),
                             .place = c->stable_audio};
    second->options.model = c->stable_audio;
    second->options.device = "cpu"; // it has no programs for a GPU
    second->title = stemforge_model_title(c->stable_audio);
    second->key = stemforge_model_key(c->stable_audio);
    return m;
}

void serve_models_check(const served_models *m, config_report *r) {
    if (m->count < 2) return;
    const served_model *first = &m->list[0], *second = &m->list[1];
    if (second->title && strcmp(second->title, STABLE_AUDIO) != 0)
        config_fault(r, "%s: expected a Stable Audio model, found one of %s; name it by MODEL",
                     second->setting, second->title);
    else if (first->title && strcmp(first->title, STABLE_AUDIO) == 0)
        config_fault(r, "%s: expected none, since MODEL is a Stable Audio model; leave one out",
                     second->setting);
}

static void log_threads(const stemforge_info *info) {
    double quota = cgroup_cpus("");
    char text[80];
    cgroup_text(text, sizeof text, quota, os_cpu_count());
    if (info->threads == cgroup_threads(quota, os_cpu_count()))
        log_info("serve", "Threads that compute: %s (%s)", text, info->isa);
    else // somebody chose
        log_info("serve", "Threads that compute: %d (%s)", info->threads, info->isa);
}

static void log_loaded(const stemforge_info *info, bool first) {
    log_info("serve", "%s loaded successfully (model: %s)", info->title, info->name);
    if (first) log_threads(info);
    if (info->gpu)
        log_info("serve", "Computing on the GPU: %s, %.1f GB", info->gpu,
                 (double)info->gpu_memory / 1e9);
    else if (info->cpu_why[0])
        log_warn("serve", "Computing on the CPU: %s", info->cpu_why);
}

static status load_one(served_model *m, stemforge_engine *beside, job_store *jobs, err *e) {
    char asked[128];
    hubdir_short_name(asked, sizeof asked, m->place);
    const char *title = m->title ? m->title : "MusicGen"; // when nobody knows
    log_info("serve", "Loading %s model (%s)...", title, asked);
    m->options.beside = beside;
    status rc = stemforge_open(&m->engine, &m->options, e);
    if (rc) {
        log_error("serve", "%s model %s: %s", title, asked, e->text);
        return rc;
    }
    m->info = stemforge_engine_info(m->engine);
    log_loaded(&m->info, !beside);
    source_jobs_open(&m->source, jobs, m->info.key);
    return OK;
}

status serve_models_load(served_models *m, job_store *jobs, err *e) {
    status rc = OK;
    for (size_t i = 0; i < m->count && !rc; i++)
        rc = load_one(&m->list[i], i ? m->list[0].engine : NULL, jobs, e);
    return rc;
}

void serve_models_close(served_models *m) {
    for (size_t i = m->count; i-- > 0;) stemforge_close(m->list[i].engine);
    *m = (served_models){0};
}
