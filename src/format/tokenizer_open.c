// tokenizer_open.c - see tokenizer.h. Reads tokenizer.json part by part, and refuses by name what
// it does not know.
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/pretender.h"
#include "base/utf8.h"
#include "format/tokenizer_inside.h"

#define ADDED_MAX 65536
#define ID_MAX (UNIGRAM_PIECES_MAX + ADDED_MAX)

static bool is_type(const json *j, const char *type) {
    const char *s = json_str_value(json_find(j, "type"));
    return s && strcmp(s, type) == 0;
}

static status unsupported(const json *j, const char *what, err *e) {
    const char *s = json_str_value(json_find(j, "type"));
    return err_set(e, ERR_FORMAT, "%s of type %s is not supported here", what,
                   s ? s : json_kind(json_find(j, "type")));
}

// ---- added tokens

static status added_read(tokenizer *t, added_token *a, const json *j, err *e) {
    const char *content;
    int64_t id;
    status rc = json_get_str(j, "content", &content, e);
    if (!rc) rc = json_get_int(j, "id", 0, ID_MAX - 1, &id, e);
    a->normalized = true;
    if (!rc) rc = json_opt_bool(j, "single_word", &a->single_word, e);
    if (!rc) rc = json_opt_bool(j, "lstrip", &a->lstrip, e);
    if (!rc) rc = json_opt_bool(j, "rstrip", &a->rstrip, e);
    if (!rc) rc = json_opt_bool(j, "normalized", &a->normalized, e);
    if (rc) return rc;
    if (strlen(content) > TOK_PIECE_MAX) {
        return err_set(e, ERR_FORMAT, "content of %zu bytes, expected at most %d", strlen(content),
                       TOK_PIECE_MAX);
    }
    // A token that the model has too keeps the model's id, whatever the file says here.
    a->id = unigram_find(t->model, bytes_of(content));
    if (a->id < 0 && id < unigram_size(t->model)) {
        return err_set(e, ERR_FORMAT, "id %lld of %s is another piece of the model", (long long)id,
                       content);
    }
    if (a->id < 0) a->id = (int32_t)id;
    a->content = mem_strdup(content);
    t->size = MAX(t->size, a->id + 1);
    return a->content ? OK : err_set(e, ERR_OOM, "no memory for an added token");
}

// Normalises the content of an added token, as it stands in a normalised text. *out is the
// caller's; it stays NULL when nothing is left, for such a token is never found.
static status content_normalise(const tokenizer *t, const char *content, char **out, err *e) {
    norm_text a, b;
    norm_text_init(&a, TOK_TEXT_MAX);
    norm_text_init(&b, TOK_TEXT_MAX);
    norm_text_copy(&a, bytes_of(content));
    status rc = norm_text_status(&a, e);
    if (!rc) rc = normalizer_run(t->norm, &a, &b, e);
    if (!rc && a.n > TOK_PIECE_MAX) {
        rc = err_set(e, ERR_FORMAT, "%s is %zu bytes when normalised", content, a.n);
    }
    if (!rc && a.n) {
        *out = mem_strndup((const char *)a.p, a.n);
        if (!*out) rc = err_set(e, ERR_OOM, "no memory for an added token");
    }
    norm_text_deinit(&a);
    norm_text_deinit(&b);
    return rc;
}

// Makes one of the two sets. keys[i] is the spelling of added token i, NULL when it is not in the
// set.
static status set_create(trie **out, char *const *keys, size_t n, err *e) {
    trie_entry *list = mem_calloc(n, sizeof *list);
    if (!list) return err_set(e, ERR_OOM, "no memory for %zu added tokens", n);
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (keys[i]) list[count++] = (trie_entry){bytes_of(keys[i]), (int32_t)i};
    }
    status rc = trie_create(out, list, count, e);
    mem_free(list);
    return rc;
}

static status sets_create(tokenizer *t, err *e) {
    size_t n = t->added_count;
    char **raw = mem_calloc(n, sizeof *raw), **normed = mem_calloc(n, sizeof *normed);
    status rc = raw && normed ? OK : err_set(e, ERR_OOM, "no memory for %zu added tokens", n);
    for (size_t i = 0; !rc && i < n; i++) {
        added_token *a = &t->added[i];
        if (a->normalized)
            rc = content_normalise(t, a->content, &normed[i], e);
        else
            raw[i] = a->content;
    }
    if (!rc) rc = set_create(&t->raw, raw, n, e);
    if (!rc) rc = set_create(&t->normed, normed, n, e);
    for (size_t i = 0; normed && i < n; i++) mem_free(normed[i]);
    mem_free(normed);
    mem_free(raw);
    return rc;
}

