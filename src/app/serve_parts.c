// serve_parts.c - see serve_parts.h.
#include "app/serve_parts.h"

#include <string.h>

#include "app/shipped.h"

static const char *or_null(const char *s) {
    return s && *s ? s : NULL;
}

blob_config serve_blob_config(const config *c, char url[BLOB_URL_MAX]) {
    snprintf(url, BLOB_URL_MAX, "%.4000s/files", c->public_url);
    blob_config b = blob_config_default();
    b.connection = or_null(c->azure_connection);
    b.account = or_null(c->azure_account);
    b.container = c->container;
    b.sas_hours = (int)c->sas_hours;
    b.ca_file = or_null(c->storage_ca);
    b.dir = c->storage_dir;
    b.public_url = url;
    return b;
}

hook_config serve_hook_config(const config *c) {
    hook_config h = hook_config_default();
    h.secret = or_null(c->secret);
    h.secret_old = or_null(c->secret_old);
    h.allowed_origins = or_null(c->allowed_origins);
    h.allow_private = c->allow_private;
    h.timeout_ms = (int)(c->callback_timeout * 1000);
    h.ca_file = or_null(c->callback_ca);
    h.threads = (int)c->callback_threads;
    return h;
}

const char *serve_device(const config *c) {
    return c->device[0] ? c->device : c->use_gpu ? "cuda" : "cpu";
}

stemforge_options serve_engine_options(const config *c) {
    stemforge_options o = stemforge_options_default();
    o.model = shipped_model(c->model);
    o.threads = (int)c->threads;
    (void)stemforge_weights_parse(c->weights, &o.weights); // serve_check has
    if (c->batch_max) o.batch_max = (int)c->batch_max;
    o.memory_max = (size_t)c->memory_max_mb << 20;
    o.device = serve_device(c);
    o.follow_seconds_max = c->follow_seconds;
    o.follow_tempo_sure = c->follow_tempo_sure;
    o.follow_chords_sure = c->follow_chords_sure;
    return o;
}

bool serve_works(const config *c) {
    return strcmp(c->role, "api") != 0;
}

bool serve_answers(const config *c) {
    return strcmp(c->role, "worker") != 0;
}

void serve_listen(const config *c, char out[SERVE_LISTEN_MAX]) {
    snprintf(out, SERVE_LISTEN_MAX, "%.250s:%lld", c->listen_addr, (long long)c->port);
}

bool serve_is_local(const config *c) {
    const char *a = c->listen_addr;
    return strncmp(a, "127.", 4) == 0 || strcmp(a, "[::1]") == 0 || strcmp(a, "::1") == 0 ||
           strcmp(a, "localhost") == 0;
}
