// test_gguf.c - GGUF there and back, a file by another writer, and every way a file can lie.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "format/gguf.h"

// Written by the gguf package 0.19.0 from PyPI: see the values in the test.
#define PYTHON_FILE "tests/fuzz/corpus/gguf/python"

static status use_word(void *arg, size_t i, bytes s, err *e) {
    static const char *const want[] = {"x", "", "yz"};
    (void)e;
    cr_assert(s.n == strlen(want[i]) && memcmp(s.p, want[i], s.n) == 0);
    ++*(int *)arg;
    return OK;
}

Test(gguf, reads_what_the_reference_package_wrote) {
    gguf_file *f;
    err e = {0};
    cr_assert_eq(gguf_open(&f, PYTHON_FILE, &e), OK, "%s", e.text);
    bytes s;
    cr_assert_eq(gguf_get_str(f, "general.architecture", &s, &e), OK);
    cr_assert(s.n == 14 && memcmp(s.p, "stemforge-test", 14) == 0);
    static const struct {
        const char *key;
        int64_t value;
    } ints[] = {{"a.u8", 200},
                {"a.i8", -100},
                {"a.u16", 60000},
                {"a.i16", -30000},
                {"a.u32", 4000000000},
                {"a.i32", -5},
                {"a.i64", -(INT64_C(1) << 40)}};
    for (size_t i = 0; i < ARRAY_LEN(ints); i++) {
        int64_t v = 0;
        cr_assert_eq(gguf_get_int(f, ints[i].key, INT64_MIN, INT64_MAX, &v, &e), OK, "%s", e.text);
        cr_assert_eq(v, ints[i].value, "%s", ints[i].key);
    }
    int64_t v;
    cr_assert_eq(gguf_get_int(f, "a.u64", INT64_MIN, INT64_MAX, &v, &e), ERR_FORMAT); // 2^63 + 1
    cr_assert_eq(gguf_get_int(f, "a.u8", 0, 100, &v, &e), ERR_FORMAT);
    cr_assert_str_eq(e.text, "a.u8: expected 0 to 100, found 200");
    cr_assert_eq(gguf_get_int(f, "a.text", 0, 1, &v, &e), ERR_FORMAT);
    cr_assert_str_eq(e.text, "a.text: expected an integer, found string");
    cr_assert_eq(gguf_get_int(f, "a.none", 0, 1, &v, &e), ERR_NOT_FOUND);
    double d;
    bool yes = false;
    cr_assert(gguf_get_num(f, "a.f32", &d, &e) == OK && d == 0.5);
    cr_assert(gguf_get_num(f, "a.f64", &d, &e) == OK && d == 0.1);
    cr_assert(gguf_get_num(f, "a.i8", &d, &e) == OK && d == -100);
    cr_assert(gguf_get_bool(f, "a.yes", &yes, &e) == OK && yes);
    cr_assert_eq(gguf_get_blob(f, "a.blob", &s, &e), OK, "%s", e.text);
    cr_assert(s.n == 3 && s.p[0] == 0 && s.p[2] == 255);
    cr_assert_eq(gguf_get_blob(f, "a.words", &s, &e), ERR_FORMAT);
    cr_assert_str_eq(e.text, "a.words: expected an array of bytes, found string array");
    int words = 0;
    cr_assert_eq(gguf_each_str(f, "a.words", use_word, &words, &e), OK);
    cr_assert_eq(words, 3);

    const gguf_tensor *t = gguf_find(f, "one");
    cr_assert(t && t->type == GGUF_F32 && t->dims == 2 && t->shape[0] == 2 && t->shape[1] == 3);
    tensor view;
    cr_assert(gguf_as_tensor(&view, t) && view.type == DT_F32 && tensor_count(&view) == 6);
    float values[6];
    tensor_read_f32(values, &view, 0, 6);
    for (int i = 0; i < 6; i++) cr_assert_eq(values[i], (float)i);
    cr_assert_eq((uintptr_t)t->data % GGUF_ALIGN, 0);
    gguf_close(f);
}

