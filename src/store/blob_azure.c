// blob_azure.c - blobs in an Azure container, on azure.h.
//
// A blob is put in one request, or, beyond whole_max, in blocks and a list that commits them: both
// are atomic and safe to repeat. Every upload carries its MD5, which the service checks and keeps.
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/azure.h"
#include "store/blob_ops.h"

#define BLOCKS_MAX 50000
#define LINK_HOURS_MAX 160            // a delegation key lives a week
#define PUT_ROUNDS_MAX 3              // once more for a missing container, once more for damage
#define LINK_AHEAD_MS (3600 * 1000)   // the key for links is fetched so long before it is needed
#define LINK_EARLY_MS (5 * 60 * 1000) // for clocks that are behind ours

typedef struct {
    blob_store base;
    azure_client *client;
    char container[64];
    int sas_hours;
    bool https;
    size_t whole_max, block_size;
} azure_store;

static azure_store *self(blob_store *s) {
    return (azure_store *)s;
}

typedef char md5_text[base64_encoded_size(MD5_LEN)];

static status md5_of(bytes data, md5_text out, err *e) {
    uint8_t digest[MD5_LEN];
    status rc = hash_md5(digest, data, e);
    if (!rc) base64_encode(out, (bytes){digest, sizeof digest});
    return rc;
}

// Keys need no escaping: blob_key_ok leaves only characters that stand for themselves.
typedef struct {
    char text[BLOB_KEY_MAX + 80];
} blob_path;

static blob_path path_of(const azure_store *s, const char *key) {
    blob_path p;
    snprintf(p.text, sizeof p.text, "/%s%s%s", s->container, key[0] ? "/" : "", key);
    return p;
}

// ---- the container

static status make_container(azure_store *s, bool once, err *e) {
    blob_path path = path_of(s, "");
    azure_request q = {.verb = "PUT",
                       .path = path.text,
                       .query = "restype=container",
                       .once = once,
                       .promised = 201};
    fetch_response r;
    char code[AZURE_CODE_MAX];
    status rc = azure_send(s->client, &q, &r, code, e);
    fetch_response_deinit(&r);
    if (rc == ERR_CONFLICT && strcmp(code, "ContainerAlreadyExists") == 0) return OK;
    if (!rc) log_info("azure", "made container %s", s->container);
    if (rc) err_within(e, rc, "container %s", s->container);
    return rc;
}

// ---- upload

typedef struct {
    azure_store *s;
    const char *key, *type;
    bytes data;
    md5_text md5;
    blob_info *info;
    char code[AZURE_CODE_MAX];
} upload;

// The service names the MD5 of the blob that it stored; it must be that of the bytes we sent.
static status check_answer(upload *u, const fetch_response *r, err *e) {
    char md5[64];
    if (fetch_find_header(r, "Content-MD5", md5, sizeof md5) && strcmp(md5, u->md5)) {
        snprintf(u->code, sizeof u->code, "Md5Mismatch");
        return err_set(e, ERR_IO, "storage: the stored blob has another MD5 than what was sent");
    }
    fetch_find_header(r, "ETag", u->info->etag, sizeof u->info->etag);
    return OK;
}

static status put_whole(upload *u, err *e) {
    blob_path path = path_of(u->s, u->key);
    fetch_header headers[] = {
        {"x-ms-blob-type", "BlockBlob"}, {"Content-Type", u->type}, {"Content-MD5", u->md5}};
    azure_request q = {.verb = "PUT",
                       .path = path.text,
                       .headers = headers,
                       .header_count = ARRAY_LEN(headers),
                       .body = u->data,
                       .promised = 201,
                       .etag = true};
    fetch_response r;
    status rc = azure_send(u->s->client, &q, &r, u->code, e);
    if (!rc) rc = check_answer(u, &r, e);
    fetch_response_deinit(&r);
    return rc;
}

// All ids of a blob have one length. They are the same for every upload of the same bytes, so a
// repeated upload replaces its own blocks.
static void block_id(const upload *u, size_t i, char out[base64_encoded_size(32)]) {
    char text[33];
    snprintf(text, sizeof text, "%08u%.24s", (unsigned)i % 100000000u, u->md5);
    base64_encode(out, bytes_of(text));
}

static status put_block(upload *u, size_t i, bytes piece, err *e) {
    char id[base64_encoded_size(32)];
    md5_text md5;
    buf query;
    block_id(u, i, id);
    status rc = md5_of(piece, md5, e);
    buf_init(&query, 512);
    buf_add_str(&query, "comp=block&blockid=");
    fetch_escape(&query, bytes_of(id), "");
    if (!rc) rc = buf_status(&query, e);
    if (!rc) {
        blob_path path = path_of(u->s, u->key);
        fetch_header headers[] = {{"Content-MD5", md5}};
        azure_request q = {.verb = "PUT",
                           .path = path.text,
                           .query = buf_str(&query),
                           .headers = headers,
                           .header_count = 1,
                           .body = piece,
                           .promised = 201};
        fetch_response r;
        rc = azure_send(u->s->client, &q, &r, u->code, e);
        fetch_response_deinit(&r);
    }
    buf_deinit(&query);
    return rc;
}

