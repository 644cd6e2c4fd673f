// api_models.c - which models there are, here or at the workers, and which one a request is for.
#include <stdio.h>
#include <string.h>

#include "service/api_inside.h"

void api_set_model(api *a, size_t i, const api_model_set *m) {
    pthread_mutex_lock(&a->mu);
    a->models[i] = *m;
    a->model_count = MAX(a->model_count, i + 1);
    a->sources.engines[i] = m->g;
    pthread_mutex_unlock(&a->mu);
}

bool api_find_model(api *a, const char *key, api_model_set *out) {
    bool found = false;
    pthread_mutex_lock(&a->mu);
    for (size_t i = 0; i < a->model_count && !found && a->config.works; i++) {
        *out = a->models[i];
        found = !key[0] || (out->key && strcmp(out->key, key) == 0);
    }
    pthread_mutex_unlock(&a->mu);
    return found;
}

// All are loaded together, so the first speaks for all.
api_model_state api_model(api *a, const char **name) {
    api_model_set m = {0};
    if (!a->config.works) {
        const fleet_state f = fleet_read(a->config.fleet, "");
        if (name) *name = f.model;
        if (f.known && !f.judges) return API_MODEL_LOADING;
        return f.known ? API_MODEL_AVAILABLE : API_MODEL_NONE;
    }
    (void)api_find_model(a, "", &m);
    if (name) *name = m.name;
    return m.state;
}

// --- a request's

size_t api_list_models(api *a, model_names out[FLEET_MODELS_MAX]) {
    size_t n = 0;
    if (!a->config.works) {
        const char *key;
        for (; n < FLEET_MODELS_MAX && (key = fleet_key(a->config.fleet, n)); n++)
            out[n] = (model_names){key, fleet_read(a->config.fleet, key).model};
        return n;
    }
    pthread_mutex_lock(&a->mu);
    for (; n < a->model_count && a->models[n].key; n++)
        out[n] = (model_names){a->models[n].key, a->models[n].name};
    pthread_mutex_unlock(&a->mu);
    return n;
}

static void write_expected(buf *out, const model_names *list, size_t n, const char *found) {
    buf_add_str(out, "expected ");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%s%s%.80s%s", i ? " or " : "", list[i].key, list[i].name ? " (" : "",
                   list[i].name ? list[i].name : "", list[i].name ? ")" : "");
    buf_printf(out, ", which there %s, found \"%.80s\"", n == 1 ? "is" : "are", found);
}

status api_choose_model(api *a, const request *r, char key[JOB_MODEL_MAX + 1], json **faults,
                        err *e) {
    model_names list[FLEET_MODELS_MAX];
    size_t n = api_list_models(a, list), i = 0;
    *faults = NULL;
    key[0] = 0;
    if (!n) return OK; // nobody knows yet
    while (r->model && i < n && strcmp(r->model, list[i].key) != 0 &&
           !(list[i].name && strcmp(r->model, list[i].name) == 0))
        i++;
    if (i < n) {
        snprintf(key, JOB_MODEL_MAX + 1, "%s", list[i].key);
        return OK;
    }
    buf text;
    buf_init(&text, sizeof e->text);
    write_expected(&text, list, n, r->model);
    err_set(e, ERR_ARG, "%s", buf_str(&text));
    buf_deinit(&text);
    return request_refuse(faults, "/model", e);
}

stemforge_engine *api_judge(api *a, const char *key, const char **place, const char **weights) {
    api_model_set m = {0};
    const fleet_state f = fleet_read(a->config.fleet, "");
    const char *kept = a->config.weights;
    if (a->config.works) {
        if (!api_find_model(a, key, &m)) return NULL;
    } else if (f.judge && (!key[0] || strcmp(stemforge_engine_info(f.judge).key, key) == 0)) {
        m.g = f.judge, m.place = f.place;
        if (f.weights) kept = f.weights;
    }
    if (place) *place = m.place ? m.place : "";
    if (weights) *weights = kept;
    return m.g;
}

status api_judge_request(api *a, request *r, const char *key, warnings *said, json **faults,
                         err *e) {
    stemforge_engine *g = api_judge(a, key, NULL, NULL);
    *faults = NULL;
    request_warn_unknown(r, said);
    if (g) return request_check_model(r, g, said, faults, e);
    warnings_add(said, WARNING_UNCHECKED, "parameters",
                 "the model's own limits were not checked: there is no model to ask yet; a job "
                 "that passes them fails");
    return OK;
}
