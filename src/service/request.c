// request.c - see request.h.
#include "service/request.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/near.h"
#include "base/utf8.h"
#include "request/length.h"
#include "request/stem_name.h"

#define URL_MAX 2048       // characters
#define MODEL_NAME_MAX 200 // bytes
#define PROGRESS_MAX 86400 // seconds
#define SHARP "sharp"      // a '#' would end the path of a URL
#define UNKNOWN_MAX 20     // members that are warned of, so that the model's warnings have room

typedef struct {
    request *r;
    const request_limits *limits;
    json *faults;
    bool fresh; // it comes now: a seed is drawn if it has none, and today's ranges hold
    bool oom;
} checker;

static bool has_fault(const checker *c, const char *pointer) {
    for (size_t i = 0; i < json_len(c->faults); i++) {
        const char *there = json_str_value(json_find(json_at(c->faults, i), "pointer"));
        if (there && strcmp(there, pointer) == 0) return true;
    }
    return false;
}

static void fault(checker *c, const char *pointer, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void fault(checker *c, const char *pointer, const char *fmt, ...) {
    char text[400];
    if (has_fault(c, pointer)) return; // the first says it
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    utf8_mend(text); // what was found may be cut inside a character
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

// Writes sharps out. False: there is no room.
static bool write_sharps(char out[REQUEST_FILE_NAME_MAX + 1], const char *name) {
    size_t n = 0;
    for (; *name && n <= REQUEST_FILE_NAME_MAX; name++)
        n += (size_t)snprintf(out + n, REQUEST_FILE_NAME_MAX + 1 - n, "%.*s",
                              *name == '#' ? (int)strlen(SHARP) : 1, *name == '#' ? SHARP : name);
    return n <= REQUEST_FILE_NAME_MAX;
}

status request_file_name(char out[REQUEST_FILE_NAME_MAX + 1], const stemforge_request *r,
                         const char *stem, err *e) {
    char name[STEM_NAME_MAX + 1];
    status rc = stem_name(name, r, stem, e);
    if (rc) return rc;
    if (!write_sharps(out, name))
        return err_set(e, ERR_ARG, "expected a name of at most %d characters, found more",
                       REQUEST_FILE_NAME_MAX);
    if (request_id_ok(out)) return OK;
    return err_set(e, ERR_ARG,
                   "expected a name that begins with a letter or digit, is without \"..\" and "
                   "does not end with a dot, found \"%.60s\"",
                   out);
}

// A member that may be absent. null is absent too.
static const json *member(const json *obj, const char *name) {
    const json *j = json_find(obj, name);
    return json_is_null(j) ? NULL : j;
}

// "parameters.target_bpm" is at "/parameters/target_bpm".
static void point_at(char *pointer, size_t cap, const char *wire) {
    snprintf(pointer, cap, "/%s", wire);
    for (char *p = pointer; *p; p++)
        if (*p == '.') *p = '/';
}

// The members of a body that are no fields.
static const char *const own[] = {"generation_request_id",
                                  "audio_file_id",
                                  "callback_url",
                                  "callback_progress_seconds",
                                  "model",
                                  "priority",
                                  "parameters"};

// A member that we read may be there once; of those that are ignored we do not count.
static void check_twice(checker *c, bytes text) {
    bytes parameters = json_member_text(text, "parameters");
    char pointer[96];
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        snprintf(pointer, sizeof pointer, "/%s", own[i]);
        if (json_is_twice(text, own[i])) fault(c, pointer, "expected once, found twice");
    }
    for (size_t i = 0; i < field_count; i++) {
        const char *wire = field_rows[i].wire;
        if (!wire ||
            !json_is_twice(strchr(wire, '.') ? parameters : text, field_wire_name(&field_rows[i])))
            continue;
        point_at(pointer, sizeof pointer, wire);
        fault(c, pointer, "expected once, found twice");
    }
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

// A chord is at the item that it came from.
static void field_fault(void *arg, const field *f, int64_t item, const char *detail) {
    checker *c = arg;
    char pointer[96];
    point_at(pointer, sizeof pointer, f->wire);
    size_t n = strlen(pointer);
    if (item >= 0 && f->kind == FIELD_CHORDS) item = c->r->lists.chord_item[item];
    if (item >= 0) snprintf(pointer + n, sizeof pointer - n, "/%lld", (long long)item);
    fault(c, pointer, "%s", detail);
}

static void fault_range(checker *c, const field *f, double v) {
    char text[120];
    snprintf(text, sizeof text, "expected %g to %g, found %g", f->lo, f->hi, v);
    field_fault(c, f, -1, text);
}

static status check_one(checker *c, const json *root, const field *f, err *e) {
    request *r = c->r;
    const json *value = json_find(root, f->wire);
    bool absent = !value || json_is_null(value);
    if (absent && f->kind == FIELD_STEMS) {
        field_fault(c, f, -1, "required: expected an array of names, found nothing");
        return OK;
    }
    if (absent) return OK;
    size_t before = json_len(c->faults);
    status rc = fieldjson_read(f, value, FIELDJSON_WIRE, &r->lists, &r->ask, field_fault, c, e);
    // The number that says "not given" inside the program says nothing over HTTP. A job that was
    // accepted when it did runs on.
    bool number = f->kind == FIELD_NUMBER || f->kind == FIELD_INTEGER;
    bool none = number && json_is_num(value) && json_num_value(value) == f->absent;
    if (none && c->fresh && !field_has_default(f)) fault_range(c, f, f->absent);
    bool taken = json_len(c->faults) == before || field_is_list(f);
    if (!rc && taken) check_field(f, &r->ask, c->limits->seconds_max, field_fault, c);
    if (f->kind == FIELD_SEED) r->seed_given = true;
    return rc;
}

// A pattern that the command takes may still make a name that storage has no place for.
static void check_file_names(checker *c) {
    const stemforge_request *ask = &c->r->ask;
    const field *f = fields_find("name");
    char name[REQUEST_FILE_NAME_MAX + 1];
    err e;
    for (size_t i = 0; ask->name && i < ask->stem_count; i++) {
        if (!request_file_name(name, ask, ask->stems[i], &e)) continue;
        field_fault(c, f, -1, e.text);
        return;
    }
}

static status check_fields(checker *c, const json *root, err *e) {
    const json *p = member(root, "parameters");
    if (p && !json_is_object(p))
        fault(c, "/parameters", "expected an object, found %s", json_kind(p));
    c->r->ask = stemforge_request_default();
    stemforge_request *ask = &c->r->ask;
    size_t before = json_len(c->faults);
    status rc = OK;
    for (size_t i = 0; i < field_count && !rc; i++)
        if (field_rows[i].wire) rc = check_one(c, root, &field_rows[i], e);
    if (ask->seconds < 0 && length_bars(ask) == 0)
        ask->seconds = MIN(LENGTH_SECONDS_DEFAULT, c->limits->seconds_max);
    if (!rc && !c->r->seed_given && c->fresh) rc = fields_draw_seed(&ask->seed, e);
    if (rc || json_len(c->faults) != before) return rc;
    check_together(ask, c->limits->seconds_max, field_fault, c);
    if (json_len(c->faults) == before) check_file_names(c);
    return OK;
}

static void check_callback(checker *c, const json *root) {
    const json *j = member(root, "callback_url");
    const char *url = json_str_value(j);
    err e;
    if (!j) return;
    size_t n = url ? utf8_length(bytes_of(url)) : 0;
    if (!url)
        fault(c, "/callback_url", "expected a string, found %s", json_kind(j));
    else if (n == 0)
        fault(c, "/callback_url", "expected an http or https URL, found an empty string");
    else if (strstr(url, JSON_NO_TEXT))
        fault(c, "/callback_url", "expected text, found \\u0000 or half a surrogate pair");
    else if (n > URL_MAX)
        fault(c, "/callback_url", "expected at most %d characters, found %zu", URL_MAX, n);
    if (n == 0 || n > URL_MAX) return;
    bool http = strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
    const request_limits *l = c->limits;
    if (l->url_check && l->url_check(l->url_arg, url, &e)) {
        fault(c, "/callback_url", "%s", e.text);
    } else if (!l->url_check && !http) {
        fault(c, "/callback_url", "expected an http or https URL");
    }
    c->r->callback_url = url;
}

// After check_callback.
static void check_progress(checker *c, const json *root) {
    const json *j = member(root, "callback_progress_seconds");
    double seconds = -1;
    c->r->progress_seconds = -1;
    if (!j) return;
    if (!json_is_num(j))
        fault(c, "/callback_progress_seconds", "expected a number, found %s", json_kind(j));
    else if ((seconds = json_num_value(j)) != 0 && !(seconds >= 1 && seconds <= PROGRESS_MAX))
        fault(c, "/callback_progress_seconds", "expected 0 or 1 to %d, found %g", PROGRESS_MAX,
              seconds);
    else if (!member(root, "callback_url"))
        fault(c, "/callback_progress_seconds", "expected a callback_url beside it, found none");
    c->r->progress_seconds = seconds;
}

// Which models there are is not ours to know.
static void check_model(checker *c, const json *root) {
    const json *j = member(root, "model");
    const char *name = json_str_value(j);
    if (!j) return;
    size_t n = name ? strlen(name) : 0;
    if (!name)
        fault(c, "/model", "expected a string, found %s", json_kind(j));
    else if (n == 0 || n > MODEL_NAME_MAX)
        fault(c, "/model", "expected 1 to %d bytes, found %zu", MODEL_NAME_MAX, n);
    c->r->model = name;
}

static void check_priority(checker *c, const json *root) {
    static const char *const names[] = {"low", "normal", "high"};
    const json *j = member(root, "priority");
    const char *name = json_str_value(j);
    if (!j) return;
    for (int i = 0; name && i < (int)ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i])) continue;
        c->r->priority = i - 1;
        return;
    }
    fault(c, "/priority", "expected \"low\", \"normal\" or \"high\", found %s%.40s",
          name ? "" : json_kind(j), name ? name : "");
}

