// fields.c - what the rows of request/fields.h say, in the form of a document. Runs at development
// time only.
//
//     fields openapi <web/openapi.json    the document with the schemas of the fields and of stems
//     fields markdown                     for docs/OPERATIONS.md
//
// tools/fields.sh puts the output in its place.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "request/chords.h"
#include "request/fields.h"
#include "request/length.h"
#include "request/sections.h"
#include "request/stems.h"

#define DOCUMENT_MAX ((size_t)4 << 20)

static void die(const char *what) {
    fprintf(stderr, "fields: %s\n", what);
    exit(1);
}

static void must(bool ok) {
    if (!ok) die("no memory");
}

// --- openapi

// A whole number without a point.
static json *number(double v) {
    return v == (double)(int64_t)v ? json_new_int((int64_t)v) : json_new_num(v);
}

static void set(json *to, const char *name, json *value) {
    must(json_set(to, name, value));
}

static const char *type_of(const field *f) {
    if (field_is_text(f)) return "string";
    if (field_is_list(f)) return "array";
    if (f->kind == FIELD_FLAG) return "boolean";
    return f->kind == FIELD_NUMBER ? "number" : "integer";
}

static json *stem_names(void) {
    json *a = json_new_array();
    for (int i = 0; i < STEMFORGE_STEMS_MAX; i++)
        must(json_add(a, json_new_str(stem_types[i].name)));
    return a;
}

static json *list_schema(json *items, int64_t most, const char *what) {
    json *s = json_new_object();
    set(s, "type", json_new_str("array"));
    set(s, "maxItems", json_new_int(most));
    set(s, "items", items);
    set(s, "description", json_new_str(what));
    return s;
}

static json *density_schema(void) {
    json *o = json_new_object(), *names = json_new_array(), *types = json_new_array();
    for (int i = 0; i < DENSITIES; i++) must(json_add(names, json_new_str(density_names[i])));
    must(json_add(names, json_new_null()));
    must(json_add(types, json_new_str("string")));
    must(json_add(types, json_new_str("null")));
    set(o, "type", types);
    set(o, "enum", names);
    set(o, "description",
        json_new_str("how many notes there are to be, in the words the model is given; none: "
                     "normal"));
    return o;
}

// A part of a piece, as fieldjson.c reads it.
static json *section_schema(void) {
    json *s = json_new_object(), *p = json_new_object(), *bars = json_new_object();
    json *name = json_new_object(), *stem = json_new_object(), *needed = json_new_array();
    set(bars, "type", json_new_str("integer"));
    set(bars, "format", json_new_str("int32"));
    set(bars, "minimum", json_new_int(1));
    set(bars, "maximum", json_new_int(CHORDS_MAX));
    set(name, "type", json_new_str("string"));
    set(stem, "type", json_new_str("string"));
    set(stem, "enum", stem_names());
    set(p, "bars", bars);
    set(p, "chords",
        list_schema(name, STEMFORGE_CHORDS_MAX,
                    "from its first bar on, repeated; none: chord_progression"));
    set(p, "stems",
        list_schema(stem, STEMFORGE_STEMS_MAX,
                    "those that play, the others are silent; none: all"));
    set(p, "density", density_schema());
    must(json_add(needed, json_new_str("bars")));
    set(s, "type", json_new_str("object"));
    set(s, "required", needed);
    set(s, "properties", p);
    must(json_set_bool(s, "additionalProperties", false));
    return s;
}

static json *section_example(void) {
    json *s = json_new_object(), *chords = json_new_array(), *stems = json_new_array();
    must(json_add(chords, json_new_str("Am")));
    must(json_add(chords, json_new_str("F")));
    must(json_add(stems, json_new_str("drums")));
    set(s, "bars", json_new_int(8));
    set(s, "chords", chords);
    set(s, "stems", stems);
    set(s, "density", json_new_str("sparse"));
    return s;
}

