// test_hub.c - a checkpoint pulled from a server that behaves as the hub does, at its worst too.
//
// Two servers: the hub, and the one it redirects large files to. Both are scripted by struct world.
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/hubdir.h"
#include "base/os.h"
#include "loopback.h"
#include "net/download.h"
#include "net/hub.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define GIT_ID "89abcdef0123456789abcdef0123456789abcdef"
#define TOKEN "hf_secret"
#define BIG 300000

typedef struct {
    loopback *hub, *cdn;
    char dir[64], root[128], endpoint[64], digest[65];
    uint8_t *big; // the LFS file
    const char *siblings;
    const char *config; // contents of small files
    int hub_requests_with_token, cdn_requests_with_token, cdn_requests;
    // How the CDN misbehaves:
    int breaks;      // so many answers end in the middle
    int unavailable; // so many answers are 503
    bool ignores_range, lies_about_range, sends_other_bytes, sends_too_much;
    int list_code; // answer to the list; 0: 200
    bool needs_token;
    const char *config_at; // where the hub redirects config.json to, before it answers; NULL: /...
} world;

static const char SIBLINGS[] =
    "[{\"rfilename\":\"config.json\"},{\"rfilename\":\"big.bin\"},"
    "{\"rfilename\":\"model.safetensors\"},{\"rfilename\":\"README.md\"}]";

static void count_token(const loopback_request *q, int *count) {
    char v[64];
    if (strcmp(loopback_header(q, "Authorization", v, sizeof v), "Bearer " TOKEN) == 0) ++*count;
}

static bool asks(const loopback_request *q, const char *path) {
    const char *at = strchr(q->head, ' ');
    return at && strncmp(at + 1, path, strlen(path)) == 0;
}

static void small_file(const world *w, const loopback_request *q, buf *reply) {
    bool head = strncmp(q->head, "HEAD", 4) == 0;
    buf_printf(reply,
               "HTTP/1.1 200 OK\r\nETag: W/\"%s\"\r\nX-Repo-Commit: " COMMIT
               "\r\nContent-Length: %zu\r\n\r\n%s",
               GIT_ID, strlen(w->config), head ? "" : w->config);
}

static loopback_next hub_answer(void *arg, const loopback_request *q, buf *reply) {
    world *w = arg;
    char headers[512], list[2048];
    int before = w->hub_requests_with_token;
    count_token(q, &w->hub_requests_with_token);
    bool trusted = w->hub_requests_with_token > before;
    if (w->needs_token && !trusted) {
        loopback_reply(reply, 401, "X-Error-Message: Repository not found\r\n", "");
    } else if (asks(q, "/api/models/org/name/revision/main ") && !w->list_code) {
        snprintf(list, sizeof list, "{\"sha\":\"" COMMIT "\",\"siblings\":%s}", w->siblings);
        loopback_reply(reply, 200, "", list);
    } else if (asks(q, "/api/")) {
        loopback_reply(reply, w->list_code ? w->list_code : 404, "", "");
    } else if (asks(q, "/org/name/resolve/" COMMIT "/model")) {
        snprintf(headers, sizeof headers,
                 "Location: http://127.0.0.1:%d/blob?X-Signature=1\r\nX-Linked-Etag: \"%s\"\r\n"
                 "X-Linked-Size: %d\r\nX-Repo-Commit: " COMMIT "\r\n",
                 loopback_port(w->cdn), w->digest, BIG);
        loopback_reply(reply, 302, headers, "");
    } else if (asks(q, "/org/name/resolve/" COMMIT "/config.json")) { // as the hub does for these
        const char *to = w->config_at ? w->config_at : "/api-cache/config.json";
        snprintf(headers, sizeof headers, "Location: %s\r\n", to);
        loopback_reply(reply, 307, headers, "");
    } else {
        small_file(w, q, reply);
    }
    return LOOPBACK_KEEP;
}

