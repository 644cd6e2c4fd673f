// facts.c - see facts.h.
#include "service/facts.h"

#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "request/heardjson.h"
#include "request/measured.h"
#include "service/request.h"

json *facts_of_take(const stemforge_stem *s, const job_result *r) {
    json *j = json_new_object();
    bool ok = json_set_int(j, "take", s->take) && json_set_str(j, "key", r->key) &&
              json_set_int(j, "file_size_bytes", r->size) &&
              json_set_str(j, "content_md5", r->md5) &&
              json_set(j, "measured", measured_json(s->measured));
    if (ok) return j;
    json_free(j);
    return NULL;
}

// As request_warnings_json has them, of this stem.
static json *unmet_json(const stemforge_stem *s) {
    json *list = json_new_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < s->unmet_count; i++) {
        const stemforge_warning *w = &s->unmet[i];
        json *one = request_warning_json(w->code, w->field, w->text);
        ok = json_set_str(one, "stem_type", s->name);
        ok = json_add(list, one) && ok;
    }
    if (ok) return list;
    json_free(list);
    return NULL;
}

status facts_write(char **out, const stemforge_stem *s, const json *others, err *e) {
    *out = NULL;
    if (!s->measured) return OK;
    json *j = json_new_object();
    bool ok = json_set(j, "measured", measured_json(s->measured));
    if (s->unmet_count) ok = json_set(j, "unmet", unmet_json(s)) && ok;
    if (s->heard) ok = json_set(j, "heard", heardjson_write(s->heard)) && ok;
    if (ok && (json_len(others) || s->take)) ok = json_set_int(j, "take", s->take);
    if (ok && json_len(others)) ok = json_set(j, "takes", json_copy_of(others));
    buf text;
    buf_init(&text, JOB_FACTS_MAX);
    status rc =
        ok ? json_write(&text, j, JSON_TIGHT, e) : err_set(e, ERR_OOM, "no memory for facts");
    json_free(j);
    if (!rc) rc = buf_status(&text, e);
    if (rc)
        buf_deinit(&text);
    else
        *out = buf_take(&text);
    return rc;
}

static json *read_facts(const char *facts) {
    json *j = NULL;
    if (!facts || json_parse_any(&j, bytes_of(facts), JOB_FACTS_MAX, NULL)) return NULL;
    if (json_is_object(j)) return j;
    json_free(j);
    return NULL;
}

typedef struct {
    json *to;
    blob_store *blobs;
} showing;

static status show_member(void *arg, const char *key, const json *value, err *e) {
    (void)e;
    const showing *s = arg;
    char url[BLOB_URL_MAX];
    if (strcmp(key, "key") != 0) {
        json_set(s->to, key, json_copy_of(value));
        return OK;
    }
    const char *at = json_str_value(value);
    if (!at || blob_link(s->blobs, at, os_time_ms(), url, sizeof url, NULL))
        snprintf(url, sizeof url, "%s", at ? at : "");
    json_set_str(s->to, "blob_url", url);
    return OK;
}

static json *takes_shown(const json *takes, blob_store *blobs) {
    json *list = json_new_array();
    for (size_t i = 0; i < json_len(takes); i++) {
        showing one = {json_new_object(), blobs};
        json_each(json_at(takes, i), show_member, &one, NULL);
        json_add(list, one.to);
    }
    return list;
}

void facts_show(json *view, const char *facts, blob_store *blobs) {
    json *j = read_facts(facts);
    if (!j) return;
    const json *takes = json_find(j, "takes"), *take = json_find(j, "take");
    const json *heard = json_find(j, "measured");
    if (heard) json_set(view, "measured", json_copy_of(heard));
    const json *recording = json_find(j, "heard");
    if (recording) json_set(view, "heard", json_copy_of(recording));
    if (take) json_set(view, "take", json_copy_of(take));
    if (takes) json_set(view, "takes", takes_shown(takes, blobs));
    json_free(j);
}

void facts_add_warnings(json *list, const char *facts) {
    json *j = read_facts(facts);
    const json *unmet = json_find(j, "unmet");
    for (size_t i = 0; i < json_len(unmet); i++) json_add(list, json_copy_of(json_at(unmet, i)));
    json_free(j);
}

int facts_take(const char *facts) {
    json *j = read_facts(facts);
    int64_t number = 0;
    if (j) (void)json_opt_int(j, "take", 0, STEMFORGE_TAKES_MAX - 1, &number, NULL);
    json_free(j);
    return (int)number;
}
