// api_status.c - the answers that no job is needed for: probes and metrics.
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "service/api_inside.h"

void api_get_metrics(api *a, http_request *q, const char *unused) {
    (void)unused;
    buf b;
    buf_init(&b, API_REPLY_MAX);
    pthread_mutex_lock(&a->mu);
    scrape_sources s = a->sources;
    pthread_mutex_unlock(&a->mu);
    s.model_loaded = api_model(a, &s.model_name) == API_MODEL_AVAILABLE;
    s.draining = atomic_load(&a->draining);
    scrape_gauges(&s);
    metrics_write(a->config.metrics, &b);
    if (b.failed)
        http_reply_problem(q, 503, "busy", "Out of memory", NULL, NULL);
    else
        http_reply(q, 200, "text/plain; version=0.0.4; charset=utf-8", buf_bytes(&b));
    buf_deinit(&b);
}

// A model whose family is not known yet stands under MusicGen.
static const char *service_word(api *a, const char *key, bool else_any) {
    static const char *const words[] = {"not_loaded", "loading", "available"};
    api_model_set m = {0};
    if (!a->config.works)
        m.state = fleet_read(a->config.fleet, key).live ? API_MODEL_AVAILABLE : API_MODEL_NONE;
    else if (!api_find_model(a, key, &m) && !(else_any && api_find_model(a, "", &m) && !m.key))
        m.state = API_MODEL_NONE;
    return words[m.state];
}

// Whether a GPU computes; while a model loads, whether one will.
static bool on_gpu(api *a, const fleet_state *f) {
    api_model_set m;
    if (!a->config.works) return f->gpu;
    bool there = api_find_model(a, "", &m) && m.state == API_MODEL_AVAILABLE;
    return there ? stemforge_engine_stats(m.g).on_gpu : a->config.gpu;
}

// What a request may say for "model".
static json *models_json(api *a) {
    json *list = json_new_array();
    model_names names[FLEET_MODELS_MAX];
    size_t n = api_list_models(a, names);
    for (size_t i = 0; i < n; i++) {
        json *one = json_new_object();
        json_set_str(one, "model", names[i].key);
        if (names[i].name) json_set_str(one, "name", names[i].name);
        json_add(list, one);
    }
    return list;
}

static json *fleet_json(const fleet_state *f) {
    json *v = json_new_object();
    json_set_int(v, "live", f->live);
    json_set_int(v, "slots", f->slots);
    json_set_int(v, "busy", f->busy);
    return v;
}

void api_get_health(api *a, http_request *q, const char *unused) {
    (void)unused;
    const char *name = NULL;
    api_model_state model = api_model(a, &name);
    const fleet_state f = fleet_read(a->config.fleet, "");
    if (!a->config.works && !f.live)
        model = API_MODEL_NONE; // one that is known is not one that is there
    bool healthy = model == API_MODEL_AVAILABLE && !worker_broken(a->config.worker);
    char when[OS_TIME_SIZE];
    os_time_text(when, os_time_ms(), false);
    when[strlen(when) - 1] = 0; // the contract's timestamp has no zone
    json *v = json_new_object(), *s = json_new_object();
    json_set_str(v, "status", healthy ? "healthy" : "unhealthy");
    json_set_str(v, "timestamp", when);
    json_set_str(s, "musicgen", service_word(a, "musicgen", true));
    json_set_str(s, "stable_audio", service_word(a, "stable_audio", false));
    json_set_str(s, "storage", upkeep_storage_ok(a->config.upkeep) ? "connected" : "disconnected");
    bool gpu = on_gpu(a, &f);
    json_set_str(s, "device", gpu ? "gpu" : "cpu");
    json_set(v, "services", s);
    json_set_bool(v, "gpu_available", gpu);
    json_set_str(v, "version", STEMFORGE_VERSION);
    if (name) json_set_str(v, "model", name);
    json_set(v, "models", models_json(a));
    json_set_bool(v, "draining", atomic_load(&a->draining));
    if (fleet_shared(a->config.fleet)) json_set(v, "workers", fleet_json(&f));
    api_reply_json(q, healthy ? 200 : 503, v);
}

static void reply_probe(http_request *q, bool ok, const char *yes, const char *no) {
    json *v = json_new_object();
    json_set_str(v, "status", ok ? yes : no);
    api_reply_json(q, ok ? 200 : 503, v);
}

void api_get_livez(api *a, http_request *q, const char *unused) {
    (void)unused;
    reply_probe(q, !worker_broken(a->config.worker), "live", "broken");
}

void api_get_readyz(api *a, http_request *q, const char *unused) {
    (void)unused;
    bool ready = api_model(a, NULL) == API_MODEL_AVAILABLE && !atomic_load(&a->draining) &&
                 !worker_broken(a->config.worker) && upkeep_jobs_ok(a->config.upkeep);
    reply_probe(q, ready, "ready", "not ready");
}
