// test_sa_damaged.c - Stable Audio's files with bytes changed or missing: packed files of each
// type, and the folder of diffusers. What describes tensors is right or refused; what else changed
// gives an error or finite sound; a file that is cut is refused.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "engine/family.h"
#include "format/gguf.h"
#include "sa_folder.h"
#include "stemforge.h"

#define SMALL "tests/parity/sa-small/model"
#define HALF "tests/parity/sa-half/model"

// --- a model that is damaged, and its stem

typedef enum { REFUSED, THE_SAME, ANOTHER, FAILED } answer;

typedef struct {
    float *x; // of the stem
    size_t n;
} sound;

static stemforge_status keep(void *arg, size_t i, const stemforge_stem *s, stemforge_error *e) {
    sound *o = arg;
    (void)i, (void)e;
    o->n = (size_t)(s->frames * s->channels);
    o->x = malloc(o->n * sizeof *o->x);
    memcpy(o->x, s->samples, o->n * sizeof *o->x);
    return STEMFORGE_OK;
}

// A short stem of the model. want NULL: *out gets it; else it is compared.
static answer make(const char *model, sound *out, const sound *want, stemforge_error *e) {
    static const char *const stems[] = {"bass"};
    stemforge_options o = stemforge_options_default();
    stemforge_engine *g;
    sound got = {0};
    o.model = model, o.threads = 1;
    *e = (stemforge_error){0};
    if (stemforge_open(&g, &o, e)) return REFUSED;
    stemforge_request r = stemforge_request_default();
    r.stems = stems, r.stem_count = 1, r.seconds = 0.1, r.steps = 2, r.seed = 3, r.canvas = 0.12;
    const stemforge_events ev = {.arg = &got, .stem_done = keep};
    stemforge_status rc = stemforge_generate(g, &r, &ev, e);
    stemforge_close(g);
    if (rc) {
        cr_assert_null(got.x, "nothing of a stem that failed");
        return FAILED;
    }
    for (size_t i = 0; i < got.n; i++) cr_assert(isfinite(got.x[i]));
    bool same = want && want->n == got.n && !memcmp(want->x, got.x, got.n * sizeof *got.x);
    if (out)
        *out = got;
    else
        free(got.x);
    return same ? THE_SAME : ANOTHER;
}

// --- files

static off_t size_of(const char *path) {
    struct stat s;
    cr_assert_eq(stat(path, &s), 0, "%s", path);
    return s.st_size;
}

static uint8_t byte_at(int fd, off_t at) {
    uint8_t v;
    cr_assert_eq(pread(fd, &v, 1, at), 1);
    return v;
}

static void put_byte(int fd, off_t at, uint8_t v) {
    cr_assert_eq(pwrite(fd, &v, 1, at), 1);
}

typedef struct {
    const char *model, *file; // file: the one that is changed
    off_t from, to, step;
    bool describes; // tensors: another sound is wrong
} damage;

// A few values said to be F16 in place of F32, or the other way round, in a packed file: they fit
// into the same aligned place, so that is another file without a fault.
static bool small_type(uint8_t was, uint8_t now) {
    return was + now == 1;
}

// Changes one byte after the other, each to another value. How many answers there were of a kind.
static void change_bytes(const damage *d, const sound *want, int count[4]) {
    static const uint8_t flips[] = {0x01, 0x80, 0xff, 0x10, 0x02};
    int fd = open(d->file, O_RDWR);
    cr_assert_geq(fd, 0, "%s", d->file);
    for (off_t at = d->from, k = 0; at < d->to; at += d->step, k++) {
        uint8_t was = byte_at(fd, at), now = was ^ flips[k % (off_t)sizeof flips];
        stemforge_error e;
        put_byte(fd, at, now);
        answer a = make(d->model, NULL, want, &e);
        put_byte(fd, at, was);
        count[a]++;
        cr_assert(a == THE_SAME || a == ANOTHER || e.text[0], "byte %d says nothing", (int)at);
        cr_assert(!d->describes || a != ANOTHER || small_type(was, now),
                  "%s: byte %d, %d -> %d, is taken", d->file, (int)at, was, now);
    }
    close(fd);
}

