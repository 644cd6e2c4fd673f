// recipe.c - see recipe.h.
#include "app/recipe.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/shipped.h"
#include "base/os.h"
#include "compute/ops.h"

#define RECIPE_MAX ((size_t)1 << 20)

// Sets a path from the root; one that is not there, such as a hub's name, as it is.
static bool set_path(json *j, const char *key, const char *path) {
    char whole[PATH_MAX];
    return json_set_str(j, key, realpath(path, whole) ? whole : path);
}

static bool set_field(json *j, const field *f, const stemforge_request *r) {
    if (!field_is_given(f, r) && !f->draws) return true;
    if (f->kind == FIELD_PATH) return set_path(j, f->recipe, field_text(f, r));
    return json_set(j, f->recipe, fieldjson_write(f, r));
}

// Which model it was, and what it stood for: members that only the model's families have.
static bool set_model(json *j, const recipe *r) {
    const recipe_defaults *own = &r->model_own;
    bool ok = !r->identity.name || json_set_str(j, "model_name", r->identity.name);
    if (*r->identity.digest) ok = ok && json_set_str(j, "model_digest", r->identity.digest);
    if (!own->known) return ok;
    if (own->top_k >= 0) ok = ok && json_set_int(j, "model_top_k", own->top_k);
    if (own->guidance > 0) ok = ok && json_set_num(j, "model_guidance", own->guidance);
    if (own->steps) ok = ok && json_set_int(j, "model_steps", own->steps);
    return ok;
}

