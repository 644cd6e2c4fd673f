// recipe.c - see recipe.h.
#include "app/recipe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

#define RECIPE_MAX ((size_t)1 << 20)

static bool set_opt_str(json *j, const char *key, const char *s) {
    return !s || json_set_str(j, key, s);
}

static bool set_list(json *j, const char *key, const char *const *list, size_t n) {
    json *a = json_new_array();
    bool ok = a != NULL;
    for (size_t i = 0; i < n && ok; i++) ok = json_add(a, json_new_str(list[i]));
    return json_set(j, key, a) && ok;
}

static json *to_json(const recipe *r) {
    const stemforge_request *q = r->request;
    char seed[32];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)q->seed);
    json *j = json_new_object();
    bool ok =
        j && json_set_str(j, "stemforge", STEMFORGE_VERSION) &&
        json_set_str(j, "model", r->model) && json_set_str(j, "weights", r->weights) &&
        json_set_str(j, "format", r->format) && set_list(j, "stems", q->stems, q->stem_count) &&
        set_opt_str(j, "prompt", q->prompt) && set_opt_str(j, "style", q->style) &&
        set_opt_str(j, "key", q->key) &&
        (!q->chord_count || set_list(j, "chords", q->chords, q->chord_count)) &&
        (q->bpm == 0 || json_set_num(j, "bpm", q->bpm)) &&
        json_set_num(j, "duration", q->seconds) && json_set_num(j, "temperature", q->temperature) &&
        json_set_int(j, "top_k", q->top_k) && json_set_num(j, "top_p", q->top_p) &&
        json_set_num(j, "guidance", q->guidance) && json_set_str(j, "seed", seed) &&
        set_opt_str(j, "melody", q->melody) && set_opt_str(j, "continue", q->continue_from);
    if (ok) return j;
    json_free(j);
    return NULL;
}

status recipe_write(const char *path, const recipe *r, err *e) {
    json *j = to_json(r);
    buf b;
    buf_init(&b, RECIPE_MAX);
    status rc =
        j ? json_write(&b, j, JSON_PRETTY, e) : err_set(e, ERR_OOM, "no memory for a recipe");
    buf_add_char(&b, '\n');
    if (!rc) rc = buf_status(&b, e);
    if (!rc) rc = os_write_atomic(path, buf_bytes(&b), e);
    buf_deinit(&b);
    json_free(j);
    return rc;
}

static status read_list(const json *doc, const char *key, const char **to, size_t cap, size_t *n,
                        err *e) {
    const json *a = json_find(doc, key);
    *n = 0;
    if (!a) return OK;
    if (!json_is_array(a) || json_len(a) > cap) {
        return err_set(e, ERR_FORMAT, "%s: expected an array of at most %zu", key, cap);
    }
    for (; *n < json_len(a); ++*n) {
        to[*n] = json_str_value(json_at(a, *n));
        if (!to[*n]) return err_set(e, ERR_FORMAT, "%s[%zu]: expected a string", key, *n);
    }
    return OK;
}

static status read_seed(const json *doc, uint64_t *out, err *e) {
    const char *text, *digits;
    status rc = json_get_str(doc, "seed", &text, e);
    if (rc) return rc;
    for (digits = text; *digits >= '0' && *digits <= '9';) digits++;
    errno = 0;
    *out = strtoull(text, NULL, 10);
    if (*text && !*digits && !errno) return OK;
    return err_set(e, ERR_FORMAT, "seed: expected the digits of a whole number, found \"%.40s\"",
                   text);
}

static status read_members(recipe_file *r, err *e) {
    stemforge_request *q = &r->request;
    const json *j = r->doc;
    int64_t top_k = -1;
    status rc = json_get_str(j, "model", &r->model, e);
    if (!rc) rc = json_opt_str(j, "weights", &r->weights, e);
    if (!rc) rc = json_opt_str(j, "format", &r->format, e);
    if (!rc) rc = read_list(j, "stems", r->stems, ARRAY_LEN(r->stems), &q->stem_count, e);
    if (!rc) rc = read_list(j, "chords", r->chords, ARRAY_LEN(r->chords), &q->chord_count, e);
    if (!rc) rc = json_opt_str(j, "prompt", &q->prompt, e);
    if (!rc) rc = json_opt_str(j, "style", &q->style, e);
    if (!rc) rc = json_opt_str(j, "key", &q->key, e);
    if (!rc) rc = json_opt_str(j, "melody", &q->melody, e);
    if (!rc) rc = json_opt_str(j, "continue", &q->continue_from, e);
    if (!rc) rc = json_opt_num(j, "bpm", 0, 1e6, &q->bpm, e);
    if (!rc) rc = json_opt_num(j, "duration", 0, 1e6, &q->seconds, e);
    if (!rc) rc = json_opt_num(j, "temperature", 0, 1e6, &q->temperature, e);
    if (!rc) rc = json_opt_int(j, "top_k", -1, 1 << 20, &top_k, e);
    if (!rc) rc = json_opt_num(j, "top_p", 0, 1, &q->top_p, e);
    if (!rc) rc = json_opt_num(j, "guidance", -1, 1e6, &q->guidance, e);
    if (!rc) rc = read_seed(j, &q->seed, e);
    q->top_k = (int)top_k;
    q->stems = r->stems;
    q->chords = r->chords;
    return rc;
}

status recipe_read(recipe_file *out, const char *path, err *e) {
    *out =
        (recipe_file){.request = stemforge_request_default(), .format = "wav", .weights = "stored"};
    status rc = json_parse_file(&out->doc, path, RECIPE_MAX, e);
    if (rc) return rc;
    rc = read_members(out, e);
    if (rc) {
        err_within(e, "%s", path);
        recipe_deinit(out);
    }
    return rc;
}

void recipe_deinit(recipe_file *r) {
    json_free(r->doc);
    *r = (recipe_file){0};
}

void recipe_comment(char *out, size_t cap, const stemforge_request *r, const char *prompt,
                    const char *model) {
    snprintf(out, cap,
             "%s | model %s, seed %llu, temperature %g, top-k %d, top-p %g, guidance %g, %g s",
             prompt, model, (unsigned long long)r->seed, r->temperature, r->top_k, r->top_p,
             r->guidance, r->seconds);
}
