// request.c - see request.h.
#include "service/request.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"

static const char *const stem_names[] = {"drums", "bass",  "guitar", "vocals",
                                         "piano", "synth", "other"};

#define STYLE_MAX 256 // characters
#define KEY_MAX 64
#define CHORD_MAX 32
#define BPM_MIN 20.0
#define BPM_MAX 400.0
#define SECONDS_MIN 0.1
#define SECONDS_DEFAULT 10.0
#define SEED_BITS 53 // a drawn seed survives a reader whose numbers are doubles

typedef struct {
    request *r;
    const request_limits *limits;
    json *faults;
    bool oom;
} checker;

static void fault(checker *c, const char *pointer, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void fault(checker *c, const char *pointer, const char *fmt, ...) {
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json *one = json_new_object();
    bool ok = json_set_str(one, "pointer", pointer) && json_set_str(one, "detail", text);
    if (!json_add(c->faults, one) || !ok) c->oom = true;
}

bool request_id_ok(const char *s) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    size_t n = strlen(s);
    if (n == 0 || n > REQUEST_ID_MAX || !strchr(letters, s[0])) return false;
    for (size_t i = 0; i < n; i++) {
        if (!strchr(letters, s[i]) && !strchr("._-", s[i])) return false;
    }
    return !strstr(s, "..") && s[n - 1] != '.';
}

// A member that may be absent. null is absent too.
static const json *member(const json *obj, const char *name) {
    const json *j = json_find(obj, name);
    return json_is_null(j) ? NULL : j;
}

static void check_id(checker *c, const json *root, const char *name, char out[]) {
    char pointer[64];
    snprintf(pointer, sizeof pointer, "/%s", name);
    const json *j = member(root, name);
    if (!json_is_str(j)) {
        fault(c, pointer, "required: expected a string, found %s", json_kind(j));
    } else if (!request_id_ok(json_str_value(j))) {
        fault(c, pointer,
              "expected 1 to 128 of A-Z a-z 0-9 . _ - beginning with a letter or digit, without "
              "\"..\" and without a dot at the end");
    } else {
        snprintf(out, REQUEST_ID_MAX + 1, "%s", json_str_value(j));
    }
}

static const char *stem_find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(stem_names); i++) {
        if (strcmp(stem_names[i], name) == 0) return stem_names[i];
    }
    return NULL;
}

static void check_stem(checker *c, const json *j, size_t i) {
    request *r = c->r;
    char pointer[40];
    snprintf(pointer, sizeof pointer, "/target_stems/%zu", i);
    const char *name = json_is_str(j) ? stem_find(json_str_value(j)) : NULL;
    if (!name) {
        fault(c, pointer, "expected one of drums, bass, guitar, vocals, piano, synth, other");
        return;
    }
    for (size_t k = 0; k < r->stem_count; k++) {
        if (r->stems[k] == name) {
            fault(c, pointer, "%s is there twice", name);
            return;
        }
    }
    r->stems[r->stem_count++] = name;
}

static void check_stems(checker *c, const json *root) {
    const json *list = member(root, "target_stems");
    if (!json_is_array(list)) {
        fault(c, "/target_stems", "required: expected an array, found %s", json_kind(list));
        return;
    }
    size_t n = json_len(list);
    if (n == 0) fault(c, "/target_stems", "expected at least one stem, found none");
    if (n > REQUEST_STEMS_MAX) {
        fault(c, "/target_stems", "expected at most %d stems, found %zu", REQUEST_STEMS_MAX, n);
        return;
    }
    for (size_t i = 0; i < n; i++) check_stem(c, json_at(list, i), i);
}

static double check_num(checker *c, const json *obj, const char *name, double lo, double hi,
                        double absent) {
    const json *j = member(obj, name);
    if (!j) return absent;
    char pointer[64];
    snprintf(pointer, sizeof pointer, "/parameters/%s", name);
    if (!json_is_num(j)) {
        fault(c, pointer, "expected a number, found %s", json_kind(j));
        return absent;
    }
    double v = json_num_value(j);
    if (!(v >= lo && v <= hi)) {
        fault(c, pointer, "expected %g to %g, found %g", lo, hi, v);
        return absent;
    }
    return v;
}

