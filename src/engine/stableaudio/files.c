// files.c - see files.h.
#include "engine/stableaudio/files_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hubdir.h"
#include "engine/stableaudio/original.h"

#define PIPELINE "StableAudioPipeline"
#define ORIGINAL "model_config.json"
#define TEXT_VARIABLE "STEMFORGE_TEXT_ENCODER"
#define TOKENS_DEFAULT 128

// --- which layout

static bool has_member(const checkpoint *m, const char *file, const char *key, const char *value) {
    json *j = NULL;
    if (checkpoint_document(&j, m, file, false, NULL)) return false;
    const char *found = json_str_value(json_find(j, key));
    bool has = found && (!value || strcmp(found, value) == 0);
    json_free(j);
    return has;
}

static bool is_pipeline(const checkpoint *m) {
    return has_member(m, "model_index.json", "_class_name", PIPELINE);
}

// A folder of the hub may have both layouts, and of one of them the documents alone.
static bool has_networks(const checkpoint *m) {
    char path[OS_PATH_MAX];
    return os_path_join(path, sizeof path, m->path, "transformer", NULL) == OK && os_is_dir(path);
}

static bool is_original(const checkpoint *m) {
    return has_member(m, ORIGINAL, "model_type", NULL) &&
           has_member(m, ORIGINAL, "model.diffusion.type", NULL);
}

bool sa_files_recognise(const checkpoint *m) {
    if (m->packed) return pack_is_of(m->packed, SA_KEY);
    return !m->config && (is_pipeline(m) || is_original(m));
}

// --- files of tensors

// Opens DIR/NAME.safetensors; the file is out's.
static status open_tensors(sa_files *out, weights_source *tensors, const char *dir,
                           const char *name, err *e) {
    size_t i = 0;
    while (out->file[i]) i++;
    status rc = st_open_folder(&out->file[i], dir, name, e);
    if (!rc) *tensors = weights_from_st(out->file[i]);
    return rc;
}

// --- a pipeline of diffusers

// What model_index.json says of a part: [library, class].
static status check_class(const json *index, const char *part, const char *want, err *e) {
    const json *pair = json_member_of(index, part);
    const char *found = json_str_value(json_at(pair, 1));
    if (found && strcmp(found, want) == 0) return OK;
    return err_set(e, ERR_FORMAT, "model_index.json: %s: expected \"%s\", found \"%.60s\"", part,
                   want, found ? found : "nothing");
}

static status check_index(const checkpoint *m, err *e) {
    static const char *const classes[][2] = {
        {"transformer", "StableAudioDiTModel"},
        {"vae", "AutoencoderOobleck"},
        {"text_encoder", "T5EncoderModel"},
        {"projection_model", "StableAudioProjectionModel"},
        {"scheduler", "CosineDPMSolverMultistepScheduler"},
    };
    json *index;
    status rc = checkpoint_document(&index, m, "model_index.json", true, e);
    for (size_t i = 0; i < ARRAY_LEN(classes) && !rc; i++)
        rc = check_class(index, classes[i][0], classes[i][1], e);
    json_free(index);
    return rc;
}

static status open_part(sa_files *out, sa_part *p, const checkpoint *m, const char *part,
                        const char *file, err *e) {
    char name[64], dir[OS_PATH_MAX];
    snprintf(name, sizeof name, "%s/config.json", part);
    status rc = checkpoint_document(&p->config, m, name, true, e);
    if (!rc) rc = os_path_join(dir, sizeof dir, m->path, part, e);
    return rc ? rc : open_tensors(out, &p->tensors.folder, dir, file, e);
}

static status read_scheduler(sa_files *out, const checkpoint *m, err *e) {
    json *j = NULL;
    status rc = checkpoint_document(&j, m, "scheduler/scheduler_config.json", true, e);
    if (rc) return rc;
    rc = sa_schedule_read(&out->schedule, j, e);
    json_free(j);
    return rc ? err_within(e, rc, "scheduler") : OK;
}

static status read_tokenizer(sa_files *out, const checkpoint *m, err *e) {
    json *j = NULL;
    out->tokens = TOKENS_DEFAULT;
    status rc = os_path_join(out->words, sizeof out->words, m->path, "tokenizer/tokenizer.json", e);
    if (!rc) rc = tok_open(&out->tokenizer, out->words, e);
    if (!rc) rc = checkpoint_document(&j, m, "tokenizer/tokenizer_config.json", false, e);
    if (rc) return rc;
    rc = json_opt_int(j, "model_max_length", 1, SA_TOKENS_MAX, &out->tokens, e);
    json_free(j);
    return rc ? err_within(e, rc, "tokenizer/tokenizer_config.json") : OK;
}

static status open_pipeline(sa_files *out, const checkpoint *m, err *e) {
    static const char *const file = "diffusion_pytorch_model";
    status rc = check_index(m, e);
    if (!rc) rc = open_part(out, &out->transformer, m, "transformer", file, e);
    if (!rc) rc = open_part(out, &out->vae, m, "vae", file, e);
    if (!rc) rc = open_part(out, &out->text_encoder, m, "text_encoder", "model", e);
    if (!rc) rc = open_part(out, &out->projection, m, "projection_model", file, e);
    if (!rc) rc = read_scheduler(out, m, e);
    return rc ? rc : read_tokenizer(out, m, e);
}