static status added_read_all(tokenizer *t, const json *root, err *e) {
    const json *list = json_find(root, "added_tokens");
    size_t n = json_len(list);
    if (n > ADDED_MAX) {
        return err_set(e, ERR_FORMAT, "%zu added_tokens, expected at most %d", n, ADDED_MAX);
    }
    t->added = mem_calloc(n, sizeof *t->added);
    if (!t->added) return err_set(e, ERR_OOM, "no memory for %zu added tokens", n);
    for (t->added_count = 0; t->added_count < n;) {
        size_t i = t->added_count++;
        status rc = added_read(t, &t->added[i], json_at(list, i), e);
        if (rc) {
            err_within(e, rc, "added_tokens[%zu]", i);
            return rc;
        }
    }
    return sets_create(t, e);
}

// ---- pre-tokenizer

static status metaspace_read(splitter *s, const json *j, err *e) {
    const char *mark = "\xE2\x96\x81", *scheme = "always";
    bool add = true;
    s->metaspace = s->split = true;
    status rc = json_opt_str(j, "replacement", &mark, e);
    if (!rc) rc = json_opt_str(j, "prepend_scheme", &scheme, e);
    if (!rc) rc = json_opt_bool(j, "add_prefix_space", &add, e); // older files
    if (!rc) rc = json_opt_bool(j, "split", &s->split, e);
    if (rc) return rc;
    uint32_t cp;
    size_t n = strlen(mark);
    if (!n || utf8_next(&cp, (const uint8_t *)mark, n) != n) {
        return err_set(e, ERR_FORMAT, "replacement: expected one character, found '%s'", mark);
    }
    memcpy(s->mark, mark, n + 1);
    if (strcmp(scheme, "always") == 0)
        s->prepend = PREPEND_ALWAYS;
    else if (strcmp(scheme, "first") == 0)
        s->prepend = PREPEND_FIRST;
    else if (strcmp(scheme, "never") != 0)
        return err_set(e, ERR_FORMAT, "prepend_scheme: expected always, first or never, found %s",
                       scheme);
    if (!add) s->prepend = PREPEND_NEVER;
    return OK;
}

static status splitter_read(splitter *s, const json *j, err *e) {
    if (!j || json_is_null(j)) return OK;
    if (is_type(j, "Sequence")) {
        const json *list;
        status rc = json_get_array(j, "pretokenizers", &list, e);
        for (size_t i = 0; !rc && i < json_len(list); i++)
            rc = splitter_read(s, json_at(list, i), e);
        return rc;
    }
    if (is_type(j, "WhitespaceSplit") && !s->metaspace) {
        s->whitespace = true;
        return OK;
    }
    if (is_type(j, "Metaspace") && !s->metaspace) return metaspace_read(s, j, e);
    return unsupported(j, "pre_tokenizer", e);
}

// ---- post-processor, truncation, padding

static status special_ids(tokenizer *t, const json *root, const char *name, bool before, err *e) {
    const json *entry = json_member_of(json_find(root, "special_tokens"), name);
    const json *ids;
    status rc = json_get_array(entry, "ids", &ids, e);
    if (rc) {
        err_within(e, rc, "special_tokens.%s", name);
        return rc;
    }
    int32_t *list = before ? t->before : t->after;
    size_t *count = before ? &t->before_count : &t->after_count;
    for (size_t i = 0; i < json_len(ids); i++) {
        const json *id = json_at(ids, i);
        int64_t v = json_int_value(id);
        if (!json_is_int(id) || v < 0 || v >= t->size || *count == SPECIALS_MAX) {
            return err_set(e, ERR_FORMAT, "special_tokens.%s: expected up to %d ids below %d", name,
                           SPECIALS_MAX, t->size);
        }
        list[(*count)++] = (int32_t)v;
    }
    return OK;
}

static status template_read(tokenizer *t, const json *j, err *e) {
    if (!j || json_is_null(j)) return OK;
    if (!is_type(j, "TemplateProcessing")) return unsupported(j, "post_processor", e);
    const json *single;
    status rc = json_get_array(j, "single", &single, e);
    size_t texts = 0;
    for (size_t i = 0; !rc && i < json_len(single); i++) {
        const char *special = json_str_value(json_find(json_at(single, i), "SpecialToken.id"));
        const char *text = json_str_value(json_find(json_at(single, i), "Sequence.id"));
        if (special)
            rc = special_ids(t, j, special, texts == 0, e);
        else if (text && strcmp(text, "A") == 0)
            texts++;
        else
            rc = err_set(e, ERR_FORMAT, "single[%zu]: expected Sequence A or a SpecialToken", i);
    }
    if (!rc && texts != 1) {
        rc = err_set(e, ERR_FORMAT, "single: expected Sequence A once, found %zu times", texts);
    }
    return rc;
}

static status direction_read(bool *left, const json *j, err *e) {
    const char *s = "Right";
    status rc = json_opt_str(j, "direction", &s, e);
    if (rc) return rc;
    *left = strcmp(s, "Left") == 0;
    if (*left || strcmp(s, "Right") == 0) return OK;
    return err_set(e, ERR_FORMAT, "direction: expected Left or Right, found %s", s);
}

