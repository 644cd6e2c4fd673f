// job_recipe.c - see job_recipe.h.
#include "service/job_recipe.h"

#include "service/facts.h"
#include "service/request.h"

static bool set_fields(json *v, const stemforge_request *r) {
    bool ok = true;
    for (size_t i = 0; i < field_count && ok; i++) {
        const field *f = &field_rows[i];
        if (!f->recipe || (!field_is_given(f, r) && !f->draws)) continue;
        ok = json_set(v, f->recipe, fieldjson_write(f, r));
    }
    return ok;
}

static bool set_model(json *v, const job_recipe_model *m) {
    bool ok = json_set_str(v, "stemforge", STEMFORGE_VERSION) &&
              json_set_int(v, "arithmetic", m->info.arithmetic) &&
              json_set_str(v, "model", m->model) && json_set_str(v, "weights", m->weights) &&
              json_set_str(v, "format", "wav");
    ok = ok && json_set_str(v, "model_name", m->info.name);
    if (m->info.top_k >= 0) ok = ok && json_set_int(v, "model_top_k", m->info.top_k);
    if (m->info.guidance > 0) ok = ok && json_set_num(v, "model_guidance", m->info.guidance);
    if (m->info.steps) ok = ok && json_set_int(v, "model_steps", m->info.steps);
    return ok;
}

// The chosen take of each stem, where there were several.
static bool set_takes(json *v, const job *j, const stemforge_request *r) {
    if (r->takes <= 1) return true;
    json *taken = json_new_object();
    bool ok = true;
    for (size_t i = 0; i < j->stem_count; i++) {
        const job_stem *s = &j->stems[i];
        if (s->done) ok = json_set_int(taken, s->name, facts_take(s->result.facts)) && ok;
    }
    return json_set(v, "stem_take", taken) && ok;
}

status job_recipe(json **out, const job *j, const job_recipe_model *m, err *e) {
    request r;
    *out = NULL;
    if (!j->request) return err_set(e, ERR_NOT_FOUND, "the job has no request");
    status rc = request_reparse(&r, bytes_of(j->request), j->work, e);
    if (rc) return rc;
    r.ask.seed = j->seed;
    json *v = json_new_object();
    bool ok = v && set_model(v, m) && set_fields(v, &r.ask) && set_takes(v, j, &r.ask);
    request_deinit(&r);
    if (!ok) {
        json_free(v);
        return err_set(e, ERR_OOM, "no memory for a recipe");
    }
    *out = v;
    return OK;
}