static json *items_of(const field *f) {
    if (f->kind == FIELD_SECTIONS) return section_schema();
    json *items = json_new_object();
    set(items, "type", json_new_str("string"));
    if (f->kind == FIELD_STEMS) {
        set(items, "enum", stem_names());
    } else {
        set(items, "minLength", json_new_int(1));
        set(items, "maxLength", json_new_int(STEMFORGE_CHORDS_MAX * (CHORDS_NAME_MAX + 1)));
    }
    return items;
}

static void set_limits(json *schema, const field *f) {
    bool duration = f->at == offsetof(stemforge_request, seconds);
    if (f->kind == FIELD_SEED) {
        set(schema, "minimum", json_new_int(INT64_MIN));
        set(schema, "maximum", json_new_int(INT64_MAX));
    } else if (field_is_text(f)) {
        set(schema, "maxLength", number(f->hi));
    } else if (field_is_list(f)) {
        if (f->lo > 0) set(schema, "minItems", number(f->lo));
        set(schema, "maxItems", number(f->hi));
        if (f->kind == FIELD_STEMS) must(json_set_bool(schema, "uniqueItems", true));
        set(schema, "items", items_of(f));
    } else if (f->kind == FIELD_FLAG) {
        must(json_set_bool(schema, "default", f->absent != 0));
    } else {
        set(schema, "minimum", number(f->lo));
        if (!duration) set(schema, "maximum", number(f->hi)); // a setting of the service
        if (field_has_default(f)) set(schema, "default", number(f->absent));
        if (duration) set(schema, "default", number(LENGTH_SECONDS_DEFAULT));
    }
}

static void add_item(json *list, const char *name, size_t len) {
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)len, name);
    must(json_add(list, json_new_str(text)));
}

static json *example_of(const field *f) {
    json *a = json_new_array(), *list;
    if (field_is_list(f)) {
        list = json_new_array();
        size_t len;
        if (f->kind == FIELD_SECTIONS)
            must(json_add(list, section_example()));
        else
            for (const char *p = f->example; chords_next_name(&p, &len);)
                add_item(list, p - len, len);
        must(json_add(a, list));
    } else if (f->kind == FIELD_FLAG) {
        must(json_add(a, json_new_bool(strcmp(f->example, "true") == 0)));
    } else {
        must(json_add(a, field_is_text(f) ? json_new_str(f->example)
                                          : number(strtod(f->example, NULL))));
    }
    return a;
}

static json *schema_of(const field *f, bool required) {
    json *schema = json_new_object(), *types = json_new_array();
    must(json_add(types, json_new_str(type_of(f))));
    must(json_add(types, json_new_str("null")));
    if (required) {
        json_free(types);
        types = json_new_str(type_of(f));
    }
    set(schema, "type", types);
    if (f->kind == FIELD_SEED || f->kind == FIELD_INTEGER)
        set(schema, "format", json_new_str(f->kind == FIELD_SEED ? "int64" : "int32"));
    set_limits(schema, f);
    buf text;
    buf_init(&text, 400);
    buf_add_str(&text, f->help);
    if (f->at == offsetof(stemforge_request, seconds))
        buf_add_str(&text, "; the longest is a setting (DURATION_MAX_SECONDS)");
    if (f->kind != FIELD_STEMS) set(schema, "description", json_new_str(buf_str(&text)));
    buf_deinit(&text);
    set(schema, "title", json_new_str(f->label));
    set(schema, "examples", example_of(f));
    return schema;
}

// The object whose member the last part of path is. The tree is ours: const is cast away.
static json *parent_of(json *root, const char *path, const char **last) {
    char up[256];
    const char *dot = strrchr(path, '.');
    snprintf(up, sizeof up, "%.*s", (int)(dot - path), path);
    json *parent = (json *)(uintptr_t)json_find(root, up);
    if (!json_is_object(parent)) die(path);
    *last = dot + 1;
    return parent;
}

static void put(json *root, const char *path, json *value) {
    const char *last;
    json *parent = parent_of(root, path, &last);
    set(parent, last, value);
}

