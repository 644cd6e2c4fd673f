// tone_server.c - `stemforge serve` with a model that makes a tone: the same process, sockets,
// database and storage, for tests of everything around the model. Never part of the product.
//
// Words in a request's prompt steer it: "slow:300" takes 300 ms a stem, "fail:bass" fails that
// stem, "device" reports a failed device. TONE_LOAD_MS delays loading, TONE_LOAD_FAIL fails it.
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/serve.h"
#include "audio/file.h"
#include "base/mem.h"
#include "base/os.h"

#define RATE 44100

static atomic_int running;
static atomic_ullong steps;

static long word(const char *prompt, const char *name, long otherwise) {
    const char *at = prompt ? strstr(prompt, name) : NULL;
    return at ? strtol(at + strlen(name), NULL, 10) : otherwise;
}

// A triangle wave whose pitch follows from the seed and the stem: same request, same bytes.
static void fill(float *x, int64_t frames, uint64_t seed, const char *name) {
    uint64_t h = seed * 0x9e3779b97f4a7c15u;
    for (; *name; name++) h = (h ^ (uint64_t)*name) * 0x100000001b3u;
    int64_t period = 100 + (int64_t)(h >> 33) % 400;
    for (int64_t i = 0; i < frames; i++) {
        float p = (float)(i % period) / (float)period;
        x[2 * i] = x[2 * i + 1] = 0.8f * (p < 0.5f ? 4 * p - 1 : 3 - 4 * p);
    }
}

static status make(const stemforge_request *r, size_t i, const stemforge_events *ev, err *e) {
    const char *failing = r->prompt ? strstr(r->prompt, "fail:") : NULL;
    size_t n = strlen(r->stems[i]);
    long ms = word(r->prompt, "slow:", 0);
    double start = os_seconds();
    for (int64_t t = 0; t < ms; t += 10) {
        if (ev->canceled(ev->arg)) return err_set(e, ERR_CANCELED, "canceled");
        ev->progress(ev->arg, i, t, ms);
        atomic_fetch_add(&steps, 1);
        os_sleep_ms(10);
    }
    if (ev->canceled(ev->arg)) return err_set(e, ERR_CANCELED, "canceled");
    if (r->prompt && strstr(r->prompt, "device")) return err_set(e, ERR_DEVICE, "device lost");
    if (failing && strncmp(failing + 5, r->stems[i], n) == 0)
        return err_set(e, ERR_FORMAT, "the tone broke");
    int64_t frames = (int64_t)(r->seconds * RATE + 0.5);
    float *x = mem_alloc((size_t)frames * 2 * sizeof *x);
    if (!x) return err_set(e, ERR_OOM, "no memory for a tone");
    fill(x, frames, r->seed, r->stems[i]);
    stemforge_stem s = {.name = r->stems[i],
                        .samples = x,
                        .frames = frames,
                        .channels = 2,
                        .sample_rate = RATE,
                        .prompt = "tone",
                        .seconds_spent = os_seconds() - start};
    status rc = ev->stem_done(ev->arg, i, &s, e);
    mem_free(x);
    return rc;
}

// As the engine: where is the stem that failed.
static status generate(void *arg, const stemforge_request *r, const stemforge_events *ev, err *e) {
    (void)arg;
    atomic_fetch_add(&running, 1);
    status rc = OK;
    for (size_t i = 0; i < r->stem_count && !rc; i++) {
        if (!r->skip || !r->skip[i]) rc = make(r, i, ev, e);
        if (rc) err_about(e, "%s", r->stems[i]);
    }
    atomic_fetch_sub(&running, 1);
    return rc;
}

static status encode(void *arg, const stemforge_stem *s, buf *out, err *e) {
    (void)arg;
    return file_encode(out, FILE_WAV16, s->samples, s->frames, s->channels, s->sample_rate, NULL,
                       e);
}

static status load(void **model, const config *c, worker_engine *engine, err *e) {
    (void)c;
    const char *ms = getenv("TONE_LOAD_MS");
    os_sleep_ms(ms ? (int)strtol(ms, NULL, 10) : 0);
    if (getenv("TONE_LOAD_FAIL")) return err_set(e, ERR_NOT_FOUND, "no such model");
    static char handle;
    *model = &handle;
    *engine = (worker_engine){.generate = generate, .encode = encode};
    return OK;
}

static const char *name(void *model) {
    (void)model;
    return "tone";
}

static void unload(void *model) {
    (void)model;
}

static void stats(void *model, stemforge_stats *out) {
    (void)model;
    *out = (stemforge_stats){.steps = atomic_load(&steps), .running = atomic_load(&running)};
}

// Stands in for the engine's look at chords.
static status check(const request *r, err *e) {
    for (size_t i = 0; i < r->chord_count; i++) {
        if (!strchr("ABCDEFGN", r->chords[i][0])) {
            char field[32];
            snprintf(field, sizeof field, "chords[%zu]", i);
            return err_field(e, field, "expected a chord, found \"%s\"", r->chords[i]);
        }
    }
    return OK;
}

int main(int argc, char **argv) {
    const serve_model tone = {"MusicGen", load, name, unload, stats, check};
    return serve_run(argc, argv, &tone);
}