static const char *check_str(checker *c, const json *j, const char *pointer, size_t most) {
    if (!j) return NULL;
    if (!json_is_str(j)) {
        fault(c, pointer, "expected a string, found %s", json_kind(j));
        return NULL;
    }
    size_t n = utf8_length(bytes_of(json_str_value(j)));
    if (n > most) {
        fault(c, pointer, "expected at most %zu characters, found %zu", most, n);
        return NULL;
    }
    return n ? json_str_value(j) : NULL;
}

static void check_chords(checker *c, const json *parameters) {
    const json *list = member(parameters, "chord_progression");
    if (!list) return;
    const char *at = "/parameters/chord_progression";
    if (!json_is_array(list)) {
        fault(c, at, "expected an array, found %s", json_kind(list));
        return;
    }
    size_t n = json_len(list);
    if (n > REQUEST_CHORDS_MAX) {
        fault(c, at, "expected at most %d chords, found %zu", REQUEST_CHORDS_MAX, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        char pointer[64];
        snprintf(pointer, sizeof pointer, "%s/%zu", at, i);
        const json *j = json_at(list, i);
        size_t before = json_len(c->faults);
        const char *s = check_str(c, json_is_null(j) ? NULL : j, pointer, CHORD_MAX);
        if (s)
            c->r->chords[c->r->chord_count++] = s;
        else if (json_len(c->faults) == before)
            fault(c, pointer, "expected the name of a chord, found nothing");
    }
}

static void draw_seed(checker *c) {
    uint64_t v = 0;
    if (random_bytes((uint8_t *)&v, sizeof v, NULL)) c->oom = true;
    c->r->seed = v >> (64 - SEED_BITS);
}

static void check_seed(checker *c, const json *parameters) {
    const json *j = member(parameters, "random_seed");
    double v = json_num_value(j);
    bool whole = json_is_num(j) && !json_is_int(j) && fabs(v) <= 0x1p53 && v == (double)(int64_t)v;
    if (!j) {
        draw_seed(c);
    } else if (json_is_int(j) || whole) {
        c->r->seed_given = true;
        c->r->seed = (uint64_t)(whole ? (int64_t)v : json_int_value(j));
    } else {
        fault(c, "/parameters/random_seed", "expected an integer, found %s", json_kind(j));
    }
}

static void check_parameters(checker *c, const json *root) {
    request *r = c->r;
    const json *p = member(root, "parameters");
    if (p && !json_is_object(p)) {
        fault(c, "/parameters", "expected an object, found %s", json_kind(p));
        p = NULL;
    }
    r->bpm = check_num(c, p, "target_bpm", BPM_MIN, BPM_MAX, 0);
    r->seconds = check_num(c, p, "duration_seconds", SECONDS_MIN, c->limits->seconds_max,
                           MIN(SECONDS_DEFAULT, c->limits->seconds_max));
    r->temperature = check_num(c, p, "temperature", 0, 2, 1);
    r->style = check_str(c, member(p, "style"), "/parameters/style", STYLE_MAX);
    r->key = check_str(c, member(p, "key"), "/parameters/key", KEY_MAX);
    r->prompt = check_str(c, member(p, "prompt"), "/parameters/prompt", REQUEST_PROMPT_MAX);
    check_chords(c, p);
    check_seed(c, p);
}

static void check_callback(checker *c, const json *root) {
    const json *j = member(root, "callback_url");
    const char *url = check_str(c, j, "/callback_url", 2048);
    err e;
    if (!url) {
        if (json_is_str(j) && json_str_len(j) == 0)
            fault(c, "/callback_url", "expected an http or https URL, found an empty string");
        return;
    }
    bool http = strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
    const request_limits *l = c->limits;
    if (l->url_check && l->url_check(l->url_arg, url, &e)) {
        fault(c, "/callback_url", "%s", e.text);
    } else if (!l->url_check && !http) {
        fault(c, "/callback_url", "expected an http or https URL");
    }
    c->r->callback_url = url;
}

// A field of the engine's request as a place in the body: "chords[2]" is
// "/parameters/chord_progression/2".
static void point_at(char *pointer, size_t cap, const char *where) {
    static const struct {
        const char *field, *pointer;
    } fields[] = {{"stems", "/target_stems"},
                  {"bpm", "/parameters/target_bpm"},
                  {"seconds", "/parameters/duration_seconds"},
                  {"chords", "/parameters/chord_progression"},
                  {"style", "/parameters/style"},
                  {"key", "/parameters/key"},
                  {"prompt", "/parameters/prompt"},
                  {"temperature", "/parameters/temperature"}};
    size_t n = strcspn(where, "["), i = 0;
    while (i < ARRAY_LEN(fields) &&
           (strlen(fields[i].field) != n || memcmp(fields[i].field, where, n)))
        i++;
    snprintf(pointer, cap, "%s", i < ARRAY_LEN(fields) ? fields[i].pointer : "/parameters");
    size_t used = strlen(pointer);
    if (where[n])
        snprintf(pointer + used, cap - used, "/%.*s", (int)strcspn(where + n + 1, "]"),
                 where + n + 1);
}

// Which chords exist, what fits the model, are the engine's business.
static void ask_engine(checker *c) {
    if (!c->limits->engine_check || json_len(c->faults)) return;
    err why = {0};
    char pointer[80];
    if (c->limits->engine_check(c->r, &why) == OK) return;
    point_at(pointer, sizeof pointer, why.where);
    fault(c, pointer, "%s", why.text);
}

status request_parse(request *out, bytes text, const request_limits *l, json **faults, err *e) {
    *out = (request){0};
    *faults = NULL;
    status rc = json_parse(&out->tree, text, l->body_max, e);
    if (rc) return rc;
    if (!json_is_object(out->tree)) {
        rc = err_set(e, ERR_FORMAT, "expected a JSON object, found %s", json_kind(out->tree));
        request_deinit(out);
        return rc;
    }
    checker c = {.r = out, .limits = l, .faults = json_new_array()};
    c.oom = !c.faults;
    check_id(&c, out->tree, "generation_request_id", out->id);
    check_id(&c, out->tree, "audio_file_id", out->audio_file_id);
    check_stems(&c, out->tree);
    check_parameters(&c, out->tree);
    check_callback(&c, out->tree);
    ask_engine(&c);
    out->work = out->seconds * (double)out->stem_count;
    if (!c.oom && json_len(c.faults) == 0) {
        json_free(c.faults);
        return OK;
    }
    request_deinit(out);
    if (c.oom) {
        json_free(c.faults);
        return err_set(e, ERR_OOM, "no memory to check a request");
    }
    *faults = c.faults;
    return err_set(e, ERR_ARG, "%zu fields are wrong", json_len(c.faults));
}

status request_reparse(request *out, bytes text, err *e) {
    request_limits any = {.seconds_max = 1e9, .body_max = SIZE_MAX};
    json *faults = NULL;
    status rc = request_parse(out, text, &any, &faults, e);
    json_free(faults);
    return rc;
}

void request_deinit(request *r) {
    json_free(r->tree);
    *r = (request){0};
}

void request_for_engine(const request *r, stemforge_request *q) {
    q->stems = r->stems;
    q->stem_count = r->stem_count;
    q->prompt = r->prompt;
    q->style = r->style;
    q->key = r->key;
    q->chords = r->chord_count ? r->chords : NULL;
    q->chord_count = r->chord_count;
    q->bpm = r->bpm;
    q->seconds = r->seconds;
    q->temperature = r->temperature;
    q->seed = r->seed;
}

status request_canonical(const request *r, buf *out, err *e) {
    return json_write(out, r->tree, JSON_CANONICAL, e);
}