static loopback_next cdn_answer(void *arg, const loopback_request *q, buf *reply) {
    world *w = arg;
    char range[64];
    w->cdn_requests++;
    count_token(q, &w->cdn_requests_with_token);
    if (w->unavailable > 0) {
        w->unavailable--;
        loopback_reply(reply, 503, "", "busy");
        return LOOPBACK_KEEP;
    }
    size_t from = 0, n = BIG;
    loopback_header(q, "Range", range, sizeof range);
    if (range[0] && !w->ignores_range) from = strtoul(range + 6, NULL, 10);
    size_t promised = n - from + (w->sends_too_much ? 10 : 0);
    buf_printf(reply, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n", from ? "206 Part" : "200 OK",
               promised);
    if (from) {
        buf_printf(reply, "Content-Range: bytes %zu-%d/%d\r\n", from + w->lies_about_range, BIG - 1,
                   BIG);
    }
    buf_add_str(reply, "\r\n");
    if (w->breaks > 0) {
        w->breaks--;
        buf_add(reply, w->big + from, (n - from) / 2);
        return LOOPBACK_RESET;
    }
    buf_add(reply, w->big + from, n - from);
    if (w->sends_other_bytes) reply->p[reply->n - 1] ^= 1;
    if (w->sends_too_much) buf_add_str(reply, "0123456789");
    return LOOPBACK_KEEP;
}

static world *world_open(void) {
    world *w = calloc(1, sizeof *w);
    uint8_t d[SHA256_LEN];
    w->big = malloc(BIG);
    uint32_t s = 1;
    for (size_t i = 0; i < BIG; i++) w->big[i] = (uint8_t)((s = s * 1664525 + 1013904223) >> 24);
    cr_assert_eq(hash_sha256(d, (bytes){w->big, BIG}, NULL), OK);
    hex_encode(w->digest, d, sizeof d);
    w->siblings = SIBLINGS;
    w->config = "{\"a\":1}";
    w->hub = loopback_start(hub_answer, w);
    w->cdn = loopback_start(cdn_answer, w);
    snprintf(w->endpoint, sizeof w->endpoint, "http://127.0.0.1:%d/", loopback_port(w->hub));
    snprintf(w->dir, sizeof w->dir, "/tmp/sf-pull-XXXXXX");
    cr_assert_not_null(mkdtemp(w->dir));
    setenv("HF_HOME", w->dir, 1);
    unsetenv("HF_HUB_CACHE");
    unsetenv("HF_TOKEN");
    snprintf(w->root, sizeof w->root, "%s/hub/models--org--name", w->dir);
    return w;
}

static void world_close(world *w) {
    char command[128];
    loopback_stop(w->hub);
    loopback_stop(w->cdn);
    snprintf(command, sizeof command, "rm -r %s", w->dir);
    cr_assert_eq(system(command), 0);
    free(w->big);
    free(w);
}

static hub_options options_of(const world *w) {
    hub_options o = hub_options_default();
    o.name = "org/name";
    o.endpoint = w->endpoint;
    o.retry_ms = 1;
    return o;
}

static status pull(const world *w, err *e) {
    char path[OS_PATH_MAX];
    hub_options o = options_of(w);
    *e = (err){0};
    return hub_pull(path, &o, e);
}

static bool file_is(const char *path, bytes want) {
    os_file_map m;
    if (os_map_open(&m, path, NULL)) return false;
    bool same = m.data.n == want.n && memcmp(m.data.p, want.p, want.n) == 0;
    os_map_close(&m);
    return same;
}

static char *in_root(const world *w, const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", w->root, name);
    return path;
}

static bool model_is_there(const world *w) {
    char found[OS_PATH_MAX], path[OS_PATH_MAX];
    return hubdir_find_model(found, "org/name", NULL) == OK &&
           os_path_join(path, sizeof path, found, "model.safetensors", NULL) == OK &&
           file_is(path, (bytes){w->big, BIG});
}

