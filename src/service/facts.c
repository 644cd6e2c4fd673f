// facts.c - see facts.h.
#include "service/facts.h"

#include "request/heardjson.h"
#include "request/measured.h"

status facts_write(char **out, const stemforge_stem *s, err *e) {
    *out = NULL;
    if (!s->measured) return OK;
    json *j = json_new_object();
    bool ok = json_set(j, "measured", measured_json(s->measured));
    if (s->heard) ok = json_set(j, "heard", heardjson_write(s->heard)) && ok;
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

static status show(void *arg, const char *key, const json *value, err *e) {
    (void)e;
    json_set(arg, key, json_copy_of(value));
    return OK;
}

void facts_show(json *view, const char *facts) {
    json *j = NULL;
    if (facts && json_parse_any(&j, bytes_of(facts), JOB_FACTS_MAX, NULL) == OK &&
        json_is_object(j))
        json_each(j, show, view, NULL);
    json_free(j);
}
