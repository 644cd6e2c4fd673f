// api_check.c - what POST /generate would say of a request: faults, warnings, length, and chords as
// they are understood. Nothing is stored.
#include "request/length.h"
#include "service/api_inside.h"

static json *chords_json(const stemforge_request *r) {
    json *list = json_new_array();
    for (size_t i = 0; i < r->chord_count; i++) json_add(list, json_new_str(r->chords[i]));
    return list;
}

// faults and said become members; faults is taken, NULL: none. r NULL: no request came of it.
static void reply_checked(http_request *q, const request *r, json *faults, const warnings *said) {
    json *v = json_new_object();
    json_set_bool(v, "valid", faults == NULL);
    json_set(v, "errors", faults ? faults : json_new_array());
    json_set(v, "warnings", request_warnings_json(said));
    if (r) {
        json_set_num(v, "duration_seconds", length_seconds(&r->ask));
        json_set(v, "chord_progression", chords_json(&r->ask));
    }
    api_reply_json(q, 200, v);
}

void api_post_check(api *a, http_request *q, const char *unused) {
    (void)unused;
    request r;
    json *faults = NULL;
    warnings said = {0};
    err e;
    if (!api_take_json(q)) return;
    status rc = request_parse(&r, http_body(q), &a->config.limits, &faults, &e);
    if (rc == ERR_ARG) {
        reply_checked(q, NULL, faults, &said);
    } else if (rc == ERR_FORMAT) {
        api_reply_invalid(q, rc, &e, faults);
    } else if (rc) {
        api_reply_status(q, rc, &e);
    } else {
        char key[JOB_MODEL_MAX + 1];
        rc = api_choose_model(a, &r, key, &faults, &e);
        if (!rc) rc = api_judge_request(a, &r, key, &said, &faults, &e);
        if (rc && rc != ERR_ARG)
            api_reply_status(q, rc, &e);
        else
            reply_checked(q, &r, rc ? faults : NULL, &said);
        request_deinit(&r);
    }
}
