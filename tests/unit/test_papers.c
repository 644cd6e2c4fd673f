// test_papers.c - a model's papers judge requests as the model does, and what is no papers is told.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "engine/papers.h"
#include "stemforge.h"

static const char *const models[] = {
    "models/stemforge-mini",      "tests/parity/mono/model",     "tests/parity/melody/model",
    "tests/parity/sharded/model", "tests/parity/sa-small/model", "tests/parity/sa-original/model",
};

static bool is_there(const char *model) {
    return os_exists(model);
}

static stemforge_engine *open_real(const char *model) {
    stemforge_engine *g;
    stemforge_error e;
    stemforge_options o = stemforge_options_default();
    o.model = model;
    o.threads = 1;
    cr_assert_eq(stemforge_open(&g, &o, &e), STEMFORGE_OK, "%s", e.text);
    return g;
}

static stemforge_engine *open_papers(const char *model) {
    stemforge_engine *g;
    stemforge_error e;
    void *papers;
    size_t size;
    cr_assert_eq(stemforge_papers(model, &papers, &size, &e), STEMFORGE_OK, "%s", e.text);
    cr_assert_eq(stemforge_open_papers(&g, papers, size, &e), STEMFORGE_OK, "%s", e.text);
    stemforge_free(papers);
    return g;
}

static void say(void *arg, const stemforge_warning *w) {
    buf_printf(arg, "%s %s: %s\n", w->code, w->field, w->text);
}

// All that an engine says of a request.
static char *judged(stemforge_engine *g, const stemforge_request *r) {
    buf text;
    stemforge_error e = {0};
    buf_init(&text, 1 << 16);
    const stemforge_events ev = {.arg = &text, .warning = say};
    stemforge_status rc = stemforge_engine_check(g, r, &ev, &e);
    buf_printf(&text, "%d %s %s", rc, e.where, rc ? e.text : "");
    return buf_take(&text);
}

Test(papers, they_judge_as_the_model_does) {
    static const char *const stems[] = {"drums", "bass"}, *const chords[] = {"C/E", "Am9"};
    char *words = mem_alloc(4001);
    memset(words, 'q', 4000);
    for (int i = 3; i < 4000; i += 4) words[i] = ' ';
    words[4000] = 0;
    stemforge_request list[5];
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        list[i] = stemforge_request_default();
        list[i].stems = stems, list[i].stem_count = 2;
    }
    list[1].prompt = words;
    list[2].seconds = 590, list[2].temperature = 0.5;
    list[3].chords = chords, list[3].chord_count = 2, list[3].bpm = 90, list[3].steps = 1;
    list[4].prompt = "\xe5\x90\x89\xe4\xbb\x96", list[4].sampler = "none", list[4].top_k = 5;
    int there = 0, refused = 0;
    for (size_t m = 0; m < ARRAY_LEN(models); m++) {
        if (!is_there(models[m])) continue;
        there++;
        stemforge_engine *real = open_real(models[m]), *papers = open_papers(models[m]);
        for (size_t i = 0; i < ARRAY_LEN(list); i++) {
            char *want = judged(real, &list[i]), *got = judged(papers, &list[i]);
            cr_assert_str_eq(got, want, "%s, request %zu", models[m], i);
            refused += want[strcspn(want, "\n")] == 0 && want[0] != '0';
            mem_free(want);
            mem_free(got);
        }
        stemforge_info a = stemforge_engine_info(real), b = stemforge_engine_info(papers);
        cr_assert_str_eq(b.name, a.name);
        cr_assert(b.top_k == a.top_k && b.steps == a.steps && b.guidance == a.guidance);
        cr_assert_eq(b.window_seconds, a.window_seconds);
        stemforge_close(real);
        stemforge_close(papers);
    }
    cr_assert_gt(there, 4);
    cr_assert_gt(refused, 1, "no request was refused: nothing was compared");
    mem_free(words);
}

Test(papers, nothing_can_be_made_by_them) {
    static const char *const stems[] = {"drums"};
    stemforge_engine *g = open_papers("tests/parity/mono/model");
    stemforge_request r = stemforge_request_default();
    r.stems = stems, r.stem_count = 1;
    stemforge_error e;
    cr_assert_eq(stemforge_generate(g, &r, NULL, &e), STEMFORGE_ERR_ARG);
    cr_assert_eq(stemforge_engine_stats(g).running, 0);
    stemforge_close(g);
}

// Every cut, and every byte of the front changed: an error or an engine, never more.
Test(papers, what_is_no_papers_is_told) {
    void *papers;
    size_t size;
    char path[OS_PATH_MAX];
    cr_assert_eq(stemforge_papers("tests/parity/mono/model", &papers, &size, NULL), STEMFORGE_OK);
    for (size_t n = 0; n < size; n += n < 200 ? 1 : size / 50) {
        papers_folder at;
        cr_assert_eq(papers_folder_make(&at, NULL), OK);
        status rc = papers_unpack(path, sizeof path, (bytes){papers, n}, at.path, NULL);
        // A cut between two files cannot be seen here.
        cr_assert(rc == ERR_FORMAT || rc == OK, "cut at %zu: %d", n, rc);
        papers_folder_remove(&at);
        cr_assert(!os_exists(at.path));
    }
    char *bad = papers, *name = bad + 16 + strlen("model") + 8;
    stemforge_engine *g;
    memcpy(name, "../x", 4); // of the first file
    cr_assert_eq(stemforge_open_papers(&g, papers, size, NULL), STEMFORGE_ERR_FORMAT);
    cr_assert_null(g);
    stemforge_free(papers);
}
