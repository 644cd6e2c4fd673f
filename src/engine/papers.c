// papers.c - see papers.h.
//
//     "SFPAPERS" NAME  then for each file: NAME SIZE PARTS, and for each part: OFFSET LENGTH BYTES
//
// Numbers are 64 bits, little-endian; a name is its length and its bytes. What no part covers is a
// hole, which a file system keeps without storing it.
#define _GNU_SOURCE // nftw
#include "engine/papers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hubdir.h"
#include "base/mem.h"
#include "format/gguf.h"

#define MAGIC "SFPAPERS"
#define NAME_MAX_BYTES 200
#define DOCUMENT_MAX ((size_t)8 << 20)
#define FILE_MAX (INT64_C(1) << 40)
#define FILES_MAX 1000
#define ENTRIES_MAX 1000 // of a folder; what is beyond is left out
#define PACKED "model.gguf"
#define VOCABULARY "tokenizer.vocab"

// ---- writing

static void put_number(buf *out, uint64_t v) {
    uint8_t b[8];
    for (int i = 0; i < 8; i++) b[i] = (uint8_t)(v >> 8 * i);
    buf_add(out, b, sizeof b);
}

static void put_name(buf *out, const char *name) {
    put_number(out, strlen(name));
    buf_add_str(out, name);
}

static void put_part(buf *out, bytes file, size_t offset, size_t n) {
    put_number(out, offset);
    put_number(out, n);
    buf_add(out, file.p + offset, n);
}

static void put_file(buf *out, const char *name, bytes file, size_t parts) {
    put_name(out, name);
    put_number(out, file.n);
    put_number(out, parts);
}

static bool ends_with(const char *name, const char *tail) {
    size_t n = strlen(name), t = strlen(tail);
    return n >= t && strcmp(name + n - t, tail) == 0;
}

// Of a safetensors file what stands before its tensors.
static size_t head_of(bytes file) {
    uint64_t n = 0;
    for (size_t i = 0; i < 8 && i < file.n; i++) n |= (uint64_t)file.p[i] << 8 * i;
    return file.n >= 8 && n <= file.n - 8 ? 8 + (size_t)n : file.n;
}

static status add_file(buf *out, const char *path, const char *name, err *e) {
    os_file_map map;
    status rc = os_map_open(&map, path, e);
    if (rc) return rc;
    bool tensors = ends_with(name, ".safetensors");
    size_t n = tensors ? head_of(map.data) : map.data.n;
    if (tensors || n <= DOCUMENT_MAX) {
        put_file(out, name, map.data, 1);
        put_part(out, map.data, 0, n);
    }
    os_map_close(&map);
    return OK;
}

static bool is_paper(const char *name) {
    return ends_with(name, ".json") || ends_with(name, ".safetensors");
}

static status add_folder(buf *out, const char *dir, const char *prefix, err *e);