static json *to_json(const recipe *r) {
    json *j = json_new_object();
    bool shipped = strcmp(r->model, SHIPPED_MODEL) == 0;
    bool ok = j && json_set_str(j, "stemforge", STEMFORGE_VERSION) &&
              json_set_int(j, "arithmetic", ARITHMETIC) &&
              (shipped ? json_set_str(j, "model", r->model) : set_path(j, "model", r->model)) &&
              json_set_str(j, "weights", r->weights) && json_set_str(j, "format", r->format);
    for (size_t i = 0; i < field_count && ok; i++) ok = set_field(j, &field_rows[i], r->request);
    ok = ok && set_model(j, r);
    if (ok && r->drawn) ok = json_set(j, "stem_temperature", json_copy_of(r->drawn));
    if (ok && json_len(r->taken)) ok = json_set(j, "stem_take", json_copy_of(r->taken));
    if (ok && r->measured) ok = json_set(j, "measured", json_copy_of(r->measured));
    if (ok && json_len(r->warnings)) ok = json_set(j, "warnings", json_copy_of(r->warnings));
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

// The first fault of a recipe's fields, as an error.
static void keep_fault(void *arg, const field *f, int64_t item, const char *detail) {
    err *e = arg;
    if (e->code) return;
    if (item < 0)
        err_set(e, ERR_FORMAT, "%s: %s", f->recipe, detail);
    else
        err_set(e, ERR_FORMAT, "%s[%d]: %s", f->recipe, (int)item, detail);
}

static status read_fields(recipe_file *r, err *e) {
    err first = {0};
    status rc = OK;
    for (size_t i = 0; i < field_count && !rc && !first.code; i++) {
        const field *f = &field_rows[i];
        const json *value = json_find(r->doc, f->recipe);
        if (!value || json_is_null(value)) {
            if (f->kind == FIELD_SEED)
                return err_set(e, ERR_FORMAT, "%s: expected a string of digits, found nothing",
                               f->recipe);
            continue;
        }
        rc = fieldjson_read(f, value, FIELDJSON_RECIPE, &r->lists, &r->request, keep_fault, &first,
                            e);
    }
    if (!rc && first.code) {
        if (e) *e = first;
        return first.code;
    }
    return rc;
}

// The program whose arithmetic has that number.
static const char *maker_of(int64_t number) {
    if (number == 1) return "stemforge " ARITHMETIC_1_VERSION;
    return number < ARITHMETIC ? "A build between two releases" : "A newer stemforge";
}

// Other arithmetic would make other samples, without a word.
static status check_arithmetic(const recipe_file *r, err *e) {
    int64_t number = 1; // recipes that name none
    status rc = json_opt_int(r->doc, "arithmetic", 1, INT32_MAX, &number, e);
    if (rc || number == ARITHMETIC) return rc;
    return err_set(
        e, ERR_FORMAT,
        "arithmetic: expected %d, found %lld: a seed can give other samples now. %s makes "
        "the same bytes; or take the settings into a new request",
        ARITHMETIC, (long long)number, maker_of(number));
}

static status read_model(recipe_file *r, err *e) {
    recipe_defaults *own = &r->model_own;
    const char *digest = "";
    int64_t top_k = -1, steps = 0;
    status rc = json_opt_str(r->doc, "model_name", &r->identity.name, e);
    if (!rc) rc = json_opt_str(r->doc, "model_digest", &digest, e);
    if (!rc) rc = json_opt_int(r->doc, "model_top_k", 0, 65536, &top_k, e);
    if (!rc) rc = json_opt_num(r->doc, "model_guidance", 0, 100, &own->guidance, e);
    if (!rc) rc = json_opt_int(r->doc, "model_steps", 1, 500, &steps, e);
    own->known = top_k >= 0 || own->guidance > 0 || steps;
    own->top_k = (int)top_k;
    own->steps = (int)steps;
    snprintf(r->identity.digest, sizeof r->identity.digest, "%s", digest);
    return rc;
}

// The stems of the request, by name.
static status read_temperatures(recipe_file *r, err *e) {
    const json *drawn = json_find(r->doc, "stem_temperature");
    status rc = OK;
    for (size_t i = 0; i < r->request.stem_count && i < STEMFORGE_STEMS_MAX && !rc; i++) {
        r->temperatures[i] = -1;
        rc = json_opt_num(drawn, r->request.stems[i], 0, 4, &r->temperatures[i], e);
    }
    if (drawn && !rc) r->request.temperatures = r->temperatures;
    return rc ? err_within(e, rc, "stem_temperature") : OK;
}

// The chosen take of each stem, by name.
static status read_takes(recipe_file *r, err *e) {
    const json *taken = json_find(r->doc, "stem_take");
    status rc = OK;
    for (size_t i = 0; i < r->request.stem_count && i < STEMFORGE_STEMS_MAX && !rc; i++) {
        int64_t number = 0;
        rc = json_opt_int(taken, r->request.stems[i], 0, STEMFORGE_TAKES_MAX - 1, &number, e);
        r->takes[i] = (int)number;
    }
    if (taken && !rc) r->request.take = r->takes;
    return rc ? err_within(e, rc, "stem_take") : OK;
}

static status read_members(recipe_file *r, err *e) {
    status rc = json_get_str(r->doc, "model", &r->model, e);
    if (!rc) rc = json_opt_str(r->doc, "weights", &r->weights, e);
    if (!rc) rc = json_opt_str(r->doc, "format", &r->format, e);
    if (!rc) rc = read_model(r, e);
    if (!rc) rc = check_arithmetic(r, e);
    if (!rc) rc = read_fields(r, e);
    if (!rc) rc = read_temperatures(r, e);
    return rc ? rc : read_takes(r, e);
}

status recipe_read(recipe_file *out, const char *path, err *e) {
    *out =
        (recipe_file){.request = stemforge_request_default(), .format = "wav", .weights = "stored"};
    status rc = json_parse_file(&out->doc, path, RECIPE_MAX, e);
    if (rc) return rc;
    rc = read_members(out, e);
    if (rc) {
        err_within(e, rc, "%s", path);
        recipe_deinit(out);
    }
    return rc;
}

void recipe_deinit(recipe_file *r) {
    field_lists_deinit(&r->lists);
    json_free(r->doc);
    *r = (recipe_file){0};
}
