// files.c - see files.h.
#include "engine/stableaudio/files.h"

#include <stdio.h>
#include <string.h>

#define PIPELINE "StableAudioPipeline"

bool sa_files_recognise(const checkpoint *m) {
    json *index = NULL;
    if (m->packed || m->config || checkpoint_document(&index, m, "model_index.json", false, NULL))
        return false;
    const char *name = json_str_value(json_find(index, "_class_name"));
    bool ours = name && strcmp(name, PIPELINE) == 0;
    json_free(index);
    return ours;
}

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

static status open_part(sa_part *out, const checkpoint *m, const char *part, const char *file,
                        err *e) {
    char name[64], dir[OS_PATH_MAX];
    snprintf(name, sizeof name, "%s/config.json", part);
    status rc = checkpoint_document(&out->config, m, name, true, e);
    if (!rc) rc = os_path_join(dir, sizeof dir, m->path, part, e);
    return rc ? rc : st_open_folder(&out->tensors, dir, file, e);
}

static status open_tokenizer(sa_files *out, const checkpoint *m, err *e) {
    char path[OS_PATH_MAX];
    status rc = os_path_join(path, sizeof path, m->path, "tokenizer/tokenizer.json", e);
    if (!rc) rc = tok_open(&out->tokenizer, path, e);
    return rc ? rc
              : checkpoint_document(&out->tokenizer_config, m, "tokenizer/tokenizer_config.json",
                                    false, e);
}

status sa_files_open(sa_files *out, const checkpoint *m, err *e) {
    static const char *const file = "diffusion_pytorch_model";
    *out = (sa_files){0};
    status rc = check_index(m, e);
    if (!rc) rc = open_part(&out->transformer, m, "transformer", file, e);
    if (!rc) rc = open_part(&out->vae, m, "vae", file, e);
    if (!rc) rc = open_part(&out->projection, m, "projection_model", file, e);
    if (!rc) rc = open_part(&out->text_encoder, m, "text_encoder", "model", e);
    if (!rc)
        rc = checkpoint_document(&out->scheduler, m, "scheduler/scheduler_config.json", true, e);
    return rc ? rc : open_tokenizer(out, m, e);
}

status sa_files_check(const sa_files *f, err *e) {
    const st_file *const all[] = {f->transformer.tensors, f->vae.tensors, f->text_encoder.tensors,
                                  f->projection.tensors};
    status rc = OK;
    for (size_t i = 0; i < ARRAY_LEN(all) && !rc; i++) rc = st_check(all[i], e);
    return rc;
}

static void close_part(sa_part *p) {
    json_free(p->config);
    st_close(p->tensors);
}

void sa_files_close(sa_files *f) {
    close_part(&f->transformer);
    close_part(&f->vae);
    close_part(&f->text_encoder);
    close_part(&f->projection);
    json_free(f->scheduler);
    json_free(f->tokenizer_config);
    tok_close(f->tokenizer);
    *f = (sa_files){0};
}