Test(hub, pulls_what_an_engine_needs_into_the_layout_of_the_cache) {
    world *w = world_open();
    err e;
    cr_assert_eq(pull(w, &e), OK, "%s", e.text);
    cr_assert(model_is_there(w));
    char link[256] = "";
    cr_assert_gt(readlink(in_root(w, "snapshots/" COMMIT "/model.safetensors"), link, 255), 0);
    char want[128];
    snprintf(want, sizeof want, "../../blobs/%s", w->digest);
    cr_assert_str_eq(link, want);
    cr_assert(file_is(in_root(w, "snapshots/" COMMIT "/config.json"), bytes_of("{\"a\":1}")));
    cr_assert(file_is(in_root(w, "blobs/" GIT_ID), bytes_of("{\"a\":1}")));
    cr_assert(file_is(in_root(w, "refs/main"), bytes_of(COMMIT)));
    cr_assert_not(os_exists(in_root(w, "snapshots/" COMMIT "/big.bin"))); // nobody needs it
    int before = w->cdn_requests;
    cr_assert_eq(pull(w, &e), OK, "%s", e.text);
    cr_assert_eq(w->cdn_requests, before); // a second pull fetches nothing anew
    world_close(w);
}

Test(hub, pulls_shards_and_leaves_other_formats) {
    world *w = world_open();
    err e;
    w->siblings =
        "[{\"rfilename\":\"model.safetensors.index.json\"},"
        "{\"rfilename\":\"model-00001-of-00002.safetensors\"},"
        "{\"rfilename\":\"model-00002-of-00002.safetensors\"},"
        "{\"rfilename\":\"pytorch_model.bin\"},{\"rfilename\":\"model.fp16.safetensors\"}]";
    cr_assert_eq(pull(w, &e), OK, "%s", e.text);
    for (int i = 1; i <= 2; i++) {
        char name[128];
        snprintf(name, sizeof name, "snapshots/" COMMIT "/model-0000%d-of-00002.safetensors", i);
        cr_assert(file_is(in_root(w, name), (bytes){w->big, BIG}));
    }
    cr_assert_not(os_exists(in_root(w, "snapshots/" COMMIT "/pytorch_model.bin")));
    cr_assert_not(os_exists(in_root(w, "snapshots/" COMMIT "/model.fp16.safetensors")));
    world_close(w);
}

Test(hub, goes_on_where_a_broken_connection_stopped) {
    world *w = world_open();
    w->breaks = 4;
    w->unavailable = 2;
    err e;
    cr_assert_eq(pull(w, &e), OK, "%s", e.text);
    cr_assert(model_is_there(w));
    cr_assert_eq(w->cdn_requests, 7);
    world_close(w);
}

Test(hub, goes_on_in_a_later_process_and_never_shows_half_a_file) {
    world *w = world_open();
    w->breaks = 1000;
    hub_options o = options_of(w);
    o.retries_max = 0;
    char path[OS_PATH_MAX], partial[512];
    err e = {0};
    cr_assert_eq(hub_pull(path, &o, &e), ERR_IO);
    cr_assert_not_null(strstr(e.text, "model.safetensors: gave up after 1 attempts"), "%s", e.text);
    cr_assert_not_null(strstr(e.text, "/blob"), "%s", e.text);
    cr_assert_null(strstr(e.text, "Signature"), "%s", e.text);
    cr_assert_eq(hubdir_find_model(path, "org/name", NULL), ERR_NOT_FOUND);
    snprintf(partial, sizeof partial, "%s/blobs/%s", w->root, w->digest);
    cr_assert_not(os_exists(partial));
    strcat(partial, ".incomplete");
    struct stat st;
    cr_assert_eq(stat(partial, &st), 0);
    cr_assert_geq(st.st_size, 1);
    w->breaks = 0;
    w->lies_about_range = false;
    cr_assert_eq(hub_pull(path, &o, &e), OK, "%s", e.text);
    cr_assert(model_is_there(w));
    cr_assert_not(os_exists(partial));
    world_close(w);
}

Test(hub, starts_over_when_the_old_part_is_of_something_else) {
    world *w = world_open();
    err e;
    char blob[256];
    snprintf(blob, sizeof blob, "blobs/%s.incomplete", w->digest);
    cr_assert_eq(os_mkdirs(in_root(w, "blobs"), NULL), OK);
    cr_assert_eq(os_write_atomic(in_root(w, blob), bytes_of("not the beginning of it"), NULL), OK);
    cr_assert_eq(pull(w, &e), OK, "%s", e.text);
    cr_assert(model_is_there(w));
    world_close(w);
}

