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

typedef struct {
    const char *model, *type, *out, *license;
    FILE *report;
} options;

static status write_file(const options *o, const family *f, const checkpoint_record *r, err *e) {
    packing p = {0};
    char digest[DIGEST_TEXT];
    status rc = family_digest(digest, f, e);
    if (!rc) rc = f->ops->pack_texts(f, &p, e);
    const pack_contents c = {.family = f->ops->key,
                             .model = f->files.name,
                             .license = o->license,
                             .weights = o->type,
                             .digest = digest,
                             .list = r->list,
                             .count = r->count,
                             .texts = p.list,
                             .text_count = p.n,
                             .vocabulary = buf_bytes(&p.vocabulary)};
    if (!rc) rc = pack_write(o->out, &c, e);
    packing_deinit(&p);
    return rc;
}

// What can be packed: a folder, of a family that has packed files.
static status check_form(const options *o, const family *f, err *e) {
    if (f->files.packed) return err_set(e, ERR_ARG, "%s is packed already", o->model);
    if (f->ops->pack_texts) return OK;
    return err_set(e, ERR_ARG, "%s: %s has no packed files: use its folder", o->model,
                   f->ops->title);
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
    if (!rc) rc = check_form(o, f, e);
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
