// blob_tool.c - store/blob.h from the command line, for tests against real and faulty storage.
//
//   blob_tool put KEY FILE | get KEY FILE | head KEY | rm KEY | link KEY SECONDS | check
//
// Settings as the service has them in the environment, and BLOB_WHOLE_MAX, BLOB_BLOCK_SIZE,
// BLOB_DELAY_MS, BLOB_STALL_MS, BLOB_CA_FILE. link: as if made SECONDS from now. Prints one line of
// JSON; exit status 0 only for OK.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "store/blob.h"

static const char *text(const char *name) {
    const char *v = getenv(name);
    return v && v[0] ? v : NULL;
}

static long number(const char *name, long otherwise) {
    return text(name) ? strtol(text(name), NULL, 10) : otherwise;
}

static status put(blob_store *s, const char *key, const char *path, err *e) {
    os_file_map m;
    blob_info info;
    status rc = os_map_open(&m, path, e);
    if (rc) return rc;
    rc = blob_put(s, key, m.data, "audio/wav", &info, e);
    os_map_close(&m);
    if (rc) return rc;
    blob_counts n;
    blob_read_counts(s, &n);
    printf("{\"size\":%lld,\"md5\":\"%s\",\"retries\":%llu}\n", (long long)info.size, info.md5,
           (unsigned long long)n.retries);
    return OK;
}

static status get(blob_store *s, const char *key, const char *path, err *e) {
    buf b;
    buf_init(&b, (size_t)1 << 30);
    status rc = blob_get(s, key, 0, INT64_MAX, &b, e);
    if (!rc) rc = os_write_atomic(path, buf_bytes(&b), e);
    if (!rc) printf("{\"size\":%zu}\n", b.n);
    buf_deinit(&b);
    return rc;
}

static status head(blob_store *s, const char *key, err *e) {
    blob_info i;
    status rc = blob_head(s, key, &i, e);
    if (rc) return rc;
    printf("{\"size\":%lld,\"md5\":\"%s\",\"type\":\"%s\"}\n", (long long)i.size, i.md5, i.type);
    return OK;
}

static status link_of(blob_store *s, const char *key, const char *seconds, err *e) {
    char url[BLOB_URL_MAX];
    int64_t now_ms = os_time_ms() + strtol(seconds, NULL, 10) * 1000;
    status rc = blob_link(s, key, now_ms, url, sizeof url, e);
    if (!rc) printf("{\"url\":\"%s\"}\n", url);
    return rc;
}

static status run(blob_store *s, int argc, char **argv, err *e) {
    const char *verb = argv[1];
    if (argc == 4 && !strcmp(verb, "put")) return put(s, argv[2], argv[3], e);
    if (argc == 4 && !strcmp(verb, "get")) return get(s, argv[2], argv[3], e);
    if (argc == 4 && !strcmp(verb, "link")) return link_of(s, argv[2], argv[3], e);
    if (argc == 3 && !strcmp(verb, "head")) return head(s, argv[2], e);
    if (argc == 3 && !strcmp(verb, "rm")) return blob_remove(s, argv[2], e);
    if (argc == 2 && !strcmp(verb, "check")) return blob_check(s, e);
    return err_set(e, ERR_ARG, "usage: put KEY FILE | get KEY FILE | head KEY | rm KEY | check");
}

int main(int argc, char **argv) {
    blob_config c = blob_config_default();
    c.connection = text("AZURE_STORAGE_CONNECTION_STRING");
    c.account = text("AZURE_STORAGE_ACCOUNT");
    c.dir = text("STORAGE_DIR");
    if (text("BLOB_CONTAINER_NAME")) c.container = text("BLOB_CONTAINER_NAME");
    c.sas_hours = (int)number("BLOB_URL_SAS_HOURS", 0);
    c.ca_file = text("BLOB_CA_FILE");
    c.whole_max = (size_t)number("BLOB_WHOLE_MAX", (long)c.whole_max);
    c.block_size = (size_t)number("BLOB_BLOCK_SIZE", (long)c.block_size);
    c.delay_first_ms = number("BLOB_DELAY_MS", 0);
    c.stall_ms = (int)number("BLOB_STALL_MS", 0);
    blob_store *s = NULL;
    err e = {.text = ""};
    status rc = argc < 2 ? err_set(&e, ERR_ARG, "no command") : blob_open(&s, &c, &e);
    if (!rc) rc = run(s, argc, argv, &e);
    if (rc) fprintf(stderr, "%s: %s\n", status_name(rc), e.text);
    blob_close(s);
    return rc ? 1 : 0;
}
