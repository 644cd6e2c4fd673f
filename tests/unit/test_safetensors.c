// test_safetensors.c - what opens, and every way a file can lie.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "format/safetensors.h"

// A file image: 8 bytes of length, the header, data_n bytes of data that count up.
static bytes image_make(uint8_t *room, size_t cap, const char *header, size_t data_n) {
    size_t n = strlen(header);
    cr_assert_leq(8 + n + data_n, cap);
    for (int i = 0; i < 8; i++) room[i] = (uint8_t)((uint64_t)n >> 8 * i);
    memcpy(room + 8, header, n);
    for (size_t i = 0; i < data_n; i++) room[8 + n + i] = (uint8_t)i;
    return (bytes){room, 8 + n + data_n};
}

static status open_text(st_file **f, uint8_t *room, size_t cap, const char *header, size_t data_n,
                        err *e) {
    return st_open_bytes(f, image_make(room, cap, header, data_n), e);
}

static const char GOOD[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                           "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
                           "\"a.x\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                           "\"none\":{\"dtype\":\"F16\",\"shape\":[0,7],\"data_offsets\":[28,28]},"
                           "\"s\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[28,36]}}  ";

Test(safetensors, finds_each_tensor_with_its_type_shape_and_data) {
    uint8_t room[1024];
    st_file *f;
    err e = {0};
    cr_assert_eq(open_text(&f, room, sizeof room, GOOD, 36, &e), OK, "%s", e.text);
    cr_assert_eq(st_count(f), 4);
    cr_assert_str_eq(st_name_at(f, 0), "a.x"); // ordered by name
    const tensor *t = st_find(f, "b");
    cr_assert(t && t->type == DT_F32 && t->dims == 2 && t->shape[0] == 2 && t->shape[1] == 3);
    cr_assert_eq(((const uint8_t *)t->data)[0], 4);
    cr_assert_eq(tensor_count(st_find(f, "none")), 0);
    cr_assert(st_find(f, "s")->type == DT_OTHER && st_find(f, "s")->dims == 0);
    cr_assert_null(st_find(f, "a"));
    cr_assert_null(st_find(f, "__metadata__"));
    cr_assert_str_eq(st_metadata(f, "format"), "pt");
    cr_assert_null(st_metadata(f, "license"));
    st_close(f);
}

Test(safetensors, opens_a_file_without_tensors) {
    uint8_t room[64];
    st_file *f;
    cr_assert_eq(open_text(&f, room, sizeof room, "{}", 0, NULL), OK);
    cr_assert(st_count(f) == 0 && st_find(f, "x") == NULL);
    st_close(f);
}

#define T(shape, offsets)                                                                          \
    "{\"x\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

Test(safetensors, refuses_each_lie_with_one_line_that_says_it) {
    static const struct {
        const char *header;
        size_t data;
        const char *why;
    } cases[] = {
        {"", 0, "header: JSON line 1 column 0: unexpected token near end of file"},
        {"[]", 0, "header: expected an object, found array"},
        {"{\"x\":1}", 0, "tensor x: expected an object, found integer"},
        {"{\"__metadata__\":[]}", 0, "__metadata__: expected an object, found array"},
        {"{\"x\":{}}", 0, "tensor x: dtype: expected a string, found nothing"},
        {"{\"x\":{\"dtype\":\"F33\"}}", 0, "tensor x: unknown dtype 'F33'"},
        {"{\"x\":{\"dtype\":\"F32\"}}", 0, "tensor x: shape: expected an array, found nothing"},
        {T("[1]", "7"), 4, "tensor x: data_offsets: expected an array, found integer"},
        {T("[1]", "[0,4,8]"), 4,
         "tensor x: data_offsets: expected [begin, end] with 0 <= begin <= end"},
        {T("[1]", "[4,0]"), 4,
         "tensor x: data_offsets: expected [begin, end] with 0 <= begin <= end"},
        {T("[1]", "[-4,0]"), 4,
         "tensor x: data_offsets: expected [begin, end] with 0 <= begin <= end"},
        {T("[1]", "[0,\"4\"]"), 4,
         "tensor x: data_offsets: expected [begin, end] with 0 <= begin <= end"},
        {T("[1]", "[0,4]"), 3, "tensor x: ends at byte 4, the file has 3 bytes of data"},
        {T("[1]", "[9223372036854775803,9223372036854775807]"), 4,
         "tensor x: ends at byte 9223372036854775807, the file has 4 bytes of data"},
        {T("[1]", "[0,4]"), 5, "1 bytes at the end belong to no tensor"},
        {T("[1]", "[4,8]"), 8, "4 bytes before tensor x belong to no tensor"},
        {T("[2]", "[0,4]"), 4, "tensor x: [2] of 4-byte values is 8 bytes, data_offsets hold 4"},
        {T("[-1]", "[0,4]"), 4, "tensor x: shape[0]: expected an integer from 0 up"},
        {T("[1.5]", "[0,4]"), 4, "tensor x: shape[0]: expected an integer from 0 up"},
        {T("[4294967296,4294967296]", "[0,0]"), 0,
         "tensor x: its shape is more bytes than memory can address"},
        {T("[4294967296,4294967296,0]", "[0,0]"), 0,
         "tensor x: its shape is more bytes than memory can address"},
        {T("[4611686018427387904]", "[0,0]"), 0,
         "tensor x: its shape is more bytes than memory can address"},
        {T("[1,1,1,1,1,1,1]", "[0,4]"), 4, "tensor x: 7 dimensions, expected at most 6"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[2,5]}}",
         5, "tensors a and b overlap at byte 2 of the data"},
    };
    uint8_t room[1024];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        st_file *f = (st_file *)room;
        err e = {0};
        status rc = open_text(&f, room, sizeof room, cases[i].header, cases[i].data, &e);
        cr_assert_eq(rc, ERR_FORMAT, "%s gave %d", cases[i].header, rc);
        cr_assert_null(f);
        cr_assert_str_eq(e.text, cases[i].why);
    }
}