// Row r, value i of numpy.linspace(-1, 1, 128).reshape(2, 64).
static double linspace(int r, int i) {
    return -1 + 2.0 * (64 * r + i) / 127;
}

static double half_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return (double)f16_to_f32(h);
}

Test(gguf, blocks_are_laid_out_as_the_header_says) {
    gguf_file *f;
    cr_assert_eq(gguf_open(&f, PYTHON_FILE, NULL), OK);
    const uint8_t *q8 = gguf_find(f, "x.q8_0")->data, *q4 = gguf_find(f, "x.q4_0")->data;
    cr_assert_eq(gguf_find(f, "x.q8_0")->size, 4 * 34);
    cr_assert_eq(gguf_find(f, "x.q4_0")->size, 4 * 18);
    for (int k = 0; k < 128; k++) {
        const uint8_t *a = q8 + k / 32 * 34, *b = q4 + k / 32 * 18;
        int i = k % 32, nibble = i < 16 ? b[2 + i] & 15 : b[2 + i - 16] >> 4;
        double want = linspace(k / 64, k % 64), scale8 = half_at(a), scale4 = half_at(b);
        cr_assert_leq(fabs((int8_t)a[2 + i] * scale8 - want), fabs(scale8) * 0.51);
        cr_assert_leq(fabs((nibble - 8) * scale4 - want), fabs(scale4) * 1.01);
    }
    tensor view;
    cr_assert_not(gguf_as_tensor(&view, gguf_find(f, "x.q8_0")));
    cr_assert(gguf_as_tensor(&view, gguf_find(f, "x.bf16")) && view.type == DT_BF16);
    gguf_close(f);
}

static char dir[64], path[128];
static void dir_make(void) {
    snprintf(dir, sizeof dir, "/tmp/sf-gguf-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/m.gguf", dir);
}
static void dir_remove(void) {
    unlink(path);
    cr_assert_eq(rmdir(dir), 0, "a temporary file was left behind");
}

static const float numbers[] = {1, 2, 3, 4, 5, 6};
static uint8_t blocks[2 * 34];

static status give_blocks(void *arg, size_t i, const gguf_tensor *t, const void **data, err *e) {
    (void)e;
    cr_assert(i == 1 && strcmp(t->name, "blocks") == 0 && t->size == sizeof blocks);
    ++*(int *)arg;
    *data = blocks;
    return OK;
}

static status write_all(err *e) {
    gguf_writer *w;
    int asked = 0;
    const bytes words[] = {bytes_of("x"), bytes_of(""), bytes_of("yz")};
    const gguf_tensor t[] = {
        {.name = "w", .type = GGUF_F32, .dims = 2, .shape = {3, 2}, .data = numbers},
        {.name = "blocks", .type = GGUF_Q8_0, .dims = 1, .shape = {64}},
        {.name = "empty", .type = GGUF_BF16, .dims = 2, .shape = {0, 7}},
    };
    status rc = gguf_writer_open(&w, e);
    if (!rc) rc = gguf_put_str(w, "general.architecture", bytes_of("stemforge"), e);
    if (!rc) rc = gguf_put_u32(w, "a.u32", 7, e);
    if (!rc) rc = gguf_put_i64(w, "a.i64", -7, e);
    if (!rc) rc = gguf_put_f32(w, "a.f32", 0.25f, e);
    if (!rc) rc = gguf_put_bool(w, "a.no", false, e);
    if (!rc) rc = gguf_put_blob(w, "a.blob", bytes_of("{\"json\":1}"), e);
    if (!rc) rc = gguf_put_strs(w, "a.words", words, 3, e);
    for (size_t i = 0; !rc && i < ARRAY_LEN(t); i++) rc = gguf_add(w, &t[i], e);
    if (!rc) rc = gguf_write(w, path, give_blocks, &asked, e);
    cr_assert(rc || asked == 1);
    gguf_writer_close(w);
    return rc;
}

