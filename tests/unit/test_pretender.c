// test_pretender.c - what lies in place of a file is named, with what to do next.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audio/file.h"
#include "base/pretender.h"
#include "engine/family.h"

static char folder[64];

static const char *in_folder(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text) {
    FILE *f = fopen(in_folder(name), "wb");
    cr_assert(f && fwrite(text, 1, strlen(text), f) == strlen(text) && fclose(f) == 0);
}

static void put_copy(const char *name) {
    char from[256], command[8192] = {0};
    snprintf(from, sizeof from, "tests/parity/mono/model/%s", name);
    FILE *f = fopen(from, "rb");
    cr_assert(f && fread(command, 1, sizeof command - 1, f) > 0);
    fclose(f);
    put(name, command);
}

static void setup(void) {
    strcpy(folder, "/tmp/stemforge-pretender-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    put_copy("config.json");
    put_copy("generation_config.json");
}

static void teardown(void) {
    static const char *const names[] = {"config.json",       "generation_config.json",
                                        "tokenizer.json",    "model.safetensors",
                                        "pytorch_model.bin", "other.gguf"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) unlink(in_folder(names[i]));
    rmdir(folder);
}

static void expect(const char *path, const char *what, const char *next) {
    family *f;
    err e = {0};
    compute *c;
    cr_assert_eq(compute_open(&c, 1, NULL, &e), OK, "%s", e.text);
    cr_assert_neq(family_open(&f, &(family_options){.model = path, .c = c}, &e), OK);
    compute_close(c);
    cr_assert(strstr(e.text, what) && strstr(e.text, next), "expected '%s' and '%s' in: %s", what,
              next, e.text);
}

TestSuite(pretender, .init = setup, .fini = teardown);

Test(pretender, weights_that_are_something_else_are_named) {
    static const char *const lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\n";
    put("model.safetensors", lfs);
    expect(folder, "Git LFS pointer", "git lfs pull");
    put("model.safetensors", "../../blobs/0123456789abcdef");
    expect(folder, "text of a link (../../blobs/0123456789abcdef)", "cp -L");
    put("model.safetensors", "<!DOCTYPE html><html>");
    expect(folder, "web page", "again");
    put("model.safetensors", "");
    expect(folder, "empty", "again");
    unlink(in_folder("model.safetensors"));
    cr_assert_eq(symlink("../blobs/gone", in_folder("model.safetensors")), 0);
    expect(folder, "model.safetensors is a link to ../blobs/gone", "not there");
    unlink(in_folder("model.safetensors"));
    expect(folder, "neither model.safetensors", "index.json");
    put("pytorch_model.bin", "PK");
    expect(folder, "found pytorch_model.bin", "safe_serialization");
}

Test(pretender, documents_that_are_something_else_are_named) {
    put("config.json", "version https://git-lfs.github.com/spec/v1\n");
    expect(folder, "config.json is a Git LFS pointer", "git lfs pull");
    put("config.json", "{\"model_type\": \"llama\"}");
    expect(folder, "model_type", "llama");
}

Test(pretender, files_of_other_programs_are_named) {
    char image[96] = "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\x14\0\0\0\0\0\0\0general."
                     "architecture\x8\0\0\0\5\0\0\0\0\0\0\0llama\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    FILE *f = fopen(in_folder("other.gguf"), "wb");
    cr_assert(f && fwrite(image, 1, sizeof image, f) == sizeof image && fclose(f) == 0);
    expect(in_folder("other.gguf"), "llama", "musicgen");
    put("other.gguf", "version https://git-lfs.github.com/spec/v1\n");
    expect(in_folder("other.gguf"), "Git LFS pointer", "git lfs pull");
    put("other.gguf", "hello");
    expect(in_folder("other.gguf"), "expected a folder", "GGUF");
    expect("modles/stemforge-mini", "no folder modles/stemforge-mini", "correct the path");
}

Test(pretender, a_folder_that_is_no_whole_checkpoint_says_what_is_missing) {
    put("model.safetensors", "");
    unlink(in_folder("config.json"));
    expect(folder, "has no config.json", "stemforge pull");
    put_copy("config.json");
    cr_assert_eq(symlink("../gone", in_folder("tokenizer.json")), 0);
    unlink(in_folder("model.safetensors"));
    expect(folder, "neither model.safetensors", "stemforge pull");
}

// Files of sound, recipes and cases are in repositories with LFS, too.
Test(pretender, files_of_sound_and_json_are_looked_at_alike) {
    static const char *const texts[][2] = {
        {"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
        {"../../blobs/0123456789abcdef", "cp -L"},
        {"<!DOCTYPE html>", "download link"},
        {"", "fetch it again"}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        file_clip clip;
        json *j;
        err e = {0};
        const file_limits limits = file_limits_default();
        put("other.gguf", texts[i][0]);
        cr_assert_eq(file_read(&clip, in_folder("other.gguf"), &limits, &e), ERR_FORMAT);
        cr_assert(strstr(e.text, texts[i][1]), "%s", e.text);
        cr_assert_eq(json_parse_file(&j, in_folder("other.gguf"), 1000, &e), ERR_FORMAT);
        cr_assert(strstr(e.text, texts[i][1]), "%s", e.text);
    }
}

Test(pretender, other_files_pass) {
    static const char *const fine[] = {"{\"a\": \"../b\"}", "GGUF", "./not\0a link", "\x7f/\1"};
    for (size_t i = 0; i < ARRAY_LEN(fine); i++)
        cr_assert_eq(
            pretender_check((bytes){(const uint8_t *)fine[i], i == 2 ? 13 : strlen(fine[i])}, "x",
                            NULL),
            OK);
}