Test(safetensors, refuses_a_name_given_twice) {
    uint8_t room[256];
    st_file *f;
    err e;
    cr_assert_eq(open_text(&f, room, sizeof room,
                           "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
                           "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
                           0, &e),
                 ERR_FORMAT);
    cr_assert_not_null(strstr(e.text, "duplicate"));
}

Test(safetensors, refuses_a_header_longer_than_the_file) {
    st_file *f;
    err e;
    const uint8_t claims[] = "\x10\0\0\0\0\0\0\0{}";
    cr_assert_eq(st_open_bytes(&f, (bytes){claims, 10}, &e), ERR_FORMAT);
    cr_assert_str_eq(e.text, "header claims 16 bytes, file has 2");
    const uint8_t huge[] = "\xff\xff\xff\xff\xff\xff\xff\xff{}";
    cr_assert_eq(st_open_bytes(&f, (bytes){huge, 10}, &e), ERR_FORMAT);
    cr_assert_str_eq(e.text, "header claims 18446744073709551615 bytes, file has 2");
}

Test(safetensors, refuses_every_truncation_of_a_good_file) {
    uint8_t room[1024];
    bytes whole = image_make(room, sizeof room, GOOD, 36);
    for (size_t n = 0; n < whole.n; n++) {
        uint8_t *cut = mem_alloc(n); // its own block, so that ASan sees a read past the end
        memcpy(cut, room, n);
        st_file *f;
        cr_assert_eq(st_open_bytes(&f, (bytes){cut, n}, NULL), ERR_FORMAT, "cut at %zu", n);
        mem_free(cut);
    }
}

Test(safetensors, refuses_a_header_over_the_limit) {
    size_t n = ST_HEADER_MAX + 1;
    uint8_t *room = mem_alloc(8 + n);
    memset(room, ' ', 8 + n);
    for (int i = 0; i < 8; i++) room[i] = (uint8_t)((uint64_t)n >> 8 * i);
    room[8] = '{', room[9] = '}';
    st_file *f;
    cr_assert_eq(st_open_bytes(&f, (bytes){room, 8 + n}, NULL), ERR_FORMAT);
    mem_free(room);
}