static void cut(const damage *d, const sound *want) {
    off_t whole = size_of(d->file);
    uint8_t *all = malloc((size_t)whole);
    int fd = open(d->file, O_RDWR);
    cr_assert(all && fd >= 0 && pread(fd, all, (size_t)whole, 0) == whole);
    for (off_t n = whole - 1; n >= 0; n = n > 64 ? n - whole / 12 - 1 : n - 1) {
        stemforge_error e;
        cr_assert_eq(ftruncate(fd, MAX(n, 0)), 0);
        answer a = make(d->model, NULL, want, &e);
        cr_assert_eq(a, REFUSED, "%s: %d of %d bytes are taken", d->file, (int)n, (int)whole);
        cr_assert(e.text[0]);
    }
    cr_assert_eq(pwrite(fd, all, (size_t)whole, 0), whole);
    free(all);
    close(fd);
}

// --- packed files

static void pack_model(const char *path, const char *model, weights_type type) {
    err e;
    compute *c;
    family *f;
    checkpoint_record r = {0};
    packing p = {0};
    char digest[DIGEST_TEXT];
    const family_options files = {.model = model, .weights = type, .record = &r};
    cr_assert_eq(compute_open(&c, 1, NULL, &e), OK);
    family_options o = files;
    o.c = c;
    cr_assert_eq(family_open(&f, &o, &e), OK, "%s", e.text);
    cr_assert_eq(family_digest(digest, f, &e), OK, "%s", e.text);
    cr_assert_eq(f->ops->pack_texts(f, &p, &e), OK, "%s", e.text);
    const pack_contents contents = {.family = f->ops->key,
                                    .model = "small",
                                    .weights = weights_type_name(type),
                                    .digest = digest,
                                    .list = r.list,
                                    .count = r.count,
                                    .texts = p.list,
                                    .text_count = p.n,
                                    .vocabulary = buf_bytes(&p.vocabulary)};
    cr_assert_eq(pack_write(path, &contents, &e), OK, "%s", e.text);
    packing_deinit(&p);
    family_close(f);
    checkpoint_record_deinit(&r);
    compute_close(c);
}

// The last place in front of `end` that holds the name behind its length.
static int64_t place_of(bytes file, const char *name, int64_t end) {
    uint8_t full[8 + GGUF_NAME_MAX + 1] = {(uint8_t)strlen(name)};
    size_t n = 8 + strlen(name);
    memcpy(full + 8, name, n - 8);
    int64_t at = end - (int64_t)n;
    while (at > 0 && memcmp(file.p + at, full, n) != 0) at--;
    return at;
}

// Where the list of tensors begins, and where their data does: names, shapes, types, offsets.
static span list_of(const char *path) {
    gguf_file *f;
    os_file_map map;
    err e;
    cr_assert_eq(os_map_open(&map, path, &e), OK, "%s", e.text);
    cr_assert_eq(gguf_open_bytes(&f, map.data, &e), OK, "%s", e.text);
    span s = {(int64_t)map.data.n, (int64_t)map.data.n};
    for (size_t i = 0; i < gguf_count(f); i++)
        s.to = MIN(s.to, (const uint8_t *)gguf_at(f, i)->data - map.data.p);
    for (size_t i = 0; i < gguf_count(f); i++)
        s.from = MIN(s.from, place_of(map.data, gguf_at(f, i)->name, s.to));
    cr_assert(s.from > 24 && s.from < s.to);
    gguf_close(f);
    os_map_close(&map);
    return s;
}

