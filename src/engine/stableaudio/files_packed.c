// files_packed.c - a Stable Audio model in a packed file (engine/pack.h): its documents, written
// and read.
//
// Those of the networks are config.json as diffusers has them, with the keys of original.h where
// the model came from that layout. "schedule" is ours: what sa_schedule holds, "tokens" of a text
// and "original", whether the model had that layout.
#include "engine/stableaudio/files_inside.h"

// --- writing

static status add_schedule(packing *out, const sa_files *f, err *e) {
    const sa_schedule *s = &f->schedule;
    json *j = json_new_object();
    bool ok = json_set_bool(j, "flow", s->flow) && json_set_num(j, "sigma_min", s->sigma_min) &&
              json_set_num(j, "sigma_max", s->sigma_max) && json_set_bool(j, "unit", s->unit) &&
              json_set_str(j, "sampler", sa_sampler_name(s->sampler)) &&
              json_set_int(j, "steps", s->steps) && json_set_num(j, "guidance", s->guidance) &&
              json_set_int(j, "tokens", f->tokens) && json_set_bool(j, "original", f->original);
    status rc = ok ? packing_add_json(out, "schedule", j, e)
                   : err_set(e, ERR_OOM, "no memory for a document");
    json_free(j);
    return rc;
}

status sa_files_pack(const sa_files *f, packing *out, err *e) {
    const sa_part *const parts[] = {&f->transformer, &f->vae, &f->text_encoder, &f->projection};
    status rc = OK;
    for (size_t i = 0; i < ARRAY_LEN(parts) && !rc; i++)
        rc = packing_add_json(out, parts[i]->tensors.name, parts[i]->config, e);
    if (!rc) rc = add_schedule(out, f, e);
    return rc ? rc : packing_add_tokenizer(out, f->tokenizer, f->words, e);
}

// --- reading

status sa_files_read_schedule(sa_files *out, const json *j, err *e) {
    sa_schedule *s = &out->schedule;
    const char *sampler;
    status rc = json_get_bool(j, "flow", &s->flow, e);
    if (!rc) rc = json_get_num(j, "sigma_max", 1e-3, 1e5, &s->sigma_max, e);
    if (!rc) rc = json_get_num(j, "sigma_min", 1e-4, 1e5, &s->sigma_min, e);
    if (!rc) rc = json_get_bool(j, "unit", &s->unit, e);
    if (!rc) rc = json_get_int(j, "steps", 2, SA_STEPS_MAX, &s->steps, e);
    if (!rc) rc = json_get_num(j, "guidance", 0, SA_GUIDANCE_MAX, &s->guidance, e);
    if (!rc) rc = json_get_int(j, "tokens", 1, SA_TOKENS_MAX, &out->tokens, e);
    if (!rc) rc = json_get_bool(j, "original", &out->original, e);
    if (!rc) rc = json_get_str(j, "sampler", &sampler, e);
    if (!rc) rc = sa_sampler_find(&s->sampler, s, sampler, e);
    if (rc || s->sigma_min < s->sigma_max) return rc;
    return err_set(e, ERR_FORMAT, "sigma_min: expected less than sigma_max %g, found %g",
                   s->sigma_max, s->sigma_min);
}

static status open_schedule(sa_files *out, const checkpoint *m, err *e) {
    json *j;
    status rc = checkpoint_document(&j, m, "schedule", true, e);
    if (rc) return rc;
    rc = sa_files_read_schedule(out, j, e);
    json_free(j);
    return rc ? err_within(e, rc, "schedule") : OK;
}

status sa_files_open_packed(sa_files *out, const checkpoint *m, err *e) {
    sa_part *const parts[] = {&out->transformer, &out->vae, &out->text_encoder, &out->projection};
    status rc = OK;
    for (size_t i = 0; i < ARRAY_LEN(parts) && !rc; i++)
        rc = checkpoint_document(&parts[i]->config, m, parts[i]->tensors.name, true, e);
    if (!rc) rc = open_schedule(out, m, e);
    return rc ? rc : checkpoint_tokenizer(&out->tokenizer, m, e);
}
