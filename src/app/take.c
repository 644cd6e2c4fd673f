// take.c - see take.h.
#include "app/take.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "request/fields.h"
#include "request/stem_name.h"

#define VALUE_MAX ((size_t)1 << 20)

#define CHOSEN (-1)

// number: of a take that was not chosen, else CHOSEN: "bass.take2.wav", "bass.wav".
static status stem_path(char out[OS_PATH_MAX], const char *dir, const recipe *of, const char *stem,
                        int number, file_format f, err *e) {
    char name[STEM_NAME_MAX + 1], file[STEM_NAME_MAX + 24], end[16] = "";
    status rc = stem_name(name, of->request, stem, e);
    if (rc) return rc;
    if (number != CHOSEN) snprintf(end, sizeof end, ".take%d", number);
    snprintf(file, sizeof file, "%s%s.%s", name, end, file_format_suffix(f));
    return os_path_join(out, OS_PATH_MAX, dir, file, e);
}

static bool is_same_file(const char *a, const char *b) {
    os_file_id x, y;
    return os_file_identify(&x, a) && os_file_identify(&y, b) && x.device == y.device &&
           x.inode == y.inode;
}

static bool write_value(buf *to, const field *f, const stemforge_request *r) {
    json *j = fieldjson_write(f, r);
    buf_init(to, VALUE_MAX);
    bool ok = j && json_write(to, j, JSON_TIGHT, NULL) == OK;
    json_free(j);
    return ok;
}

static bool is_same_value(const field *f, const stemforge_request *a, const stemforge_request *b) {
    if (f->kind == FIELD_PATH && is_same_file(field_text(f, a), field_text(f, b))) return true;
    buf x, y;
    bool same = write_value(&x, f, a);
    same = write_value(&y, f, b) && same && strcmp(buf_str(&x), buf_str(&y)) == 0;
    buf_deinit(&x);
    buf_deinit(&y);
    return same;
}

// Whether both make the same take. A setting that the new request leaves to the model is the old
// recipe's.
static bool is_same_request(const stemforge_request *old, const stemforge_request *new) {
    for (size_t i = 0; i < field_count; i++) {
        const field *f = &field_rows[i];
        bool given = field_is_given(f, new), before = field_is_given(f, old);
        if (new->take && strcmp(f->name, "takes") == 0) continue; // those chosen of them
        if (!given && (f->draws || !before)) continue;
        if (given != before || !is_same_value(f, old, new)) return false;
    }
    return true;
}

static bool is_same_take(const recipe_file *old, const recipe *r) {
    bool model = strcmp(old->model, r->model) == 0 || is_same_file(old->model, r->model);
    return model && strcmp(old->format, r->format) == 0 && strcmp(old->weights, r->weights) == 0 &&
           is_same_request(&old->request, r->request);
}

static status check_free(const char *path, err *e) {
    if (!os_is_file(path)) return OK;
    return err_set(e, ERR_ARG, "%s is there already; name another folder, or add --overwrite",
                   path);
}

// A file that will be written or removed must not be read for it.
static status check_unread(const take *t, const char *path, err *e) {
    for (size_t i = 0; i < field_count; i++) {
        const field *f = &field_rows[i];
        if (f->kind != FIELD_PATH || !field_is_given(f, t->recipe.request)) continue;
        if (is_same_file(path, field_text(f, t->recipe.request)))
            return err_set(e, ERR_ARG, "%s is read too (--%s); name another folder", path, f->flag);
    }
    return OK;
}

// The numbers of the files of a stem: CHOSEN, and its takes when there are several.
static int last_number(const stemforge_request *r) {
    return r->takes > 1 ? r->takes - 1 : CHOSEN;
}

static status check_file(const take *t, size_t stem, int number, bool again, err *e) {
    char path[OS_PATH_MAX];
    const char *name = t->recipe.request->stems[stem];
    status rc = stem_path(path, t->dir, &t->recipe, name, number, t->format, e);
    if (!rc) rc = check_unread(t, path, e);
    if (!rc) rc = os_can_write(path, e);
    if (!rc && !again && !t->overwrite) rc = check_free(path, e);
    return rc;
}

