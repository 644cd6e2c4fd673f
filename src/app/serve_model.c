// serve_model.c - `stemforge serve`: the service with the real engine.
#include <stdio.h>
#include <string.h>

#include "app/commands.h"
#include "app/serve.h"
#include "audio/file.h"

static status generate(void *arg, const stemforge_request *r, const stemforge_events *ev, err *e) {
    return stemforge_generate(arg, r, ev, e);
}

static status encode(void *arg, const stemforge_stem *s, buf *out, err *e) {
    (void)arg;
    return file_encode(out, FILE_WAV16, s->samples, s->frames, s->channels, s->sample_rate, NULL,
                       e);
}

static status load(void **model, const config *c, worker_engine *engine, err *e) {
    stemforge_options o = stemforge_options_default();
    o.model = c->model;
    o.threads = (int)c->threads;
    (void)stemforge_weights_parse(c->weights, &o.weights); // config_check has
    if (c->batch_max) o.batch_max = (int)c->batch_max;
    o.memory_max = (size_t)c->memory_max_mb << 20;
    stemforge_engine *g = NULL;
    status rc = stemforge_open(&g, &o, e);
    if (rc) return rc;
    *model = g;
    *engine = (worker_engine){
        .arg = g, .generate = generate, .encode = encode, .defaults = stemforge_request_default()};
    return OK;
}

static const char *name(void *model) {
    return stemforge_engine_info(model).name;
}

static void unload(void *model) {
    stemforge_close(model);
}

static void stats(void *model, stemforge_stats *out) {
    *out = stemforge_engine_stats(model);
}

static status check(const request *r, err *e) {
    stemforge_request q = stemforge_request_default();
    request_for_engine(r, &q);
    return stemforge_request_check(&q, e);
}

int serve_main(int argc, char **argv) {
    const serve_model musicgen = {"MusicGen", load, name, unload, stats, check};
    return serve_run(argc, argv, &musicgen);
}