// prefix: "" or "vae/", where the files of dir belong. A folder in a folder is left out.
static status add_entry(buf *out, const char *dir, const char *prefix, const char *entry, err *e) {
    char path[OS_PATH_MAX], name[NAME_MAX_BYTES];
    int n = snprintf(name, sizeof name, "%s%s", prefix, entry);
    if (n + 1 >= (int)sizeof name) return OK;
    status rc = os_path_join(path, sizeof path, dir, entry, e);
    if (!rc && os_is_file(path) && is_paper(name)) return add_file(out, path, name, e);
    if (rc || *prefix || !os_is_dir(path)) return rc;
    snprintf(name, sizeof name, "%.190s/", entry);
    return add_folder(out, path, name, e);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

typedef struct {
    char *name[ENTRIES_MAX]; // each mem_free
    size_t n;
} entries;

static status list_folder(entries *out, const char *dir, err *e) {
    DIR *d = opendir(dir);
    if (!d) return err_set(e, ERR_IO, "%.200s: %s", dir, strerror(errno));
    status rc = OK;
    for (struct dirent *at; !rc && out->n < ENTRIES_MAX && (at = readdir(d));) {
        if (at->d_name[0] == '.') continue;
        out->name[out->n] = mem_strdup(at->d_name);
        if (!out->name[out->n]) rc = err_set(e, ERR_OOM, "no memory for the papers of a model");
        out->n += !rc;
    }
    closedir(d);
    return rc;
}

// In the order of names, so that the same model has the same papers everywhere.
static status add_folder(buf *out, const char *dir, const char *prefix, err *e) {
    entries list = {.n = 0};
    status rc = list_folder(&list, dir, e);
    qsort(list.name, list.n, sizeof *list.name, by_name);
    for (size_t i = 0; i < list.n; i++) {
        if (!rc) rc = add_entry(out, dir, prefix, list.name[i], e);
        mem_free(list.name[i]);
    }
    return rc;
}

// Stable Audio's original layout has its text encoder elsewhere.
static status add_text_encoder(buf *out, const char *dir, err *e) {
    char path[OS_PATH_MAX];
    const char *named = getenv("STEMFORGE_TEXT_ENCODER");
    status rc = os_path_join(path, sizeof path, dir, "model_config.json", e);
    if (rc || !os_exists(path)) return rc;
    rc = os_path_join(path, sizeof path, dir, "text_encoder", e);
    bool own = !rc && os_is_dir(path);
    if (rc || (own && !named)) return rc;
    if (hubdir_find_model(path, named && *named ? named : "google-t5/t5-base", NULL)) return OK;
    return add_folder(out, path, "text_encoder/", e);
}

static status add_packed(buf *out, const char *path, err *e) {
    os_file_map map;
    gguf_file *f = NULL;
    status rc = os_map_open(&map, path, e);
    if (!rc) rc = gguf_open_bytes(&f, map.data, e);
    if (!rc) {
        size_t head = map.data.n;
        for (size_t i = 0; i < gguf_count(f); i++)
            head = MIN(head, (size_t)((const uint8_t *)gguf_at(f, i)->data - map.data.p));
        const gguf_tensor *words = gguf_find(f, VOCABULARY);
        put_file(out, PACKED, map.data, words ? 2 : 1);
        put_part(out, map.data, 0, head);
        if (words)
            put_part(out, map.data, (size_t)((const uint8_t *)words->data - map.data.p),
                     words->size);
    }
    gguf_close(f);
    os_map_close(&map);
    return rc;
}

status papers_write(buf *out, const char *model, err *e) {
    char path[OS_PATH_MAX], name[128];
    status rc = hubdir_find_model(path, model, e);
    if (rc) return rc;
    hubdir_short_name(name, sizeof name, model);
    buf_add_str(out, MAGIC);
    put_name(out, name);
    if (gguf_is(path))
        rc = add_packed(out, path, e);
    else
        rc = add_folder(out, path, "", e);
    if (!rc && !gguf_is(path)) rc = add_text_encoder(out, path, e);
    return rc ? rc : buf_status(out, e);
}

// ---- unpacking

typedef struct {
    bytes left;
    const char *folder; // where files go
    bool packed;
} reader;

static status broken(err *e) {
    return err_set(e, ERR_FORMAT, "expected the papers of a model, found something else");
}

static bool get_number(reader *r, int64_t most, int64_t *out) {
    uint64_t v = 0;
    if (r->left.n < 8) return false;
    for (int i = 0; i < 8; i++) v |= (uint64_t)r->left.p[i] << 8 * i;
    r->left = (bytes){r->left.p + 8, r->left.n - 8};
    *out = (int64_t)v;
    return v <= (uint64_t)most;
}

// A name that stays in its folder: no part of it begins with a dot.
static bool name_ok(const char *s, size_t slashes_max) {
    size_t slashes = 0;
    bool begins = true;
    for (; *s; begins = *s++ == '/') {
        if (begins && (*s == '.' || *s == '/')) return false;
        slashes += *s == '/';
    }
    return !begins && slashes <= slashes_max;
}

static bool get_name(reader *r, char out[NAME_MAX_BYTES + 1], size_t slashes_max) {
    int64_t n;
    if (!get_number(r, NAME_MAX_BYTES, &n) || (size_t)n > r->left.n) return false;
    memcpy(out, r->left.p, (size_t)n);
    out[n] = 0;
    r->left = (bytes){r->left.p + n, r->left.n - (size_t)n};
    return strlen(out) == (size_t)n && name_ok(out, slashes_max);
}

static status write_parts(reader *r, int fd, int64_t size, int64_t parts, err *e) {
    for (int64_t i = 0; i < parts; i++) {
        int64_t offset, n;
        if (!get_number(r, size, &offset) || !get_number(r, size - offset, &n) ||
            (size_t)n > r->left.n)
            return broken(e);
        for (int64_t done = 0; done < n;) {
            ssize_t w = pwrite(fd, r->left.p + done, (size_t)(n - done), (off_t)(offset + done));
            if (w <= 0) return err_set(e, ERR_IO, "papers of a model: %s", strerror(errno));
            done += w;
        }
        r->left = (bytes){r->left.p + n, r->left.n - (size_t)n};
    }
    return OK;
}

static status make_parent(const char *path, err *e) {
    char dir[OS_PATH_MAX];
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    return os_mkdirs(dir, e);
}

static status unpack_file(reader *r, err *e) {
    char name[NAME_MAX_BYTES + 1], path[OS_PATH_MAX];
    int64_t size, parts;
    if (!get_name(r, name, 1) || !get_number(r, FILE_MAX, &size) || !get_number(r, 2, &parts))
        return broken(e);
    r->packed |= strcmp(name, PACKED) == 0;
    status rc = os_path_join(path, sizeof path, r->folder, name, e);
    if (!rc) rc = make_parent(path, e);
    if (rc) return rc;
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size))
        rc = err_set(e, ERR_IO, "%.200s: %s", path, strerror(errno));
    if (!rc) rc = write_parts(r, fd, size, parts, e);
    if (fd >= 0) close(fd);
    return rc;
}