Test(hub, starts_over_when_the_server_does_not_know_ranges) {
    world *w = world_open();
    w->breaks = 1;
    w->ignores_range = true;
    err e;
    cr_assert_eq(pull(w, &e), OK, "%s", e.text);
    cr_assert(model_is_there(w));
    world_close(w);
}

Test(hub, refuses_wrong_bytes_and_keeps_nothing_of_them) {
    world *w = world_open();
    err e;
    char blob[256], path[OS_PATH_MAX];
    w->sends_other_bytes = true;
    cr_assert_eq(pull(w, &e), ERR_FORMAT);
    cr_assert_not_null(strstr(e.text, "model.safetensors: SHA-256 is "), "%s", e.text);
    cr_assert_not_null(strstr(e.text, w->digest), "%s", e.text);
    snprintf(blob, sizeof blob, "blobs/%s", w->digest);
    cr_assert_not(os_exists(in_root(w, blob)));
    strcat(blob, ".incomplete");
    cr_assert_not(os_exists(in_root(w, blob)));
    cr_assert_eq(hubdir_find_model(path, "org/name", NULL), ERR_NOT_FOUND);
    w->sends_other_bytes = false;
    w->sends_too_much = true;
    cr_assert_eq(pull(w, &e), ERR_FORMAT);
    cr_assert_not_null(strstr(e.text, "more than the 300000 bytes promised"), "%s", e.text);
    cr_assert_not(os_exists(in_root(w, blob)));
    world_close(w);
}

Test(hub, refuses_a_range_that_is_not_the_one_asked_for) {
    world *w = world_open();
    err e;
    w->breaks = 1;
    w->lies_about_range = true;
    cr_assert_eq(pull(w, &e), ERR_IO);
    cr_assert_not_null(strstr(e.text, "asked for bytes from"), "%s", e.text);
    world_close(w);
}

Test(hub, shows_the_token_to_the_hub_alone) {
    world *w = world_open();
    setenv("HF_TOKEN", TOKEN, 1);
    w->needs_token = true;
    err e;
    cr_assert_eq(pull(w, &e), OK, "%s", e.text);
    cr_assert_geq(w->hub_requests_with_token, 7); // list, 3 heads, 3 files, redirects
    cr_assert_gt(w->cdn_requests, 0);
    cr_assert_eq(w->cdn_requests_with_token, 0);
    setenv("HF_TOKEN", "hf\nX-Evil: 1", 1);
    cr_assert_eq(pull(w, &e), ERR_ARG);
    cr_assert_null(strstr(e.text, "Evil"));
    world_close(w);
}

Test(hub, says_clearly_what_the_hub_refused) {
    world *w = world_open();
    err e;
    w->list_code = 404;
    cr_assert_eq(pull(w, &e), ERR_NOT_FOUND);
    cr_assert_str_eq(e.text, "org/name@main does not exist");
    w->list_code = 403;
    cr_assert_eq(pull(w, &e), ERR_ARG);
    cr_assert_str_eq(e.text, "org/name@main may not be read with this HF_TOKEN");
    w->list_code = 500;
    cr_assert_eq(pull(w, &e), ERR_IO);
    cr_assert_str_eq(e.text, "org/name@main: the hub answers 500");
    w->needs_token = true;
    cr_assert_eq(pull(w, &e), ERR_NOT_FOUND);
    cr_assert_str_eq(e.text, "org/name@main does not exist, or is private and HF_TOKEN does not "
                             "open it: Repository not found");
    world_close(w);
}

Test(hub, refuses_lists_that_lie) {
    static const struct {
        const char *siblings, *why;
        status rc;
    } cases[] = {
        {"[]", "org/name has no file that is asked for", ERR_NOT_FOUND},
        {"[{\"rfilename\":\"config.json\"}]",
         "org/name has no model.safetensors and no shards of one", ERR_NOT_FOUND},
        {"[{\"rfilename\":7}]",
         "the hub's list of org/name@main: rfilename: expected a string, found integer",
         ERR_FORMAT},
        {"7", "the hub's list of org/name@main: siblings: expected an array, found integer",
         ERR_FORMAT},
    };
    world *w = world_open();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        err e;
        w->siblings = cases[i].siblings;
        cr_assert_eq(pull(w, &e), cases[i].rc, "%s", e.text);
        cr_assert_str_eq(e.text, cases[i].why);
    }
    world_close(w);
}