#define REQUEST "components.schemas.GenerateRequest.properties"
static const char *const enums[] = {
    "components.schemas.GeneratedStem.properties.stem_type.enum",
    "components.schemas.Job.properties.stems.items.properties.stem_type.enum",
};

static void put_fields(json *root) {
    put(root, REQUEST ".parameters.properties", json_new_object());
    for (size_t i = 0; i < field_count; i++) {
        const field *f = &field_rows[i];
        char path[256];
        if (!f->wire) continue;
        const char *dot = strchr(f->wire, '.');
        if (dot)
            snprintf(path, sizeof path, REQUEST ".%.*s.properties.%s", (int)(dot - f->wire),
                     f->wire, dot + 1);
        else
            snprintf(path, sizeof path, REQUEST ".%s", f->wire);
        put(root, path, schema_of(f, f->kind == FIELD_STEMS));
    }
    for (size_t i = 0; i < ARRAY_LEN(enums); i++) put(root, enums[i], stem_names());
}

// Indented by one blank a level, as the document is.
static void print_document(const json *root) {
    buf out;
    buf_init(&out, DOCUMENT_MAX);
    must(json_write(&out, root, JSON_PRETTY, NULL) == OK);
    bool begins = true;
    int blanks = 0;
    for (const char *p = buf_str(&out); *p; p++) {
        begins = begins ? *p == ' ' : *p == '\n';
        if (*p == ' ' && begins && blanks++ % 2) continue;
        if (!begins || *p == '\n') blanks = 0;
        putchar(*p);
    }
    putchar('\n');
    buf_deinit(&out);
}

static void openapi(void) {
    static char text[DOCUMENT_MAX];
    size_t n = fread(text, 1, sizeof text, stdin);
    json *root;
    err e;
    if (json_parse(&root, (bytes){(const uint8_t *)text, n}, sizeof text, &e)) die(e.text);
    put_fields(root);
    print_document(root);
    json_free(root);
}

// --- documents for people

// "20 to 400", "at most 256 characters", "1 to 7 names"
static void add_values(buf *out, const field *f) {
    if (f->kind == FIELD_SEED)
        buf_add_str(out, "an integer of 64 bits");
    else if (f->kind == FIELD_PATH)
        buf_add_str(out, "a file");
    else if (field_is_text(f))
        buf_printf(out, "at most %g characters", f->hi);
    else if (f->kind == FIELD_FLAG)
        buf_add_str(out, "true or false");
    else if (f->kind == FIELD_STEMS)
        buf_printf(out, "%g to %g names", f->lo, f->hi);
    else if (f->kind == FIELD_CHORDS)
        buf_printf(out, "at most %g names", f->hi);
    else if (f->kind == FIELD_SECTIONS)
        buf_printf(out, "at most %g objects of `bars`, `chords`, `stems` and `density`", f->hi);
    else
        buf_printf(out, "%s%g to %g", f->kind == FIELD_INTEGER ? "an integer, " : "", f->lo, f->hi);
}

static void markdown(void) {
    printf("| member | `generate` | values | what it is (what happens without it) |\n| --- | --- | "
           "--- | --- |\n");
    for (size_t i = 0; i < field_count; i++) {
        const field *f = &field_rows[i];
        buf text;
        buf_init(&text, 800);
        add_values(&text, f);
        buf_add_str(&text, " | ");
        field_add_help(&text, f);
        if (f->wire)
            printf("| `%s` ", f->wire);
        else
            printf("| - ");
        printf("| `--%s` | %s |\n", f->flag, buf_str(&text));
        buf_deinit(&text);
    }
}

int main(int argc, char **argv) {
    const char *what = argc == 2 ? argv[1] : "";
    if (!strcmp(what, "openapi"))
        openapi();
    else if (!strcmp(what, "markdown"))
        markdown();
    else
        die("expected openapi or markdown");
    return fflush(stdout) ? 1 : 0;
}
