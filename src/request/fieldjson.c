// fieldjson.c - see fieldjson.h.
#include "request/fieldjson.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "request/chords.h"

#define SECTION_TEXT_MAX ((size_t)1 << 20)

typedef struct {
    const field *f;
    const json *value;
    field_lists *lists;
    stemforge_request *r;
    check_fault fault;
    void *arg;
} reader;

void field_lists_deinit(field_lists *l) {
    mem_free(l->chord_text);
    buf_deinit(&l->section_text);
    *l = (field_lists){0};
}

static void wrong_kind(const reader *x, int64_t item, const char *expected, const json *found) {
    char text[120];
    snprintf(text, sizeof text, "expected %s, found %s", expected, json_kind(found));
    x->fault(x->arg, x->f, item, text);
}

static void read_flag(const reader *x) {
    if (!json_is_bool(x->value))
        wrong_kind(x, -1, "true or false", x->value);
    else
        field_set_number(x->f, x->r, json_is_true(x->value));
}

static void read_number(const reader *x) {
    bool whole = x->f->kind == FIELD_INTEGER;
    double v = json_num_value(x->value);
    if (!json_is_num(x->value))
        wrong_kind(x, -1, whole ? "an integer" : "a number", x->value);
    else if (whole && (v != floor(v) || fabs(v) > INT_MAX))
        x->fault(x->arg, x->f, -1, "expected an integer of at most 31 bits");
    else
        field_set_number(x->f, x->r, v);
}

// An integer of 64 bits with or without sign, or a double that holds a whole number exactly.
static void read_seed(const reader *x) {
    double v = json_num_value(x->value);
    if (json_is_int(x->value))
        field_set_seed(x->f, x->r, (uint64_t)json_int_value(x->value));
    else if (json_is_num(x->value) && fabs(v) <= 0x1p53 && v == floor(v))
        field_set_seed(x->f, x->r, (uint64_t)(int64_t)v);
    else if (json_is_num(x->value))
        x->fault(x->arg, x->f, -1, "expected an integer of 64 bits, found another number");
    else
        wrong_kind(x, -1, "an integer", x->value);
}

static void read_seed_text(const reader *x) {
    const char *text = json_str_value(x->value);
    size_t digits = text ? strspn(text, "0123456789") : 0;
    errno = 0;
    uint64_t v = digits ? strtoull(text, NULL, 10) : 0;
    if (digits && !text[digits] && !errno) {
        field_set_seed(x->f, x->r, v);
        return;
    }
    char detail[120];
    snprintf(detail, sizeof detail, "expected the digits of a whole number, found \"%.40s\"",
             text ? text : json_kind(x->value));
    x->fault(x->arg, x->f, -1, detail);
}

static void read_text(const reader *x) {
    if (!json_is_str(x->value))
        wrong_kind(x, -1, "a string", x->value);
    else
        field_set_text(x->f, x->r, json_str_len(x->value) ? json_str_value(x->value) : NULL);
}

static void too_many(const reader *x, size_t n) {
    char text[80];
    snprintf(text, sizeof text, "expected at most %g names, found %zu", x->f->hi, n);
    x->fault(x->arg, x->f, -1, text);
}