Test(hub, never_writes_outside_the_cache) {
    static const char *const names[] = {"../x.json",   "/tmp/x.json", "a/../../x.json", "a//x.json",
                                        "a\\\\x.json", "..",          "./x.json"};
    world *w = world_open();
    const char *all = "*";
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char list[128], path[OS_PATH_MAX];
        const char *patterns[] = {all, "*/*", "*/*/*", "*/*/*/*", "/*/*"};
        hub_options o = options_of(w);
        o.include = patterns, o.include_count = ARRAY_LEN(patterns);
        snprintf(list, sizeof list, "[{\"rfilename\":\"%s\"}]", names[i]);
        w->siblings = list;
        err e = {0};
        cr_assert_eq(hub_pull(path, &o, &e), ERR_FORMAT, "%s: %s", names[i], e.text);
        cr_assert_not_null(strstr(e.text, "file name"), "%s", e.text);
    }
    world_close(w);
}

Test(hub, takes_files_in_folders_and_by_pattern) {
    world *w = world_open();
    const char *patterns[] = {"onnx/*.json"};
    hub_options o = options_of(w);
    char path[OS_PATH_MAX];
    err e = {0};
    o.include = patterns, o.include_count = 1;
    w->siblings = "[{\"rfilename\":\"onnx/a.json\"},{\"rfilename\":\"a.json\"},"
                  "{\"rfilename\":\"onnx/deep/a.json\"}]";
    cr_assert_eq(hub_pull(path, &o, &e), OK, "%s", e.text);
    cr_assert(file_is(in_root(w, "snapshots/" COMMIT "/onnx/a.json"), bytes_of("{\"a\":1}")));
    cr_assert_not(os_exists(in_root(w, "snapshots/" COMMIT "/a.json")));
    cr_assert_not(os_exists(in_root(w, "snapshots/" COMMIT "/onnx/deep")));
    world_close(w);
}

static bool after_some(void *arg) {
    return *(int64_t *)arg > BIG / 2;
}
static void note(void *arg, const hub_progress *at) {
    *(int64_t *)arg = at->done;
    cr_assert_leq(at->done, at->total);
}

Test(hub, counts_every_byte_once_and_stops_when_told) {
    world *w = world_open();
    hub_options o = options_of(w);
    char path[OS_PATH_MAX];
    int64_t done = 0;
    err e = {0};
    o.progress = note, o.arg = &done;
    w->breaks = 3;
    cr_assert_eq(hub_pull(path, &o, &e), OK, "%s", e.text);
    cr_assert_eq(done, BIG + 2 * 7);
    cr_assert_eq(system(strcat(strcpy(path, "rm -r "), w->root)), 0);
    o.canceled = after_some;
    done = 0;
    cr_assert_eq(hub_pull(path, &o, &e), ERR_CANCELED);
    world_close(w);
}

// Mirrors redirect as they like; the small file then lies at the last address.
Test(hub, follows_every_kind_of_redirect) {
    world *w = world_open();
    int port = loopback_port(w->hub);
    char whole[128], schemeless[128];
    snprintf(whole, sizeof whole, "http://localhost:%d/elsewhere/config.json", port);
    snprintf(schemeless, sizeof schemeless, "//localhost:%d/elsewhere/config.json", port);
    const char *const places[] = {"../other/config.json",
                                  "other/config.json",
                                  "../../../../../x#part",
                                  "/x/../y",
                                  whole,
                                  schemeless};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        err e;
        w->config_at = places[i];
        cr_assert_eq(pull(w, &e), OK, "%s: %s", places[i], e.text);
        cr_assert(file_is(in_root(w, "snapshots/" COMMIT "/config.json"), bytes_of("{\"a\":1}")));
        cr_assert_eq(unlink(in_root(w, "blobs/" GIT_ID)), 0);
    }
    for (const char *const *bad = (const char *const[]){"?again", "ftp://x/y", "//", "", NULL};
         *bad; bad++) {
        err e;
        w->config_at = *bad;
        cr_assert_eq(pull(w, &e), ERR_IO, "%s", *bad);
        cr_assert_not_null(strstr(e.text, "redirects"), "%s", e.text);
    }
    world_close(w);
}