Test(gguf, writes_what_it_reads, .init = dir_make, .fini = dir_remove) {
    err e = {0};
    for (size_t i = 0; i < sizeof blocks; i++) blocks[i] = (uint8_t)(i * 7);
    cr_assert_eq(write_all(&e), OK, "%s", e.text);
    cr_assert(gguf_is(path));
    gguf_file *f;
    cr_assert_eq(gguf_open(&f, path, &e), OK, "%s", e.text);
    cr_assert_eq(gguf_count(f), 3);
    cr_assert_eq(gguf_key_count(f), 8); // with general.alignment
    int64_t v = 0;
    double d = 0;
    bool no = true;
    bytes s;
    int words = 0;
    cr_assert(gguf_get_int(f, "a.u32", 0, 9, &v, &e) == OK && v == 7);
    cr_assert(gguf_get_int(f, "a.i64", -9, 9, &v, &e) == OK && v == -7);
    cr_assert(gguf_get_num(f, "a.f32", &d, &e) == OK && d == 0.25);
    cr_assert(gguf_get_bool(f, "a.no", &no, &e) == OK && !no);
    cr_assert(gguf_get_blob(f, "a.blob", &s, &e) == OK && s.n == 10 && s.p[0] == '{');
    cr_assert(gguf_each_str(f, "a.words", use_word, &words, &e) == OK && words == 3);
    const gguf_tensor *t = gguf_find(f, "w");
    cr_assert(t && t->dims == 2 && t->shape[0] == 3 && t->shape[1] == 2);
    cr_assert_eq(memcmp(t->data, numbers, sizeof numbers), 0);
    cr_assert_eq(memcmp(gguf_find(f, "blocks")->data, blocks, sizeof blocks), 0);
    cr_assert_eq(gguf_find(f, "empty")->size, 0);
    for (size_t i = 0; i < 3; i++) cr_assert_eq((uintptr_t)gguf_at(f, i)->data % GGUF_ALIGN_OUT, 0);
    gguf_close(f);
}