Test(safetensors, open_survives_each_failed_allocation) {
    uint8_t room[1024];
    bytes whole = image_make(room, sizeof room, GOOD, 36);
    int n = 0;
    for (;; n++) {
        st_file *f;
        mem_fail_after(n);
        status rc = st_open_bytes(&f, whole, NULL);
        mem_fail_after(-1);
        if (rc == OK) {
            st_close(f);
            break;
        }
        cr_assert(rc == ERR_OOM && f == NULL, "allocation %d gave %d", n, rc);
    }
    cr_assert_gt(n, 10);
}

// A temporary folder with files a test writes into it.
static char dir[64];
static char *in_dir(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void dir_make(void) {
    snprintf(dir, sizeof dir, "/tmp/sf-st-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static void dir_remove(void) {
    static const char *const names[] = {"model.safetensors.index.json", "one.safetensors",
                                        "two.safetensors", "model.safetensors", "deep"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) unlink(in_dir(names[i]));
    cr_assert_eq(rmdir(dir), 0, "a temporary file was left behind");
}

static st_entry entry_of(const char *name, const float *v, int64_t rows) {
    return (st_entry){name, {.type = DT_F32, .dims = 2, .shape = {rows, 2}, .data = v}};
}

static const float numbers[] = {1, 2, 3, 4, 5, 6};

Test(safetensors, writes_what_it_reads, .init = dir_make, .fini = dir_remove) {
    uint16_t half[] = {0x3c00};
    st_entry list[] = {entry_of("w", numbers, 3),
                       {"empty", {.type = DT_U8, .dims = 1, .data = NULL}},
                       {"h", {.type = DT_F16, .dims = 0, .data = half}}};
    json *meta = json_new_object();
    cr_assert(json_set_str(meta, "format", "pt"));
    err e = {0};
    cr_assert_eq(st_write(in_dir("one.safetensors"), list, 3, meta, &e), OK, "%s", e.text);
    json_free(meta);
    st_file *f;
    cr_assert_eq(st_open(&f, in_dir("one.safetensors"), &e), OK, "%s", e.text);
    const tensor *t = st_find(f, "w");
    cr_assert(t && t->shape[0] == 3 && memcmp(t->data, numbers, sizeof numbers) == 0);
    cr_assert_eq((uintptr_t)t->data % 8, 0); // the header is padded
    cr_assert_eq(st_count(f), 3);
    cr_assert_str_eq(st_metadata(f, "format"), "pt");
    st_close(f);
    list[1].name = "w";
    cr_assert_eq(st_write(in_dir("two.safetensors"), list, 3, NULL, &e), ERR_ARG);
    cr_assert_not(os_exists(in_dir("two.safetensors")));
}

Test(safetensors, write_survives_each_failed_allocation, .init = dir_make, .fini = dir_remove) {
    st_entry x = entry_of("w", numbers, 3);
    for (int n = 0;; n++) {
        mem_fail_after(n);
        status rc = st_write(in_dir("one.safetensors"), &x, 1, NULL, NULL);
        mem_fail_after(-1);
        if (rc == OK) break;
        cr_assert_eq(rc, ERR_OOM);
        cr_assert_not(os_exists(in_dir("one.safetensors")));
    }
}

Test(safetensors, refuses_no_file_a_folder_and_an_empty_file, .init = dir_make,
     .fini = dir_remove) {
    st_file *f;
    err e;
    cr_assert_eq(st_open(&f, in_dir("one.safetensors"), &e), ERR_NOT_FOUND);
    cr_assert_eq(st_open(&f, dir, &e), ERR_FORMAT);
    cr_assert_eq(st_open_model(&f, dir, &e), ERR_NOT_FOUND);
    cr_assert_eq(os_write_atomic(in_dir("model.safetensors"), (bytes){0}, &e), OK);
    cr_assert_eq(st_open_model(&f, dir, &e), ERR_FORMAT);
    cr_assert_not_null(strstr(e.text, "model.safetensors is empty"));
}

static void shards_write(const char *index) {
    st_entry a[] = {entry_of("a.w", numbers, 1), entry_of("b.w", numbers + 2, 1)};
    st_entry c = entry_of("c.w", numbers + 4, 1);
    cr_assert_eq(st_write(in_dir("one.safetensors"), a, 2, NULL, NULL), OK);
    cr_assert_eq(st_write(in_dir("two.safetensors"), &c, 1, NULL, NULL), OK);
    cr_assert_eq(os_write_atomic(in_dir("model.safetensors.index.json"), bytes_of(index), NULL),
                 OK);
}

#define MAP(m) "{\"metadata\":{\"total_size\":24},\"weight_map\":{" m "}}"
#define A1 "\"a.w\":\"one.safetensors\","
#define B1 "\"b.w\":\"one.safetensors\","
#define C2 "\"c.w\":\"two.safetensors\""

Test(safetensors, opens_shards_as_one_set, .init = dir_make, .fini = dir_remove) {
    shards_write(MAP(A1 B1 C2));
    st_file *f;
    err e = {0};
    cr_assert_eq(st_open_model(&f, dir, &e), OK, "%s", e.text);
    cr_assert_eq(st_count(f), 3);
    float v[2];
    tensor_read_f32(v, st_find(f, "c.w"), 0, 2);
    cr_assert(v[0] == 5 && v[1] == 6);
    st_close(f);
    cr_assert_eq(os_write_atomic(in_dir("model.safetensors"), bytes_of("x"), NULL), OK);
    cr_assert_eq(st_open_model(&f, dir, &e), ERR_FORMAT); // one file comes before the index
}

Test(safetensors, refuses_shards_that_disagree_with_the_index, .init = dir_make,
     .fini = dir_remove) {
    static const struct {
        const char *index, *why;
        status rc;
    } cases[] = {
        {MAP(A1 C2), "one.safetensors holds tensor b.w, which the index does not name", ERR_FORMAT},
        {MAP(A1 B1 "\"d.w\":\"one.safetensors\"," C2),
         "index puts tensor d.w in one.safetensors, which does not hold it", ERR_FORMAT},
        {MAP(A1 "\"b.w\":\"two.safetensors\"," C2),
         "index puts tensor b.w in two.safetensors, found in one.safetensors", ERR_FORMAT},
        {MAP(A1 B1 "\"c.w\":\"deep/two.safetensors\""),
         "weight_map.c.w: expected a file name, found deep/two.safetensors", ERR_FORMAT},
        {MAP(A1 B1 "\"c.w\":\"..\""), "weight_map.c.w: expected a file name, found ..", ERR_FORMAT},
        {MAP(A1 B1 "\"c.w\":3"), "weight_map.c.w: expected a file name, found integer", ERR_FORMAT},
        {MAP(A1 B1 "\"c.w\":\"three.safetensors\""), "No such file or directory", ERR_NOT_FOUND},
        {MAP(""), "weight_map names no tensor", ERR_FORMAT},
        {"{}", "weight_map: expected an object, found nothing", ERR_FORMAT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        shards_write(cases[i].index);
        st_file *f = (st_file *)dir;
        err e = {0};
        cr_assert_eq(st_open_model(&f, dir, &e), cases[i].rc, "%s", e.text);
        cr_assert_null(f);
        cr_assert_not_null(strstr(e.text, cases[i].why), "%s", e.text);
    }
}

Test(safetensors, refuses_a_tensor_in_two_shards, .init = dir_make, .fini = dir_remove) {
    shards_write(MAP(A1 B1 C2));
    st_entry again[] = {entry_of("b.w", numbers, 1), entry_of("c.w", numbers, 1)};
    cr_assert_eq(st_write(in_dir("two.safetensors"), again, 2, NULL, NULL), OK);
    st_file *f;
    err e;
    cr_assert_eq(st_open_model(&f, dir, &e), ERR_FORMAT);
    cr_assert_not_null(strstr(e.text, "tensor b.w is in both"), "%s", e.text);
}

Test(safetensors, opening_shards_survives_each_failed_allocation, .init = dir_make,
     .fini = dir_remove) {
    shards_write(MAP(A1 B1 C2));
    for (int n = 0;; n++) {
        st_file *f;
        mem_fail_after(n);
        status rc = st_open_model(&f, dir, NULL);
        mem_fail_after(-1);
        if (rc == OK) {
            st_close(f);
            break;
        }
        cr_assert(rc == ERR_OOM && f == NULL, "allocation %d gave %d", n, rc);
    }
}