status papers_unpack(char path[], size_t cap, bytes papers, const char *folder, err *e) {
    char name[NAME_MAX_BYTES + 1], dir[OS_PATH_MAX];
    size_t n = strlen(MAGIC);
    if (papers.n < n || memcmp(papers.p, MAGIC, n) != 0) return broken(e);
    reader r = {.left = {papers.p + n, papers.n - n}, .folder = dir};
    if (!get_name(&r, name, 0)) return broken(e);
    status rc = os_path_join(dir, sizeof dir, folder, name, e);
    if (!rc) rc = os_mkdirs(dir, e);
    size_t files = 0;
    while (!rc && r.left.n) rc = files++ < FILES_MAX ? unpack_file(&r, e) : broken(e);
    if (rc) return rc;
    if (r.packed) return os_path_join(path, cap, dir, PACKED, e);
    return os_path_join(path, cap, folder, name, e);
}

// ---- a folder for them

status papers_folder_make(papers_folder *out, err *e) {
    const char *named = getenv("TMPDIR");
    const char *const places[] = {named && *named ? named : "/tmp", "/tmp", "/dev/shm"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        snprintf(out->path, sizeof out->path, "%.3000s/stemforge-papers-XXXXXX", places[i]);
        if (mkdtemp(out->path)) return OK;
    }
    status rc = err_set(e, ERR_IO, "expected a folder for temporary files, %.200s: %s", places[0],
                        strerror(errno));
    out->path[0] = 0;
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(path);
}

void papers_folder_remove(papers_folder *f) {
    if (f->path[0]) nftw(f->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    f->path[0] = 0;
}