Test(gguf, writer_refuses_names_and_shapes_that_others_could_not_read) {
    gguf_writer *w;
    err e;
    char name[GGUF_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[GGUF_NAME_MAX + 1] = 0;
    gguf_tensor t = {.name = name, .type = GGUF_F32, .dims = 1, .shape = {1}, .data = numbers};
    cr_assert_eq(gguf_writer_open(&w, &e), OK);
    cr_assert_eq(gguf_add(w, &t, &e), ERR_ARG);
    name[GGUF_NAME_MAX] = 0;
    cr_assert_eq(gguf_add(w, &t, &e), OK);
    cr_assert_eq(gguf_add(w, &t, &e), ERR_ARG); // twice
    t = (gguf_tensor){.name = "q", .type = GGUF_Q8_0, .dims = 2, .shape = {2, 33}};
    cr_assert_eq(gguf_add(w, &t, &e), ERR_ARG);
    cr_assert_str_eq(e.text, "tensor q: [2, 33] of 2 dimensions cannot be stored as this type");
    t = (gguf_tensor){.name = "q", .type = GGUF_F32, .dims = 2, .shape = {INT64_MAX, 33}};
    cr_assert_eq(gguf_add(w, &t, &e), ERR_ARG);
    t = (gguf_tensor){.name = "q", .type = GGUF_F32, .dims = 0};
    cr_assert_eq(gguf_add(w, &t, &e), ERR_ARG);
    cr_assert_eq(gguf_put_u32(w, "A b", 1, &e), ERR_ARG);
    cr_assert_eq(gguf_put_u32(w, "a.b", 1, &e), OK);
    cr_assert_eq(gguf_put_bool(w, "a.b", true, &e), ERR_ARG);
    gguf_writer_close(w);
}

Test(gguf, refuses_every_truncation_of_a_good_file) {
    os_file_map m;
    cr_assert_eq(os_map_open(&m, PYTHON_FILE, NULL), OK);
    size_t last = m.data.n - 24; // the last tensor is 8 bytes, padded to 32
    for (size_t n = 0; n < m.data.n; n++) {
        uint8_t *cut = mem_alloc(n); // its own block, so that ASan sees a read past the end
        memcpy(cut, m.data.p, n);
        gguf_file *f;
        status rc = gguf_open_bytes(&f, (bytes){cut, n}, NULL);
        cr_assert_eq(rc, n < last ? ERR_FORMAT : OK, "cut at %zu gave %d", n, rc);
        gguf_close(f);
        mem_free(cut);
    }
    os_map_close(&m);
}

// ---- files that lie, made byte by byte

static void le(buf *b, uint64_t v, int n) {
    for (int i = 0; i < n; i++) buf_add_char(b, (char)(v >> 8 * i));
}
static void str(buf *b, const char *s) {
    le(b, strlen(s), 8);
    buf_add_str(b, s);
}
static void head(buf *b, uint64_t tensors, uint64_t keys) {
    buf_init(b, 1 << 16);
    buf_add_str(b, "GGUF");
    le(b, 3, 4);
    le(b, tensors, 8);
    le(b, keys, 8);
}
static void info(buf *b, const char *name, uint64_t rows, uint32_t type, uint64_t offset) {
    str(b, name);
    le(b, 1, 4);
    le(b, rows, 8);
    le(b, type, 4);
    le(b, offset, 8);
}
static void data(buf *b, size_t n) {
    while (b->n % GGUF_ALIGN) le(b, 0, 1);
    while (n--) le(b, 1, 1);
}

static void refuse(buf *b, const char *why) {
    gguf_file *f = (gguf_file *)b;
    err e = {0};
    status rc = gguf_open_bytes(&f, buf_bytes(b), &e);
    cr_assert_eq(rc, ERR_FORMAT, "opened, expected: %s", why);
    cr_assert_null(f);
    cr_assert_str_eq(e.text, why);
    buf_deinit(b);
}

Test(gguf, refuses_headers_that_lie) {
    buf b;
    buf_init(&b, 100);
    buf_add_str(&b, "GGML");
    refuse(&b, "not a GGUF file");
    buf_init(&b, 100);
    buf_add_str(&b, "GGUF");
    le(&b, 0x03000000, 4); // big-endian
    refuse(&b, "GGUF version 50331648, expected 3 (little-endian)");
    head(&b, 0, UINT64_MAX);
    refuse(&b, "18446744073709551615 keys in a file of 24 bytes, expected at most 65536");
    head(&b, UINT64_MAX, 0);
    refuse(&b, "18446744073709551615 tensors in a file of 24 bytes, expected at most 1048576");
    head(&b, 0, 1);
    le(&b, UINT64_MAX, 8);
    le(&b, 0, 8);
    refuse(&b, "key 0 '': expected a key of 1 to 65535 bytes");
    head(&b, 0, 1);
    str(&b, "k");
    le(&b, 13, 4);
    le(&b, 0, 8);
    refuse(&b, "key 0 'k': value of unknown type 13");
    head(&b, 0, 2);
    for (int i = 0; i < 2; i++) str(&b, "k"), le(&b, 7, 4), le(&b, 1, 1);
    refuse(&b, "key 'k' is given twice");
    head(&b, 0, 1);
    str(&b, "general.alignment"), le(&b, 4, 4), le(&b, 48, 4);
    refuse(&b, "alignment of 48, expected a power of two");
}

Test(gguf, refuses_arrays_that_lie) {
    buf b;
    head(&b, 0, 1);
    str(&b, "k"), le(&b, 9, 4), le(&b, 12, 4), le(&b, UINT64_MAX / 8 + 1, 8), le(&b, 0, 8);
    refuse(&b, "key 0 'k': its value goes past the end of the file (57 bytes)");
    head(&b, 0, 1);
    str(&b, "k"), le(&b, 9, 4), le(&b, 8, 4), le(&b, UINT64_MAX, 8), le(&b, 0, 8);
    refuse(&b, "key 0 'k': its value goes past the end of the file (57 bytes)");
    head(&b, 0, 1);
    str(&b, "k"), le(&b, 9, 4); // arrays in arrays, deeper than anyone needs
    for (int i = 0; i < 10000; i++) le(&b, 9, 4), le(&b, 1, 8);
    gguf_file *f;
    cr_assert_eq(gguf_open_bytes(&f, buf_bytes(&b), NULL), ERR_FORMAT);
    buf_deinit(&b);
}

Test(gguf, refuses_tensors_that_lie) {
    buf b;
    head(&b, 1, 0), info(&b, "t", 4, GGUF_F32, 0), data(&b, 15);
    refuse(&b, "tensor t is 16 bytes at 0, the file has 15 of data");
    head(&b, 1, 0), info(&b, "t", 4, GGUF_F32, 32), data(&b, 64);
    refuse(&b, "tensor t begins at byte 32 of the data, expected 0");
    head(&b, 2, 0), info(&b, "t", 4, GGUF_F32, 0), info(&b, "u", 4, GGUF_F32, 16), data(&b, 64);
    refuse(&b, "tensor u begins at byte 16 of the data, expected 32");
    head(&b, 2, 0), info(&b, "t", 4, GGUF_F32, 0), info(&b, "t", 4, GGUF_F32, 32), data(&b, 64);
    refuse(&b, "tensor t is given twice");
    head(&b, 1, 0), info(&b, "t", 4, GGUF_F32, 0), data(&b, 64);
    refuse(&b, "32 bytes at the end belong to no tensor");
    head(&b, 1, 0), info(&b, "t", 33, GGUF_Q8_0, 0), data(&b, 64);
    refuse(&b, "tensor t: its shape overflows, or a row is not whole blocks of Q8_0");
    head(&b, 1, 0), info(&b, "t", UINT64_MAX, GGUF_F32, 0), data(&b, 64);
    refuse(&b, "tensor t: its shape overflows, or a row is not whole blocks of F32");
    head(&b, 1, 0), info(&b, "t", 4, 99, 0), data(&b, 64);
    refuse(&b, "tensor t: type 99 is not supported");
    head(&b, 1, 0), info(&b, "", 4, GGUF_F32, 0), data(&b, 64);
    refuse(&b, "name of 0 bytes is empty or has a NUL in it");
    head(&b, 1, 0), info(&b, "t", 4, GGUF_F32, UINT64_MAX), data(&b, 64);
    refuse(&b, "tensor t: its data goes past the end of the file (128 bytes)");
    head(&b, 1, 0), str(&b, "t"), le(&b, 5, 4), data(&b, 64);
    refuse(&b, "tensor t: 5 dimensions, expected 1 to 4");
}

Test(gguf, reading_survives_each_failed_allocation) {
    for (int n = 0, opened = 0; !opened; n++) {
        gguf_file *f;
        mem_fail_after(n);
        status rc = gguf_open(&f, PYTHON_FILE, NULL);
        mem_fail_after(-1);
        opened = rc == OK;
        cr_assert(opened || (rc == ERR_OOM && f == NULL), "allocation %d gave %d", n, rc);
        cr_assert(!opened || n >= 4);
        gguf_close(f);
    }
}

Test(gguf, writing_survives_each_failed_allocation, .init = dir_make, .fini = dir_remove) {
    for (int n = 0, done = 0; !done; n++) {
        mem_fail_after(n);
        status rc = write_all(NULL);
        mem_fail_after(-1);
        done = rc == OK;
        cr_assert(done || (rc == ERR_OOM && !os_exists(path)), "allocation %d gave %d", n, rc);
    }
}