static status check_new(const take *t, bool again, err *e) {
    status rc = os_can_write(t->recipe_path, e);
    for (size_t i = 0; i < t->recipe.request->stem_count; i++)
        for (int k = CHOSEN; !rc && k <= last_number(t->recipe.request); k++)
            rc = check_file(t, i, k, again, e);
    return rc;
}

// What to do with each stem of the take that is there: look, or remove.
static status with_old_stems(const take *t, const recipe_file *old,
                             status (*f)(const take *, const char *, err *), err *e) {
    char path[OS_PATH_MAX];
    file_format format;
    const recipe of = {.request = &old->request};
    status rc = file_format_parse(&format, old->format, e);
    for (size_t i = 0; i < old->request.stem_count; i++) {
        for (int k = CHOSEN; !rc && k <= last_number(&old->request); k++) {
            rc = stem_path(path, t->dir, &of, old->request.stems[i], k, format, e);
            if (!rc) rc = f(t, path, e);
        }
    }
    return rc;
}

static status remove_file(const take *t, const char *path, err *e) {
    (void)t;
    bool failed = os_is_file(path) && !os_is_link(path) && unlink(path);
    return failed ? err_errno(e, "cannot remove %s", path) : OK;
}

// Reads the recipe that is there; *there is false when there is none.
static status read_old(const take *t, recipe_file *old, bool *there, err *e) {
    *there = os_is_file(t->recipe_path);
    *old = (recipe_file){0};
    status rc = *there ? recipe_read(old, t->recipe_path, e) : OK;
    if (!rc && *there && stemforge_request_check(&old->request, e)) { // its stems become paths
        rc = err_within(e, ERR_FORMAT, "%s", t->recipe_path);
        recipe_deinit(old);
    }
    if (rc && e) {
        char why[sizeof e->text];
        memcpy(why, e->text, sizeof why);
        err_set(e, rc, "%s has a recipe.json that is no take's; name another folder (%.200s)",
                t->dir, why);
    }
    return rc;
}

status take_check(take *t, err *e) {
    recipe_file old;
    bool there;
    status rc = os_mkdirs(t->dir, e);
    if (!rc) rc = os_path_join(t->recipe_path, sizeof t->recipe_path, t->dir, "recipe.json", e);
    if (!rc) rc = read_old(t, &old, &there, e);
    if (rc) return rc;
    bool again = there && is_same_take(&old, &t->recipe);
    if (there && !again && !t->overwrite)
        rc =
            err_set(e, ERR_ARG,
                    "%s has another take (recipe.json); name another folder, or add --overwrite to "
                    "replace it",
                    t->dir);
    if (!rc && there && !again) rc = with_old_stems(t, &old, check_unread, e);
    recipe_deinit(&old);
    return rc ? rc : check_new(t, again, e);
}

// Makes the folder's recipe that of this take; nothing of another one stays.
static status begin(take *t, err *e) {
    recipe_file old;
    bool there;
    status rc = read_old(t, &old, &there, e);
    if (rc) return rc;
    t->made = !there || !is_same_take(&old, &t->recipe);
    if (there && t->made) {
        rc = with_old_stems(t, &old, remove_file, e);
        if (!rc) rc = remove_file(t, t->recipe_path, e);
    }
    recipe_deinit(&old);
    if (!rc) rc = recipe_write(t->recipe_path, &t->recipe, e);
    t->begun = rc == OK;
    return rc;
}

status take_write(take *t, const stemforge_stem *s, const file_tags *tags, char path[OS_PATH_MAX],
                  err *e) {
    status rc = t->begun ? OK : begin(t, e);
    int number = s->chosen ? CHOSEN : s->take;
    if (!rc) rc = stem_path(path, t->dir, &t->recipe, s->name, number, t->format, e);
    if (!rc)
        rc = file_write(path, t->format, s->samples, s->frames, s->channels, s->sample_rate, tags,
                        e);
    if (!rc) t->written++;
    return rc;
}

status take_finish(take *t, err *e) {
    return recipe_write(t->recipe_path, &t->recipe, e);
}

void take_abandon(take *t) {
    if (t->made && t->begun && !t->written) remove_file(t, t->recipe_path, NULL);
}