static status truncation_read(tokenizer *t, const json *j, err *e) {
    if (!j || json_is_null(j)) return OK;
    int64_t max;
    size_t specials = t->before_count + t->after_count;
    status rc = json_get_int(j, "max_length", (int64_t)specials, INT32_MAX, &max, e);
    if (!rc) rc = direction_read(&t->truncates_left, j, e);
    if (rc) return rc;
    t->truncates = true;
    t->truncate_max = (size_t)max - specials;
    return OK;
}

static status padding_read(tokenizer *t, const json *j, err *e) {
    int32_t pad = unigram_find(t->model, bytes_of("<pad>"));
    t->pad_id = MAX(pad, 0);
    if (!j || json_is_null(j)) return OK;
    int64_t fixed = 0, multiple = 1, id = t->pad_id;
    const json *strategy = json_find(j, "strategy");
    const char *name = json_str_value(strategy);
    t->pad = json_is_object(strategy) ? PAD_FIXED : PAD_OWN;
    status rc = OK;
    if (t->pad == PAD_FIXED) rc = json_get_int(strategy, "Fixed", 0, TOK_PAD_MAX, &fixed, e);
    if (t->pad == PAD_OWN && (!name || strcmp(name, "BatchLongest") != 0)) {
        rc = err_set(e, ERR_FORMAT, "strategy: expected BatchLongest or Fixed");
    }
    if (!rc) rc = json_opt_int(j, "pad_to_multiple_of", 1, TOK_PAD_MAX, &multiple, e);
    if (!rc) rc = json_opt_int(j, "pad_id", 0, ID_MAX - 1, &id, e);
    if (!rc) rc = direction_read(&t->pad_left, j, e);
    if (rc) return rc;
    t->pad_to = (size_t)fixed;
    t->pad_multiple = (size_t)multiple;
    t->pad_id = (int32_t)id;
    t->size = MAX(t->size, t->pad_id + 1);
    return OK;
}

// ---- opening

static status within(status rc, const char *what, err *e) {
    if (rc) err_within(e, rc, "%s", what);
    return rc;
}

static status root_read(tokenizer *t, const json *root, bytes vocab, err *e) {
    const json *model;
    status rc = json_get_object(root, "model", &model, e);
    if (!rc) rc = unigram_create(&t->model, model, vocab, TOK_PIECE_MAX, e);
    if (rc) return rc;
    t->size = unigram_size(t->model);
    rc = normalizer_create(&t->norm, json_find(root, "normalizer"), e);
    if (!rc) rc = added_read_all(t, root, e);
    if (!rc)
        rc = within(splitter_read(&t->split, json_find(root, "pre_tokenizer"), e), "pre_tokenizer",
                    e);
    if (!rc)
        rc = within(template_read(t, json_find(root, "post_processor"), e), "post_processor", e);
    if (!rc) rc = within(truncation_read(t, json_find(root, "truncation"), e), "truncation", e);
    if (!rc) rc = within(padding_read(t, json_find(root, "padding"), e), "padding", e);
    return rc;
}

static status root_open(tokenizer **out, const json *root, bytes vocab, err *e) {
    tokenizer *t = mem_calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_OOM, "no memory for a tokenizer");
    status rc = root_read(t, root, vocab, e);
    if (rc) {
        tok_close(t);
        return rc;
    }
    *out = t;
    return OK;
}

status tok_open(tokenizer **out, const char *path, err *e) {
    *out = NULL;
    json *root;
    status rc = json_parse_file(&root, path, TOK_FILE_MAX, e);
    if (rc) return rc;
    rc = within(root_open(out, root, (bytes){0}, e), path, e);
    json_free(root);
    return rc;
}

status tok_open_packed(tokenizer **out, bytes json_text, bytes vocab, err *e) {
    *out = NULL;
    json *root;
    status rc = json_parse(&root, json_text, TOK_FILE_MAX, e);
    if (rc) return rc;
    rc = root_open(out, root, vocab, e);
    json_free(root);
    return rc;
}

status tok_open_bytes(tokenizer **out, bytes json_text, err *e) {
    return tok_open_packed(out, json_text, (bytes){0}, e);
}

status tok_pack(const tokenizer *t, bytes json_text, buf *text, buf *vocab, err *e) {
    json *root;
    status rc = json_parse(&root, json_text, TOK_FILE_MAX, e);
    if (rc) return rc;
    json *model = json_copy_of(json_find(root, "model"));
    bool ok = model && json_set(model, "vocab", json_new_array());
    if (ok)
        ok = json_set(root, "model", model);
    else
        json_free(model);
    rc = ok ? json_write(text, root, JSON_TIGHT, e) : err_set(e, ERR_OOM, "no memory to pack");
    json_free(root);
    unigram_pack(t->model, vocab);
    return rc ? rc : buf_status(vocab, e);
}

void tok_close(tokenizer *t) {
    if (!t) return;
    for (size_t i = 0; i < t->added_count; i++) mem_free(t->added[i].content);
    mem_free(t->added);
    trie_free(t->raw);
    trie_free(t->normed);
    normalizer_free(t->norm);
    unigram_free(t->model);
    mem_free(t);
}
