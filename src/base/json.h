// json.h - JSON in and out over jansson: bounded, with typed getters that name the path of a wrong
// field.
//
// Text from outside is limited in size and depth before it is parsed; duplicate keys and NUL in
// strings are refused. A getter's path is dotted ("decoder.hidden_size") and walks objects; its
// error says the path, what was expected and what was found.
#pragma once
#include "base/buf.h"
#include "base/err.h"

typedef struct json_t json; // jansson's own, opaque outside json.c

#define JSON_DEPTH_MAX 64

// Parses the whole text; *out is the caller's (json_free). ERR_FORMAT names line and column.
status json_parse(json **out, bytes text, size_t size_max, err *e);
// The same for a text of which parts will be ignored: what no tree can hold does not fail the
// whole. A byte order mark is skipped. Of a member that is there twice the last counts;
// json_is_twice tells. A number out of range becomes 1e308 or -1e308. "\\u0000" and half a
// surrogate pair become JSON_NO_TEXT, which is in no real text.
#define JSON_NO_TEXT "\xEF\xB7\x90" // U+FDD0, no character
status json_parse_any(json **out, bytes text, size_t size_max, err *e);
// Reads and parses a file.
status json_parse_file(json **out, const char *path, size_t size_max, err *e);
void json_free(json *j); // NULL is fine

// Borrowed members: valid while the root lives. NULL when absent (or when obj is no object).
const json *json_find(const json *obj, const char *path);
// One member by its whole key, which may contain dots. NULL likewise.
const json *json_member_of(const json *obj, const char *key);
bool json_is_object(const json *j); // all of these: false for NULL
bool json_is_array(const json *j);
bool json_is_bool(const json *j);
bool json_is_true(const json *j);
bool json_is_str(const json *j);
bool json_is_num(const json *j);
bool json_is_int(const json *j);
bool json_is_null(const json *j);
const char *json_kind(const json *j); // "object", "string", ..., "nothing" for NULL

size_t json_len(const json *array);               // 0 when no array or object
const json *json_at(const json *array, size_t i); // NULL past the end
const char *json_str_value(const json *j);        // NULL when no string
size_t json_str_len(const json *j);               // bytes
double json_num_value(const json *j);             // 0 when no number
int64_t json_int_value(const json *j);            // 0 when no integer

// Calls f for each member of obj in file order; stops at the first status that is not OK.
typedef status (*json_member)(void *arg, const char *key, const json *value, err *e);
status json_each(const json *obj, json_member f, void *arg, err *e);

// Required members: absent, of another type, or out of range gives ERR_FORMAT and the path.
status json_get_int(const json *obj, const char *path, int64_t lo, int64_t hi, int64_t *out,
                    err *e);
status json_get_num(const json *obj, const char *path, double lo, double hi, double *out, err *e);
status json_get_str(const json *obj, const char *path, const char **out, err *e); // borrowed
status json_get_bool(const json *obj, const char *path, bool *out, err *e);
status json_get_array(const json *obj, const char *path, const json **out, err *e);
status json_get_object(const json *obj, const char *path, const json **out, err *e);

// Optional members: absent or null leaves *out as the caller set it.
status json_opt_int(const json *obj, const char *path, int64_t lo, int64_t hi, int64_t *out,
                    err *e);
status json_opt_num(const json *obj, const char *path, double lo, double hi, double *out, err *e);
status json_opt_str(const json *obj, const char *path, const char **out, err *e);
status json_opt_bool(const json *obj, const char *path, bool *out, err *e);

// The value of a top-level member of an object, byte for byte as it stands in text, which must be
// JSON that json_parse or json_parse_any took. Empty when absent, or when its key is written with
// escapes.
bytes json_member_text(bytes text, const char *name);
// The text of item `which` of the array that text is, from 0; text must be valid JSON. Empty: there
// are not so many.
bytes json_item_text(bytes text, size_t which);
// Whether there is a second member of that name.
bool json_is_twice(bytes text, const char *name);

// Writing. A failed allocation gives NULL or false; json_write then reports ERR_OOM for a NULL
// tree. json_set and json_add take the child, also on failure, and refuse a NULL child.
json *json_new_object(void);
json *json_new_array(void);
json *json_new_str(const char *s); // NULL when s is not UTF-8
json *json_new_int(int64_t v);
json *json_new_num(double v); // NULL for infinities and NaN
json *json_new_bool(bool v);
json *json_new_null(void);
json *json_copy_of(const json *j); // deep
bool json_set(json *obj, const char *key, json *child);
bool json_set_str(json *obj, const char *key, const char *s);
bool json_set_int(json *obj, const char *key, int64_t v);
bool json_set_num(json *obj, const char *key, double v);
bool json_set_bool(json *obj, const char *key, bool v);
bool json_add(json *array, json *child);

typedef enum {
    JSON_TIGHT,
    JSON_PRETTY,
    JSON_CANONICAL
} json_style; // canonical: tight, keys sorted
status json_write(buf *to, const json *j, json_style style, err *e); // appended to to
// To standard output, with a line end: what a command answers in JSON.
status json_print(const json *j, json_style style, err *e);
