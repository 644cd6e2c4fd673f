// convert.c - `stemforge convert`: a checkpoint into one packed GGUF file.
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/target.h"
#include "engine/family.h"
#include "stemforge.h"

#define DOCUMENT_MAX ((size_t)64 << 20)

typedef struct {
    const char *model, *type, *out, *license;
    FILE *report;
} options;

typedef struct {
    os_file_map config, generation, preprocessor, tokenizer;
    buf words, vocabulary; // of the tokenizer, packed
} documents;

static status open_one(os_file_map *out, const char *dir, const char *name, bool required, err *e) {
    char path[OS_PATH_MAX];
    status rc = os_path_join(path, sizeof path, dir, name, e);
    if (rc || (!required && !os_exists(path))) return rc;
    rc = os_map_open(out, path, e);
    if (!rc && out->data.n > DOCUMENT_MAX)
        rc = err_set(e, ERR_LIMIT, "%s has over %zu bytes", path, DOCUMENT_MAX);
    return rc;
}

static status open_documents(documents *d, const char *dir, err *e) {
    status rc = open_one(&d->config, dir, "config.json", true, e);
    if (!rc) rc = open_one(&d->generation, dir, "generation_config.json", false, e);
    if (!rc) rc = open_one(&d->preprocessor, dir, "preprocessor_config.json", false, e);
    return rc ? rc : open_one(&d->tokenizer, dir, "tokenizer.json", true, e);
}

static status pack_tokenizer(documents *d, const checkpoint *m, err *e) {
    buf_init(&d->words, DOCUMENT_MAX);
    buf_init(&d->vocabulary, DOCUMENT_MAX);
    tokenizer *t;
    status rc = checkpoint_tokenizer(&t, m, e);
    if (rc) return rc;
    rc = tok_pack(t, d->tokenizer.data, &d->words, &d->vocabulary, e);
    tok_close(t);
    return rc;
}

static void close_documents(documents *d) {
    os_map_close(&d->config);
    os_map_close(&d->generation);
    os_map_close(&d->preprocessor);
    os_map_close(&d->tokenizer);
    buf_deinit(&d->words);
    buf_deinit(&d->vocabulary);
}

static status write_file(const options *o, const family *f, const checkpoint_record *r, err *e) {
    documents d = {0};
    char digest[DIGEST_TEXT];
    const checkpoint *m = &f->files;
    status rc = family_digest(digest, f, e);
    if (!rc) rc = open_documents(&d, m->path, e);
    if (!rc) rc = pack_tokenizer(&d, m, e);
    const pack_contents c = {.model = m->name,
                             .license = o->license,
                             .weights = o->type,
                             .digest = digest,
                             .list = r->list,
                             .count = r->count,
                             .config = d.config.data,
                             .generation = d.generation.data,
                             .preprocessor = d.preprocessor.data,
                             .tokenizer = buf_bytes(&d.words),
                             .vocabulary = buf_bytes(&d.vocabulary)};
    if (!rc) rc = pack_write(o->out, &c, e);
    close_documents(&d);
    return rc;
}

static status convert(const options *o, stemforge_weights type, err *e) {
    family *f = NULL;
    checkpoint_record r = {0};
    compute *c;
    status rc = target_check(o->out, &o->model, 1, e);
    if (rc) return err_within(e, rc, "--out");
    rc = compute_open(&c, 0, NULL, e);
    const family_options files = {
        .model = o->model, .weights = (weights_type)type, .c = c, .record = &r};
    if (!rc) rc = family_open(&f, &files, e);
    if (!rc && f->files.packed) rc = err_set(e, ERR_ARG, "%s is packed already", o->model);
    if (!rc && r.failed) rc = err_set(e, ERR_OOM, "no memory to write the model down");
    if (!rc) rc = write_file(o, f, &r, e);
    if (!rc && checkpoint_check(&f->files, e)) {
        rc = ERR_DEVICE;
        struct stat st; // what was read meanwhile is not the model; a device stays
        if (lstat(o->out, &st) == 0 && S_ISREG(st.st_mode)) unlink(o->out);
    }
    if (!rc) fprintf(o->report, "%s  %zu tensors, %s\n", o->out, r.count, o->type);
    family_close(f);
    checkpoint_record_deinit(&r);
    compute_close(c);
    return rc;
}

int convert_main(int argc, char **argv) {
    options o = {.type = "q8"};
    const arg_option table[] = {
        {"type", ARG_STR, &o.type, 0, 0, ARG_VALUE_WEIGHTS, "how the decoder is kept (q8)", NULL},
        {"out", ARG_STR, &o.out, 0, 0, "FILE", "the file to write: model.gguf; also -o", NULL},
        {"license", ARG_STR, &o.license, 0, 0, "NAME",
         "of the weights, kept in the file: cc-by-nc-4.0", NULL},
    };
    const arg_command c = {
        "convert",
        "MODEL --out FILE.gguf [--type TYPE]",
        "packs a checkpoint into one file that opens at once",
        table,
        ARRAY_LEN(table),
        "  stemforge convert facebook/musicgen-small --type q8 -o small-q8.gguf\n"
        "  stemforge generate --model small-q8.gguf --stem drums\n",
        1,
        1};
    int n, code;
    stemforge_weights type;
    if (args_parse(&c, argc, argv, &o.model, &n, &code)) return code;
    if (!o.out || !stemforge_weights_parse(o.type, &type)) {
        fprintf(stderr, "stemforge convert: %s; see stemforge convert --help\n",
                o.out ? "--type: expected stored, f32, bf16, q8 or q4" : "--out is missing");
        return EXIT_USAGE;
    }
    err e = {0};
    if (target_suffix(o.out, ".gguf", &e)) {
        fprintf(stderr, "stemforge convert: --out: %s; see stemforge convert --help\n", e.text);
        return EXIT_USAGE;
    }
    o.report = target_report(o.out);
    status rc = convert(&o, type, &e);
    if (rc) fprintf(stderr, "stemforge convert: %s\n", e.text);
    return rc ? 1 : 0;
}