// Of all stems.
static double takes_in(const request *r) {
    return (double)r->ask.stem_count * MAX(r->ask.takes, 1);
}

static status parse(request *out, bytes text, const request_limits *l, bool fresh, json **faults,
                    err *e) {
    *out = (request){0};
    *faults = NULL;
    status rc = json_parse_any(&out->tree, text, l->body_max, e);
    if (rc) return rc;
    if (!json_is_object(out->tree)) {
        rc = err_set(e, ERR_FORMAT, "expected a JSON object, found %s", json_kind(out->tree));
        request_deinit(out);
        return rc;
    }
    checker c = {.r = out, .limits = l, .fresh = fresh, .faults = json_new_array()};
    c.oom = !c.faults;
    check_twice(&c, text);
    check_id(&c, out->tree, "generation_request_id", out->id);
    check_id(&c, out->tree, "audio_file_id", out->audio_file_id);
    rc = check_fields(&c, out->tree, e);
    check_callback(&c, out->tree);
    check_progress(&c, out->tree);
    check_model(&c, out->tree);
    check_priority(&c, out->tree);
    out->work = length_seconds(&out->ask) * takes_in(out);
    if (rc) {
        json_free(c.faults);
        request_deinit(out);
        return rc;
    }
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

status request_parse(request *out, bytes text, const request_limits *l, json **faults, err *e) {
    return parse(out, text, l, true, faults, e);
}

status request_reparse(request *out, bytes text, double work, err *e) {
    request_limits any = {.seconds_max = 1e9, .body_max = SIZE_MAX};
    json *faults = NULL;
    status rc = parse(out, text, &any, false, &faults, e);
    json_free(faults);
    if (rc || member(out->tree, "parameters.duration_seconds") || length_bars(&out->ask) > 0)
        return rc;
    out->ask.seconds = floor(work / takes_in(out) * 1000 + 0.5) / 1000;
    out->work = work;
    return OK;
}

void request_deinit(request *r) {
    field_lists_deinit(&r->lists);
    json_free(r->tree);
    *r = (request){0};
}

static json *plain(const json *j);

static status add_plain(void *arg, const char *name, const json *value, err *e) {
    json *to = arg, *copy = plain(value);
    bool empty = json_is_null(value) || (json_is_object(copy) && json_len(copy) == 0);
    if (empty && copy) json_free(copy);
    if (empty || json_set(to, name, copy)) return OK;
    return err_set(e, ERR_OOM, "no memory for a request");
}

// A copy as every serializer would write it: whole numbers without a point, no members that are
// null or empty objects. NULL: no memory.
static json *plain(const json *j) {
    double v = json_num_value(j);
    if (json_is_num(j) && fabs(v) <= 0x1p53 && v == floor(v)) return json_new_int((int64_t)v);
    if (!json_is_object(j) && !json_is_array(j)) return json_copy_of(j);
    json *to = json_is_object(j) ? json_new_object() : json_new_array();
    bool ok = to != NULL;
    if (ok && json_is_object(j)) ok = json_each(j, add_plain, to, NULL) == OK;
    for (size_t i = 0; ok && json_is_array(j) && i < json_len(j); i++)
        ok = json_add(to, plain(json_at(j, i)));
    if (ok) return to;
    json_free(to);
    return NULL;
}

static status write_canonical(const json *tree, buf *out, err *e) {
    json *j = plain(tree);
    status rc = json_write(out, j, JSON_CANONICAL, e);
    json_free(j);
    return rc;
}

status request_canonical(const request *r, buf *out, err *e) {
    return write_canonical(r->tree, out, e);
}

bool request_is_same(bytes stored, bytes canonical) {
    json *tree = NULL;
    buf text;
    buf_init(&text, MAX(2 * canonical.n, 64));
    status rc = json_parse_any(&tree, stored, SIZE_MAX, NULL);
    if (!rc) rc = write_canonical(tree, &text, NULL);
    if (!rc) rc = buf_status(&text, NULL);
    bool same = !rc && text.n == canonical.n && memcmp(text.p, canonical.p, text.n) == 0;
    buf_deinit(&text);
    json_free(tree);
    return same;
}

// --- warnings

// The member that was probably meant: its name is near, or it is what others call the field.
static const char *meant_member(const char *name) {
    near n = {.word = name};
    for (size_t i = 0; i < field_count; i++) {
        const field *f = &field_rows[i];
        if (!f->wire || f->kind == FIELD_STEMS) continue;
        if (!strcmp(name, f->name) || !strcmp(name, f->flag)) return field_wire_name(f);
        near_try(&n, field_wire_name(f));
    }
    return n.best;
}

static status add_unknown(void *arg, const char *name, const json *value, err *e) {
    (void)value;
    (void)e;
    warnings *w = arg;
    if (w->n == UNKNOWN_MAX) return OK;
    char wire[80];
    snprintf(wire, sizeof wire, "parameters.%.60s", name);
    if (fields_find_wire(wire)) return OK;
    const char *meant = meant_member(name);
    warnings_add(w, WARNING_UNKNOWN, name, "parameters.%.60s is unknown and was ignored%s%s%s",
                 name, meant ? ", did you mean " : "", meant ? meant : "", meant ? "?" : "");
    return OK;
}

// Beside "parameters" others may have members of their own: only what is nearly one of ours, or
// belongs into "parameters", is told.
static status add_unknown_at_root(void *arg, const char *name, const json *value, err *e) {
    (void)value;
    (void)e;
    warnings *w = arg;
    if (w->n == UNKNOWN_MAX || fields_find_wire(name)) return OK;
    near n = {.word = name};
    for (size_t i = 0; i < ARRAY_LEN(own); i++) near_try(&n, own[i]);
    near_try(&n, "target_stems");
    if (n.best && strcmp(n.best, name) == 0) return OK;
    const char *inside = n.best ? NULL : meant_member(name), *meant = n.best ? n.best : inside;
    if (!meant) return OK;
    warnings_add(w, WARNING_UNKNOWN, name, "%.60s is unknown and was ignored, did you mean %s%s?",
                 name, inside ? "parameters." : "", meant);
    w->item[w->n - 1].at_root = true;
    return OK;
}

void request_warn_unknown(const request *r, warnings *w) {
    json_each(r->tree, add_unknown_at_root, w, NULL);
    const json *parameters = json_find(r->tree, "parameters");
    if (json_is_object(parameters)) json_each(parameters, add_unknown, w, NULL);
}

static void on_warning(void *arg, const stemforge_warning *w) {
    warnings_add(arg, w->code, w->field, "%s", w->text);
}

// Where an error of the engine is, in the body.
static void point_at_field(char *pointer, size_t cap, const char *where) {
    const field *f = fields_find(where);
    if (f && f->wire)
        point_at(pointer, cap, f->wire);
    else
        snprintf(pointer, cap, "/parameters");
}

static status refuse(json **faults, const char *pointer, const char *detail, err *e) {
    checker c = {.faults = json_new_array()};
    fault(&c, pointer, "%s", detail);
    *faults = c.faults;
    if (!c.oom && c.faults) return ERR_ARG;
    json_free(c.faults);
    *faults = NULL;
    return err_set(e, ERR_OOM, "no memory to check a request");
}

status request_check_model(request *r, stemforge_engine *g, warnings *w, json **faults, err *e) {
    const stemforge_events ev = {.arg = w, .warning = on_warning};
    char pointer[96];
    *faults = NULL;
    status rc = stemforge_engine_check(g, &r->ask, &ev, e);
    if (rc != ERR_ARG && rc != ERR_LIMIT) return rc;
    point_at_field(pointer, sizeof pointer, e->where);
    size_t n = strlen(e->where);
    bool named = n && strncmp(e->text, e->where, n) == 0 && strncmp(e->text + n, ": ", 2) == 0;
    return refuse(faults, pointer, e->text + (named ? n + 2 : 0), e);
}

status request_refuse(json **faults, const char *pointer, err *e) {
    return refuse(faults, pointer, e->text, e);
}

// A JSON pointer to a member that nobody knows: ~ and / are escaped.
static void point_at_stranger(buf *out, const warning *w) {
    buf_add_str(out, w->at_root ? "/" : "/parameters/");
    for (const char *name = w->field; *name; name++) {
        if (*name == '~' || *name == '/')
            buf_add_str(out, *name == '~' ? "~0" : "~1");
        else
            buf_add_char(out, *name);
    }
}

static json *warning_json(const warning *w) {
    char pointer[96];
    buf stranger;
    buf_init(&stranger, 4 * WARNING_FIELD);
    point_at_stranger(&stranger, w);
    point_at_field(pointer, sizeof pointer, w->field);
    bool unknown = strcmp(w->code, WARNING_UNKNOWN) == 0;
    json *j = json_new_object();
    bool ok = json_set_str(j, "code", w->code) &&
              json_set_str(j, "pointer", unknown ? buf_str(&stranger) : pointer) &&
              json_set_str(j, "detail", w->text);
    buf_deinit(&stranger);
    if (ok) return j;
    json_free(j);
    return NULL;
}

json *request_warning_json(const char *code, const char *name, const char *text) {
    warning w = {.code = code};
    snprintf(w.field, sizeof w.field, "%s", name);
    snprintf(w.text, sizeof w.text, "%s", text);
    return warning_json(&w);
}

json *request_warnings_json(const warnings *w) {
    json *list = json_new_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < w->n; i++) ok = json_add(list, warning_json(&w->item[i]));
    if (ok) return list;
    json_free(list);
    return NULL;
}