// Names as they stand.
static void read_names(const reader *x, const char **names, size_t most) {
    size_t n = json_len(x->value);
    if (n > most) {
        too_many(x, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const json *item = json_at(x->value, i);
        names[i] = json_str_value(item);
        if (!json_is_str(item)) wrong_kind(x, (int64_t)i, "a string", item);
    }
    field_set_list(x->f, x->r, names, n);
}

// Puts the names that item i holds behind the n there are. Returns how many there are then, or
// would be: names past the limit are counted and left out.
static size_t add_chords(const reader *x, size_t i, char *text, size_t n) {
    field_lists *l = x->lists;
    size_t before = n, len;
    while (chords_next_name((const char **)&text, &len)) {
        char *name = text - len;
        if (*text) *text++ = 0;
        if (n < STEMFORGE_CHORDS_MAX) {
            l->chords[n] = name;
            l->chord_item[n] = (uint16_t)i;
        }
        n++;
    }
    if (n == before && n < STEMFORGE_CHORDS_MAX) { // an item without a name is a fault of its own
        l->chords[n] = NULL;
        l->chord_item[n++] = (uint16_t)i;
    }
    return n;
}

static status read_chords(const reader *x, err *e) {
    size_t items = json_len(x->value), size = 0, n = 0;
    if (items > STEMFORGE_CHORDS_MAX) {
        too_many(x, items);
        return OK;
    }
    for (size_t i = 0; i < items; i++) size += json_str_len(json_at(x->value, i)) + 1;
    char *text = mem_alloc(size + 1);
    if (!text) return err_set(e, ERR_OOM, "no memory for the names of chords");
    x->lists->chord_text = text;
    for (size_t i = 0; i < items; i++) {
        const json *item = json_at(x->value, i);
        size_t len = json_str_len(item);
        if (len) memcpy(text, json_str_value(item), len);
        text[len] = 0;
        size_t at = n;
        n = add_chords(x, i, text, n);
        if (!json_is_str(item) && !json_is_null(item) && at < STEMFORGE_CHORDS_MAX)
            wrong_kind(x, (int64_t)at, "a string", item);
        text += len + 1;
    }
    if (n > STEMFORGE_CHORDS_MAX)
        too_many(x, n);
    else
        field_set_list(x->f, x->r, n ? x->lists->chords : NULL, n);
    return OK;
}

// Puts the names of a section's member behind a ; and faults what is no list of names.
static void add_part(const reader *x, int64_t item, const json *section, const char *name,
                     buf *to) {
    const json *list = json_find(section, name);
    buf_add_char(to, ';');
    if (!list || json_is_null(list)) return;
    char expected[64];
    snprintf(expected, sizeof expected, "an array of names in its %s", name);
    if (!json_is_array(list)) wrong_kind(x, item, expected, list);
    for (size_t i = 0; i < json_len(list) && json_is_array(list); i++) {
        const json *one = json_at(list, i);
        if (!json_is_str(one)) wrong_kind(x, item, expected, one);
        buf_printf(to, " %s", json_is_str(one) ? json_str_value(one) : "");
    }
}

typedef struct {
    const reader *x;
    int64_t item;
} section_reader;

static status check_member(void *arg, const char *name, const json *value, err *e) {
    const section_reader *s = arg;
    (void)value;
    (void)e;
    static const char *const known[] = {"bars", "chords", "stems", "density"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (!strcmp(name, known[i])) return OK;
    char text[120];
    snprintf(text, sizeof text, "expected bars, chords, stems and density in it, found \"%.40s\"",
             name);
    s->x->fault(s->x->arg, s->x->f, s->item, text);
    return OK;
}

// Its word, if it has one.
static void add_density(const reader *x, int64_t item, const json *section, buf *to) {
    const json *word = json_find(section, "density");
    if (!word || json_is_null(word)) return;
    if (!json_is_str(word)) wrong_kind(x, item, "a string for its density", word);
    buf_printf(to, "; %s", json_is_str(word) ? json_str_value(word) : "");
}

// {"bars": 8, "chords": ["Am"], "stems": ["drums"], "density": "sparse"} as a text. False: none.
static bool add_section(const reader *x, size_t i, buf *to, err *e) {
    const json *section = json_at(x->value, i), *bars = json_find(section, "bars");
    if (!json_is_object(section)) {
        wrong_kind(x, (int64_t)i, "an object of bars, chords, stems and density", section);
        return false;
    }
    section_reader s = {x, (int64_t)i};
    (void)!json_each(section, check_member, &s, e);
    if (!json_is_int(bars)) {
        wrong_kind(x, (int64_t)i, "an integer for its bars", bars);
        return false;
    }
    buf_printf(to, "%lld", (long long)json_int_value(bars));
    add_part(x, (int64_t)i, section, "chords", to);
    add_part(x, (int64_t)i, section, "stems", to);
    add_density(x, (int64_t)i, section, to);
    return true;
}

static status read_sections(const reader *x, err *e) {
    size_t n = json_len(x->value), at[STEMFORGE_SECTIONS_MAX];
    buf *text = &x->lists->section_text;
    bool good = true;
    if (n > STEMFORGE_SECTIONS_MAX) {
        too_many(x, n);
        return OK;
    }
    buf_deinit(text);
    buf_init(text, SECTION_TEXT_MAX);
    for (size_t i = 0; i < n; i++) {
        at[i] = text->n;
        good = add_section(x, i, text, e) && good;
        buf_add(text, "", 1);
    }
    status rc = buf_status(text, e);
    if (rc || !good) return rc;
    for (size_t i = 0; i < n; i++) x->lists->sections[i] = (const char *)text->p + at[i];
    field_set_list(x->f, x->r, x->lists->sections, n);
    return OK;
}

static status read_list(const reader *x, fieldjson_form form, err *e) {
    if (!json_is_array(x->value)) {
        wrong_kind(x, -1, "an array", x->value);
        return OK;
    }
    if (x->f->kind == FIELD_CHORDS) return read_chords(x, e);
    if (x->f->kind == FIELD_SECTIONS && form == FIELDJSON_WIRE) return read_sections(x, e);
    if (x->f->kind == FIELD_SECTIONS)
        read_names(x, x->lists->sections, STEMFORGE_SECTIONS_MAX);
    else
        read_names(x, x->f->kind == FIELD_STEMS ? x->lists->stems : x->lists->follow,
                   STEMFORGE_STEMS_MAX);
    return OK;
}

status fieldjson_read(const field *f, const json *value, fieldjson_form form, field_lists *lists,
                      stemforge_request *r, check_fault fault, void *arg, err *e) {
    const reader x = {f, value, lists, r, fault, arg};
    if (field_is_list(f)) return read_list(&x, form, e);
    if (field_is_text(f))
        read_text(&x);
    else if (f->kind == FIELD_FLAG)
        read_flag(&x);
    else if (f->kind != FIELD_SEED)
        read_number(&x);
    else if (form == FIELDJSON_WIRE)
        read_seed(&x);
    else
        read_seed_text(&x);
    return OK;
}

static json *list_json(const char *const *names, size_t n) {
    json *a = json_new_array();
    bool ok = a != NULL;
    for (size_t i = 0; i < n && ok; i++) ok = json_add(a, json_new_str(names[i]));
    if (ok) return a;
    json_free(a);
    return NULL;
}

json *fieldjson_write(const field *f, const stemforge_request *r) {
    size_t n;
    if (field_is_list(f)) {
        const char *const *names = field_list(f, r, &n);
        return list_json(names, n);
    }
    if (field_is_text(f)) return json_new_str(field_text(f, r));
    if (f->kind == FIELD_FLAG) return json_new_bool(field_number(f, r) != 0);
    if (f->kind == FIELD_INTEGER) return json_new_int((int64_t)field_number(f, r));
    if (f->kind == FIELD_NUMBER) return json_new_num(field_number(f, r));
    char seed[32];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)field_seed(f, r));
    return json_new_str(seed);
}