static status put_list(upload *u, size_t count, err *e) {
    blob_path path = path_of(u->s, u->key);
    buf xml;
    buf_init(&xml, (size_t)8 << 20);
    buf_add_str(&xml, "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
    for (size_t i = 0; i < count; i++) {
        char id[base64_encoded_size(32)];
        block_id(u, i, id);
        buf_printf(&xml, "<Latest>%s</Latest>", id);
    }
    buf_add_str(&xml, "</BlockList>");
    fetch_header headers[] = {{"x-ms-blob-content-type", u->type},
                              {"x-ms-blob-content-md5", u->md5},
                              {"Content-Type", "application/xml"}};
    status rc = buf_status(&xml, e);
    if (!rc) {
        azure_request q = {.verb = "PUT",
                           .path = path.text,
                           .query = "comp=blocklist",
                           .headers = headers,
                           .header_count = ARRAY_LEN(headers),
                           .body = buf_bytes(&xml),
                           .promised = 201,
                           .etag = true};
        fetch_response r;
        rc = azure_send(u->s->client, &q, &r, u->code, e);
        // The MD5 in this answer is that of the list, not of the blob.
        if (!rc) fetch_find_header(&r, "ETag", u->info->etag, sizeof u->info->etag);
        fetch_response_deinit(&r);
    }
    buf_deinit(&xml);
    return rc;
}

static status put_blocks(upload *u, err *e) {
    size_t size = MAX(u->s->block_size, u->data.n / BLOCKS_MAX + 1), count = 0;
    for (size_t at = 0; at < u->data.n; at += size, count++) {
        bytes piece = {u->data.p + at, MIN(size, u->data.n - at)};
        status rc = put_block(u, count, piece, e);
        if (rc) return rc;
    }
    return put_list(u, count, e);
}

static bool damaged(const char *code) {
    return strcmp(code, "Md5Mismatch") == 0 || strcmp(code, "InvalidOperation") == 0 ||
           strcmp(code, "InvalidBlockList") == 0;
}

static int64_t link_ms(const azure_store *s) {
    return (int64_t)s->sas_hours * 3600 * 1000;
}

// A link is made inside a database transaction, where nothing may wait. So the key that signs links
// is fetched with the upload. A failure shows when the link is made.
static void prepare_link(azure_store *s) {
    if (!s->sas_hours || azure_client_account(s->client)->auth < AZURE_WORKLOAD) return;
    azure_delegation d;
    int64_t now_ms = azure_client_now_ms(s->client);
    int64_t until_ms = now_ms + link_ms(s) + LINK_AHEAD_MS;
    (void)!azure_delegation_get(s->client, now_ms, until_ms, false, &d, NULL);
    explicit_bzero(&d, sizeof d);
}

static status azure_put(blob_store *b, const char *key, bytes data, const char *type,
                        blob_info *info, err *e) {
    azure_store *s = self(b);
    upload u = {.s = s, .key = key, .type = type, .data = data, .info = info};
    status rc = md5_of(data, u.md5, e);
    for (int round = 1; !rc && round <= PUT_ROUNDS_MAX; round++) {
        rc = data.n <= s->whole_max ? put_whole(&u, e) : put_blocks(&u, e);
        if (!rc || round == PUT_ROUNDS_MAX) break;
        if (rc == ERR_NOT_FOUND && strcmp(u.code, "ContainerNotFound") == 0) {
            rc = make_container(s, false, e);
        } else if (damaged(u.code)) {
            log_warn("azure", "upload of %s arrived damaged; sent again", key);
            rc = OK;
        }
    }
    if (!rc) snprintf(info->md5, sizeof info->md5, "%s", u.md5);
    if (!rc) prepare_link(s);
    if (rc) err_within(e, rc, "put %.200s", key);
    return rc;
}

// ---- the rest

static int64_t header_number(const fetch_response *r, const char *name) {
    char v[32];
    int64_t n = 0;
    if (!fetch_find_header(r, name, v, sizeof v) || strlen(v) > 18) return -1;
    for (const char *p = v; *p; p++) {
        if (*p < '0' || *p > '9') return -1;
        n = n * 10 + (*p - '0');
    }
    return n;
}

static status azure_head(blob_store *b, const char *key, blob_info *info, err *e) {
    azure_store *s = self(b);
    blob_path path = path_of(s, key);
    azure_request q = {.verb = "HEAD", .path = path.text, .promised = 200};
    fetch_response r;
    status rc = azure_send(s->client, &q, &r, NULL, e);
    if (!rc) {
        info->size = header_number(&r, "Content-Length");
        fetch_find_header(&r, "Content-MD5", info->md5, sizeof info->md5);
        fetch_find_header(&r, "ETag", info->etag, sizeof info->etag);
        fetch_find_header(&r, "Content-Type", info->type, sizeof info->type);
        if (info->size < 0) rc = err_set(e, ERR_FORMAT, "storage: HEAD without Content-Length");
    }
    fetch_response_deinit(&r);
    return rc;
}

static status azure_get(blob_store *b, const char *key, int64_t offset, int64_t n, buf *out,
                        err *e) {
    azure_store *s = self(b);
    blob_path path = path_of(s, key);
    char range[64];
    int64_t last = n > INT64_MAX - offset ? INT64_MAX : offset + n - 1;
    snprintf(range, sizeof range, "bytes=%lld-%lld", (long long)offset, (long long)last);
    fetch_header headers[] = {{"Range", range}};
    azure_request q = {.verb = "GET",
                       .path = path.text,
                       .headers = headers,
                       .header_count = 1,
                       .response_max = MIN(n, (int64_t)(out->max - out->n) + 1)};
    fetch_response r;
    char code[AZURE_CODE_MAX];
    status rc = azure_send(s->client, &q, &r, code, e);
    if (!rc && header_number(&r, "Content-Length") != (int64_t)r.body.n) {
        rc = err_set(e, ERR_BUSY, "storage: an answer without its length");
    }
    if (!rc && offset && r.code != 206) {
        rc = err_set(e, ERR_FORMAT, "storage: asked for a range, got all");
    }
    if (rc && r.code == 416)
        rc = OK; // nothing from there on
    else if (!rc)
        buf_add(out, r.body.p, r.body.n), rc = buf_status(out, e);
    fetch_response_deinit(&r);
    return rc;
}

static status azure_remove(blob_store *b, const char *key, err *e) {
    azure_store *s = self(b);
    blob_path path = path_of(s, key);
    azure_request q = {.verb = "DELETE", .path = path.text, .promised = 202};
    fetch_response r;
    status rc = azure_send(s->client, &q, &r, NULL, e);
    fetch_response_deinit(&r);
    return rc;
}

// Asks by writing, since reading may be allowed or possible where writing is not. One block of a
// blob that is never committed: nobody sees it, each check replaces it, and the service forgets it
// after a week. A missing container is made, as the first upload would.
static status azure_check(blob_store *b, err *e) {
    azure_store *s = self(b);
    blob_path path = path_of(s, "stemforge-check");
    azure_request q = {.verb = "PUT",
                       .path = path.text,
                       .query = "comp=block&blockid=Y2hlY2s%3D",
                       .body = bytes_of("x"),
                       .once = true,
                       .promised = 201};
    fetch_response r;
    char code[AZURE_CODE_MAX];
    status rc = azure_send(s->client, &q, &r, code, e);
    fetch_response_deinit(&r);
    return strcmp(code, "ContainerNotFound") == 0 ? make_container(s, true, e) : rc;
}

static void add_url(const azure_store *s, const char *key, buf *url) {
    blob_path path = path_of(s, key);
    buf_printf(url, "%s%s", azure_client_account(s->client)->endpoint, path.text);
}

// once: as in azure_request, for a caller that may not wait long.
static status add_signed(azure_store *s, const char *key, int64_t now_ms, int64_t life_ms,
                         bool once, buf *url, err *e) {
    const azure_account *a = azure_client_account(s->client);
    now_ms += azure_client_skew_ms(s->client); // whoever checks the link has the service's clock
    int64_t end_ms = now_ms + life_ms;
    add_url(s, key, url);
    buf_add_char(url, '?');
    if (a->auth == AZURE_SHARED_KEY) {
        return azure_sas_read(a, s->container, key, now_ms - LINK_EARLY_MS, end_ms, s->https, url,
                              e);
    }
    if (a->auth < AZURE_WORKLOAD) return err_set(e, ERR_ARG, "a link needs the key of the account");
    azure_delegation d;
    status rc = azure_delegation_get(s->client, now_ms, end_ms, once, &d, e);
    if (rc) return rc;
    rc = azure_sas_read_delegated(a, &d, s->container, key, now_ms - LINK_EARLY_MS, end_ms,
                                  s->https, url, e);
    explicit_bzero(&d, sizeof d);
    return rc;
}

static status azure_link(blob_store *b, const char *key, int64_t now_ms, buf *url, err *e) {
    azure_store *s = self(b);
    if (s->sas_hours) return add_signed(s, key, now_ms, link_ms(s), true, url, e);
    add_url(s, key, url);
    return OK;
}

static status azure_sign(blob_store *b, const char *key, int64_t now_ms, int64_t life_ms, buf *url,
                         err *e) {
    return add_signed(self(b), key, now_ms, life_ms, false, url, e);
}

static void azure_counts_of(blob_store *b, blob_counts *out) {
    azure_counts n;
    azure_read_counts(self(b)->client, &n);
    out->tries = n.tries;
    out->retries = n.retries;
    out->bytes_up = n.bytes_up;
    out->bytes_down = n.bytes_down;
}

static void azure_stop(blob_store *b) {
    azure_client_stop(self(b)->client);
}

static void azure_close(blob_store *b) {
    azure_client_close(self(b)->client);
    mem_free(b);
}

static const blob_ops azure_ops = {.put = azure_put,
                                   .link = azure_link,
                                   .sign = azure_sign,
                                   .head = azure_head,
                                   .get = azure_get,
                                   .remove = azure_remove,
                                   .check = azure_check,
                                   .counts = azure_counts_of,
                                   .stop = azure_stop,
                                   .close = azure_close};

// ---- opening

// Azure's rule for names of containers: 3 to 63 of a-z, 0-9 and single hyphens inside.
static status check_container(const char *name, err *e) {
    size_t n = strnlen(name, 64);
    bool ok = n >= 3 && n <= 63;
    for (size_t i = 0; ok && i < n; i++) {
        bool plain = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9');
        bool hyphen = name[i] == '-' && i && i + 1 < n && name[i - 1] != '-';
        ok = plain || hyphen;
    }
    if (ok) return OK;
    return err_set(e, ERR_ARG,
                   "BLOB_CONTAINER_NAME '%.63s': expected 3 to 63 lower-case letters, "
                   "digits and single hyphens",
                   name);
}

// Identity mode: the account's name and endpoint, and which kind of token.
static status identity_account(azure_account *a, const azure_identity *id, err *e) {
    char text[700];
    if (id->endpoint) {
        snprintf(text, sizeof text, "AccountName=%.80s;BlobEndpoint=%.500s", id->account,
                 id->endpoint);
    } else {
        snprintf(text, sizeof text,
                 "AccountName=%.80s;BlobEndpoint=https://%.80s.blob.core.windows.net", id->account,
                 id->account);
    }
    status rc = azure_account_parse(a, text, e);
    bool workload = id->client_id && id->tenant_id && id->token_file;
    if (!rc) a->auth = workload ? AZURE_WORKLOAD : AZURE_MANAGED;
    return rc;
}

static status open_client(azure_store *s, const blob_config *c, err *e) {
    azure_account a = {0};
    azure_identity id = azure_identity_from_env();
    azure_policy p = azure_policy_default();
    p.ca_file = c->ca_file;
    if (c->delay_first_ms) p.delay_first_ms = c->delay_first_ms;
    if (c->stall_ms) p.stall_ms = c->stall_ms;
    bool by_string = c->connection && c->connection[0];
    id.account = c->account;
    status rc =
        by_string ? azure_account_parse(&a, c->connection, e) : identity_account(&a, &id, e);
    if (rc) return rc;
    if (c->sas_hours && (a.auth == AZURE_SAS || a.auth == AZURE_ANONYMOUS)) {
        azure_account_deinit(&a);
        return err_set(e, ERR_ARG, "BLOB_URL_SAS_HOURS needs an account key or an identity");
    }
    if (c->sas_hours > LINK_HOURS_MAX && a.auth >= AZURE_WORKLOAD) {
        azure_account_deinit(&a);
        return err_set(e, ERR_ARG, "BLOB_URL_SAS_HOURS: at most %d with an identity",
                       LINK_HOURS_MAX);
    }
    s->https = strncmp(a.endpoint, "https:", 6) == 0;
    snprintf(s->base.place, sizeof s->base.place, "%.400s/%s", a.endpoint, s->container);
    return azure_client_open(&s->client, &a, &id, &p, e);
}

status blob_azure_open(blob_store **out, const blob_config *c, err *e) {
    status rc = check_container(c->container, e);
    if (rc) return rc;
    azure_store *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_OOM, "blob store");
    s->base.ops = &azure_ops;
    s->base.kind = "azure";
    s->sas_hours = c->sas_hours;
    s->whole_max = c->whole_max;
    s->block_size = MAX(c->block_size, 1u);
    snprintf(s->container, sizeof s->container, "%s", c->container);
    rc = open_client(s, c, e);
    if (rc) {
        azure_close(&s->base);
        return rc;
    }
    *out = &s->base;
    return OK;
}