// --- the original

// The folder of the T5 model of that name. What a variable names must be there.
static status find_text(char path[OS_PATH_MAX], const checkpoint *m, const char *name, err *e) {
    char hub[120];
    const char *named = getenv(TEXT_VARIABLE);
    if (named && *named) {
        status rc = hubdir_find_model(path, named, e);
        return rc ? err_within(e, rc, TEXT_VARIABLE) : OK;
    }
    status rc = os_path_join(path, OS_PATH_MAX, m->path, "text_encoder", e);
    if (rc || os_is_dir(path)) return rc;
    snprintf(hub, sizeof hub, "%s%s", strchr(name, '/') ? "" : "google-t5/", name);
    if (hubdir_find_model(path, hub, NULL) == OK) return OK;
    return err_set(
        e, ERR_NOT_FOUND,
        "the text encoder %s: expected it in text_encoder/ of the model's folder, in the "
        "cache, or where " TEXT_VARIABLE " says; fetch it: stemforge pull %s",
        name, hub);
}

// tokenizer.json lies beside the encoder, or where diffusers has it.
static status open_words(sa_files *out, const checkpoint *m, const char *dir, err *e) {
    char *path = out->words;
    status rc = os_path_join(path, OS_PATH_MAX, dir, "tokenizer.json", e);
    if (!rc && !os_exists(path))
        rc = os_path_join(path, OS_PATH_MAX, m->path, "tokenizer/tokenizer.json", e);
    return rc ? rc : tok_open(&out->tokenizer, path, e);
}

static status open_text(sa_files *out, const checkpoint *m, const char *name, err *e) {
    char dir[OS_PATH_MAX], path[OS_PATH_MAX];
    int64_t width = 0;
    status rc = find_text(dir, m, name, e);
    if (!rc) rc = os_path_join(path, sizeof path, dir, "config.json", e);
    if (!rc) rc = json_parse_file(&out->text_encoder.config, path, (size_t)4 << 20, e);
    if (!rc) rc = json_get_int(out->text_encoder.config, "d_model", 1, 16384, &width, e);
    if (!rc) rc = open_tensors(out, &out->text_encoder.tensors.folder, dir, "model", e);
    if (!rc && !json_set_int(out->projection.config, "text_encoder_dim", width))
        rc = err_set(e, ERR_OOM, "no memory for a configuration");
    return rc ? rc : open_words(out, m, dir, e);
}

static status read_config(sa_files *out, sa_original *o, const checkpoint *m, err *e) {
    json *config;
    status rc = checkpoint_document(&config, m, ORIGINAL, true, e);
    if (rc) return rc;
    rc = sa_original_read(o, config, e);
    json_free(config);
    if (rc) err_within(e, rc, ORIGINAL);
    out->transformer.config = o->transformer;
    out->vae.config = o->vae;
    out->projection.config = o->projection;
    o->transformer = o->vae = o->projection = NULL;
    out->schedule = o->schedule;
    out->tokens = o->tokens;
    return rc;
}

static status open_original(sa_files *out, const checkpoint *m, err *e) {
    sa_original o;
    weights_source whole;
    out->original = true;
    status rc = read_config(out, &o, m, e);
    if (!rc) rc = open_tensors(out, &whole, m->path, "model", e);
    if (!rc) rc = sa_names_open(&out->names, out->file[0], e);
    if (!rc) rc = open_text(out, m, o.text_model, e);
    if (!rc)
        out->transformer.tensors.folder = out->vae.tensors.folder = out->projection.tensors.folder =
            sa_names_source(out->names);
    sa_original_close(&o);
    return rc;
}

// --- both

status sa_files_open(sa_files *out, const checkpoint *m, err *e) {
    *out = (sa_files){.of = m};
    out->transformer.tensors = (checkpoint_part){.m = m, .name = "transformer"};
    out->vae.tensors = (checkpoint_part){.m = m, .name = "vae"};
    out->text_encoder.tensors = (checkpoint_part){.m = m, .name = "text_encoder"};
    out->projection.tensors = (checkpoint_part){.m = m, .name = "projection_model"};
    if (m->packed) return sa_files_open_packed(out, m, e);
    bool pipeline = is_pipeline(m) && (has_networks(m) || !is_original(m));
    return pipeline ? open_pipeline(out, m, e) : open_original(out, m, e);
}

status sa_files_check(const sa_files *f, err *e) {
    status rc = f->of && f->of->packed ? checkpoint_check(f->of, e) : OK;
    for (size_t i = 0; i < SA_FILES_MAX && f->file[i] && !rc; i++) rc = st_check(f->file[i], e);
    return rc;
}

void sa_files_close(sa_files *f) {
    json_free(f->transformer.config);
    json_free(f->vae.config);
    json_free(f->projection.config);
    json_free(f->text_encoder.config);
    for (size_t i = 0; i < SA_FILES_MAX; i++) st_close(f->file[i]);
    sa_names_close(f->names);
    tok_close(f->tokenizer);
    *f = (sa_files){0};
}