static void check_packed(const char *model, weights_type type) {
    char path[] = "/tmp/stemforge-sa-packed-XXXXXX";
    int fd = mkstemp(path);
    stemforge_error e;
    sound want = {0};
    cr_assert(fd >= 0 && close(fd) == 0);
    pack_model(path, model, type);
    cr_assert_eq(make(path, &want, NULL, &e), ANOTHER, "%s", e.text);
    span list = list_of(path);
    int told[4] = {0}, data[4] = {0}, text[4] = {0};
    damage d = {path, path, list.from, list.to, 53, true};
    change_bytes(&d, &want, told);
    d.from = 0, d.to = 24, d.step = 1; // magic, version and counts
    change_bytes(&d, &want, told);
    d.from = 24, d.to = list.from, d.step = list.from / 40, d.describes = false;
    change_bytes(&d, &want, text);
    d.from = list.to, d.to = size_of(path), d.step = (d.to - d.from) / 40;
    change_bytes(&d, &want, data);
    cut(&d, &want);
    cr_assert_eq(make(path, NULL, &want, &e), THE_SAME, "the file is as it was");
    printf("%s: list %d refused, %d the same; documents %d, %d, %d other, %d failed; values %d, "
           "%d, %d, %d\n",
           weights_type_name(type), told[REFUSED], told[THE_SAME], text[REFUSED], text[THE_SAME],
           text[ANOTHER], text[FAILED], data[REFUSED], data[THE_SAME], data[ANOTHER], data[FAILED]);
    cr_assert_gt(told[REFUSED], 50);
    cr_assert(text[REFUSED] > 5 && data[ANOTHER] > 5);
    free(want.x);
    unlink(path);
}

Test(sa_damaged, a_packed_file_with_bytes_changed_is_an_error_or_the_same) {
    log_setup(LOG_OFF, false);
    check_packed(SMALL, WEIGHTS_Q8);
    check_packed(SMALL, WEIGHTS_Q4);
    check_packed(HALF, WEIGHTS_BF16);
}

// --- the folder of diffusers

static void copy_file(const char *from, const char *to) {
    os_file_map map;
    cr_assert_eq(os_map_open(&map, from, NULL), OK, "%s", from);
    FILE *f = fopen(to, "wb");
    cr_assert(f && fwrite(map.data.p, 1, map.data.n, f) == map.data.n && fclose(f) == 0, "%s", to);
    os_map_close(&map);
}

static void each_file(const char *folder, bool copy) {
    char from[200], to[200];
    for (size_t i = 0; i < ARRAY_LEN(sa_parts) && copy; i++) {
        snprintf(to, sizeof to, "%s/%s", folder, sa_parts[i]);
        cr_assert_eq(mkdir(to, 0700), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(sa_files); i++) {
        snprintf(from, sizeof from, HALF "/%s", sa_files[i]);
        snprintf(to, sizeof to, "%s/%s", folder, sa_files[i]);
        if (copy)
            copy_file(from, to);
        else
            unlink(to);
    }
    for (size_t i = 0; i < ARRAY_LEN(sa_parts) && !copy; i++) {
        snprintf(to, sizeof to, "%s/%s", folder, sa_parts[i]);
        rmdir(to);
    }
    if (!copy) rmdir(folder);
}

Test(sa_damaged, a_folder_with_bytes_changed_is_an_error_or_the_same) {
    char folder[] = "/tmp/stemforge-sa-folder-XXXXXX", path[200];
    stemforge_error e;
    sound want = {0};
    log_setup(LOG_OFF, false);
    cr_assert_not_null(mkdtemp(folder));
    each_file(folder, true);
    cr_assert_eq(make(folder, &want, NULL, &e), ANOTHER, "%s", e.text);
    for (size_t i = 0; i < ARRAY_LEN(sa_files); i++) {
        if (!strstr(sa_files[i], ".safetensors")) continue;
        int told[4] = {0}, data[4] = {0};
        snprintf(path, sizeof path, "%s/%s", folder, sa_files[i]);
        int fd = open(path, O_RDONLY);
        off_t header = 8 + byte_at(fd, 0) + 256 * byte_at(fd, 1);
        close(fd);
        damage d = {folder, path, 8, header, 61, true};
        change_bytes(&d, &want, told);
        d.from = 0, d.to = 8, d.step = 1;
        change_bytes(&d, &want, told);
        d.from = header, d.to = size_of(path), d.step = (d.to - header) / 30, d.describes = false;
        change_bytes(&d, &want, data);
        cut(&d, &want);
        printf("%s: header %d refused, %d the same; values %d the same, %d other, %d failed\n",
               sa_files[i], told[REFUSED], told[THE_SAME], data[THE_SAME], data[ANOTHER],
               data[FAILED]);
        cr_assert_gt(told[REFUSED], 15);
        cr_assert_eq(data[REFUSED], 0);
    }
    cr_assert_eq(make(folder, NULL, &want, &e), THE_SAME, "the files are as they were");
    free(want.x);
    each_file(folder, false);
}