Test(hub, goes_through_a_proxy_that_the_environment_names) {
    world *w = world_open();
    char proxy[64];
    err e;
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", loopback_port(w->cdn));
    setenv("http_proxy", proxy, 1);
    setenv("no_proxy", "127.0.0.1", 1);
    cr_assert_eq(pull(w, &e), OK, "%s", e.text); // not through it: the endpoint is 127.0.0.1
    unsetenv("no_proxy");
    w->cdn_requests = 0;
    w->unavailable = 1000;
    cr_assert_eq(pull(w, &e), ERR_IO); // the proxy answers 503
    cr_assert_gt(w->cdn_requests, 0);
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    cr_assert_eq(pull(w, &e), ERR_IO);
    cr_assert_not_null(strstr(e.text, "https_proxy"), "%s", e.text);
    unsetenv("http_proxy");
    world_close(w);
}

Test(hub, asks_nobody_when_it_is_to_be_offline) {
    world *w = world_open();
    char path[OS_PATH_MAX];
    err e;
    hub_options o = options_of(w);
    for (const char *const *on = (const char *const[]){"1", "true", "YES", "on", NULL}; *on; on++) {
        setenv("HF_HUB_OFFLINE", *on, 1);
        cr_assert_eq(hub_pull(path, &o, &e), ERR_NOT_FOUND);
        cr_assert_not_null(strstr(e.text, "HF_HUB_OFFLINE is set and the cache has no org/name"));
    }
    cr_assert_eq(loopback_requests(w->hub), 0);
    setenv("HF_HUB_OFFLINE", "0", 1);
    cr_assert_eq(pull(w, &e), OK, "%s", e.text);
    int asked = loopback_requests(w->hub);
    setenv("HF_HUB_OFFLINE", "1", 1);
    cr_assert_eq(hub_pull(path, &o, &e), OK, "%s", e.text);
    cr_assert_str_eq(path, in_root(w, "snapshots/" COMMIT));
    cr_assert_eq(loopback_requests(w->hub), asked);
    unsetenv("HF_HUB_OFFLINE");
    world_close(w);
}

// A pipeline of diffusers: a folder for each network, and not the same weights in one file.
Test(hub, fetches_the_folders_of_a_pipeline) {
    world *w = world_open();
    char path[OS_PATH_MAX], file[OS_PATH_MAX + 100];
    static const char *const there[] = {"model_index.json", "transformer/config.json",
                                        "transformer/diffusion_pytorch_model.safetensors",
                                        "scheduler/scheduler_config.json",
                                        "text_encoder/model.safetensors"};
    static const char *const absent[] = {"model.safetensors", "tokenizer/spiece.model"};
    w->siblings = "[{\"rfilename\":\"model_index.json\"},{\"rfilename\":\"model.safetensors\"},"
                  "{\"rfilename\":\"transformer/config.json\"},"
                  "{\"rfilename\":\"transformer/diffusion_pytorch_model.safetensors\"},"
                  "{\"rfilename\":\"scheduler/scheduler_config.json\"},"
                  "{\"rfilename\":\"tokenizer/spiece.model\"},"
                  "{\"rfilename\":\"text_encoder/model.safetensors\"}]";
    err e;
    hub_options o = options_of(w);
    cr_assert_eq(hub_pull(path, &o, &e), OK, "%s", e.text);
    for (size_t i = 0; i < ARRAY_LEN(there); i++) {
        snprintf(file, sizeof file, "%s/%s", path, there[i]);
        cr_assert(os_exists(file), "%s", there[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(absent); i++) {
        snprintf(file, sizeof file, "%s/%s", path, absent[i]);
        cr_assert(!os_exists(file), "%s", absent[i]);
    }
    world_close(w);
}
