// azure_account.c - who we are towards Azure Storage: connection strings and signatures. Pure
// functions of azure.h; the requests are in azure.c.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/azure_inside.h"

// Published with the emulator; not a secret.
#define EMULATOR_NAME "devstoreaccount1"
#define EMULATOR_KEY                                                                               \
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
#define EMULATOR_PORT 10000

// ---- connection strings

typedef enum {
    K_DEVELOPMENT,
    K_PROXY,
    K_PROTOCOL,
    K_NAME,
    K_KEY,
    K_KEY_NAME,
    K_SAS,
    K_SUFFIX,
    K_BLOB,
    K_COUNT_USED, // what follows is known and not needed
} part;

static const char *const part_names[] = {"UseDevelopmentStorage",
                                         "DevelopmentStorageProxyUri",
                                         "DefaultEndpointsProtocol",
                                         "AccountName",
                                         "AccountKey",
                                         "AccountKeyName",
                                         "SharedAccessSignature",
                                         "EndpointSuffix",
                                         "BlobEndpoint",
                                         "QueueEndpoint",
                                         "TableEndpoint",
                                         "FileEndpoint",
                                         "BlobSecondaryEndpoint",
                                         "QueueSecondaryEndpoint",
                                         "TableSecondaryEndpoint",
                                         "FileSecondaryEndpoint"};

typedef struct {
    char *value[ARRAY_LEN(part_names)]; // NULL: absent
} parts;

static void parts_deinit(parts *p) {
    for (size_t i = 0; i < ARRAY_LEN(p->value); i++) {
        if (p->value[i]) explicit_bzero(p->value[i], strlen(p->value[i]));
        mem_free(p->value[i]);
    }
}

static bool blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Without blanks around, and without one pair of quotes around: secrets that went through a shell,
// a .env file or a mounted file bring both.
static bytes trim(const char *s, size_t n) {
    while (n && blank(*s)) s++, n--;
    while (n && blank(s[n - 1])) n--;
    return (bytes){(const uint8_t *)s, n};
}

static bytes trim_quoted(const char *s) {
    bytes t = trim(s, strlen(s));
    bool quoted = t.n >= 2 && t.p[0] == t.p[t.n - 1] && (t.p[0] == '"' || t.p[0] == '\'');
    return quoted ? trim((const char *)t.p + 1, t.n - 2) : t;
}

static status take_part(parts *p, bytes piece, err *e) {
    const char *s = (const char *)piece.p;
    const char *equals = memchr(s, '=', piece.n); // the first one: keys end in "=="
    if (!equals) return err_set(e, ERR_ARG, "connection string: a part without '='");
    bytes name = trim(s, (size_t)(equals - s));
    bytes value = trim(equals + 1, piece.n - (size_t)(equals - s) - 1);
    for (size_t i = 0; i < ARRAY_LEN(part_names); i++) {
        if (strlen(part_names[i]) != name.n ||
            strncasecmp((const char *)name.p, part_names[i], name.n)) {
            continue;
        }
        if (p->value[i]) return err_set(e, ERR_ARG, "connection string: %s twice", part_names[i]);
        p->value[i] = mem_strndup((const char *)value.p, value.n);
        return p->value[i] ? OK : err_set(e, ERR_OOM, "connection string");
    }
    log_warn("azure", "connection string: unknown name '%.*s' is ignored", (int)MIN(name.n, 60u),
             (const char *)name.p);
    return OK;
}

static status split(parts *p, const char *text, err *e) {
    bytes t = trim_quoted(text);
    const char *s = (const char *)t.p, *end = s + t.n;
    while (s < end) {
        const char *semi = memchr(s, ';', (size_t)(end - s));
        const char *stop = semi ? semi : end;
        bytes piece = trim(s, (size_t)(stop - s));
        s = semi ? semi + 1 : end;
        if (!piece.n) continue;
        status rc = take_part(p, piece, e);
        if (rc) return rc;
    }
    return OK;
}

static status set_key(azure_account *a, const char *text, err *e) {
    a->key_len = sizeof a->key;
    if (base64_decode(a->key, &a->key_len, bytes_of(text), NULL) || a->key_len == 0) {
        return err_set(e, ERR_ARG, "connection string: AccountKey is no base64 of 1 to %d bytes",
                       AZURE_KEY_MAX);
    }
    a->auth = AZURE_SHARED_KEY;
    return OK;
}

static status set_name(azure_account *a, const char *name, err *e) {
    size_t n = strlen(name);
    bool ok = n >= 1 && n < AZURE_ACCOUNT_MAX;
    for (size_t i = 0; ok && i < n; i++) {
        ok = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') ||
             name[i] == '-';
    }
    if (!ok) {
        return err_set(e, ERR_ARG,
                       "connection string: AccountName must be lower-case letters and "
                       "digits");
    }
    memcpy(a->name, name, n + 1);
    return OK;
}

static status set_sas(azure_account *a, const char *sas, err *e) {
    if (*sas == '?') sas++;
    if (!strstr(sas, "sig=")) {
        return err_set(e, ERR_ARG, "connection string: SharedAccessSignature has no sig=");
    }
    mem_free(a->sas);
    a->sas = mem_strdup(sas);
    if (!a->sas) return err_set(e, ERR_OOM, "connection string");
    if (a->auth == AZURE_ANONYMOUS) a->auth = AZURE_SAS;
    return OK;
}

// Stores an endpoint URL. A query in it is a SAS.
static status set_endpoint(azure_account *a, const char *url, err *e) {
    fetch_url *u = mem_alloc(sizeof *u);
    if (!u) return err_set(e, ERR_OOM, "connection string");
    status rc = fetch_url_parse(u, url, e);
    if (rc) {
        err_within(e, rc, "connection string: BlobEndpoint");
    } else {
        char origin[300];
        buf text;
        fetch_url_origin(u, origin, sizeof origin);
        buf_init(&text, FETCH_URL_MAX);
        buf_printf(&text, "%s%s", origin, u->path);
        while (text.n && text.p[text.n - 1] == '/') text.p[--text.n] = 0;
        rc = buf_status(&text, e);
        a->endpoint = buf_take(&text);
        buf_deinit(&text);
    }
    if (!rc && u->query[0]) rc = set_sas(a, u->query, e);
    mem_free(u);
    return rc;
}

// The emulator: name, key and ports are fixed; a proxy URI changes scheme and host.
static status use_emulator(azure_account *a, const parts *p, err *e) {
    const char *on = p->value[K_DEVELOPMENT];
    if (strcasecmp(on, "true")) {
        return err_set(e, ERR_ARG, "connection string: UseDevelopmentStorage must be true");
    }
    char url[400] = "http://127.0.0.1";
    status rc = OK;
    if (p->value[K_PROXY]) {
        fetch_url *u = mem_alloc(sizeof *u);
        if (!u) return err_set(e, ERR_OOM, "connection string");
        rc = fetch_url_parse(u, p->value[K_PROXY], e);
        if (rc) err_within(e, rc, "connection string: DevelopmentStorageProxyUri");
        bool v6 = !rc && strchr(u->host, ':');
        if (!rc) {
            snprintf(url, sizeof url, "%s://%s%s%s", u->scheme, v6 ? "[" : "", u->host,
                     v6 ? "]" : "");
        }
        mem_free(u);
    }
    size_t n = strlen(url);
    snprintf(url + n, sizeof url - n, ":%d/%s", EMULATOR_PORT, EMULATOR_NAME);
    if (!rc) rc = set_name(a, EMULATOR_NAME, e);
    if (!rc) rc = set_key(a, EMULATOR_KEY, e);
    return rc ? rc : set_endpoint(a, url, e);
}

static status derive_endpoint(azure_account *a, const parts *p, err *e) {
    const char *protocol = p->value[K_PROTOCOL] ? p->value[K_PROTOCOL] : "https";
    const char *suffix = p->value[K_SUFFIX] ? p->value[K_SUFFIX] : "core.windows.net";
    if (strcasecmp(protocol, "http") && strcasecmp(protocol, "https")) {
        return err_set(e, ERR_ARG,
                       "connection string: DefaultEndpointsProtocol must be http or "
                       "https");
    }
    if (!a->name[0]) {
        return err_set(e, ERR_ARG, "connection string: neither BlobEndpoint nor AccountName");
    }
    char url[400];
    snprintf(url, sizeof url, "%s://%s.blob.%.250s", protocol, a->name, suffix);
    return set_endpoint(a, url, e);
}

static status fill(azure_account *a, const parts *p, err *e) {
    if (p->value[K_DEVELOPMENT]) return use_emulator(a, p, e);
    if (p->value[K_PROXY]) {
        return err_set(e, ERR_ARG,
                       "connection string: DevelopmentStorageProxyUri goes with "
                       "UseDevelopmentStorage=true only");
    }
    if (p->value[K_KEY] && p->value[K_SAS]) {
        return err_set(e, ERR_ARG,
                       "connection string: AccountKey and SharedAccessSignature "
                       "exclude each other");
    }
    if (p->value[K_KEY] && !p->value[K_NAME]) {
        return err_set(e, ERR_ARG, "connection string: AccountKey without AccountName");
    }
    status rc = OK;
    if (p->value[K_NAME]) rc = set_name(a, p->value[K_NAME], e);
    if (!rc && p->value[K_KEY]) rc = set_key(a, p->value[K_KEY], e);
    if (!rc && p->value[K_SAS]) rc = set_sas(a, p->value[K_SAS], e);
    if (rc) return rc;
    if (p->value[K_BLOB]) return set_endpoint(a, p->value[K_BLOB], e);
    if (a->auth == AZURE_ANONYMOUS) {
        return err_set(e, ERR_ARG,
                       "connection string: no AccountKey, SharedAccessSignature or "
                       "BlobEndpoint");
    }
    return derive_endpoint(a, p, e);
}

status azure_account_parse(azure_account *a, const char *text, err *e) {
    *a = (azure_account){0};
    parts p = {0};
    status rc = split(&p, text, e);
    if (!rc) rc = fill(a, &p, e);
    parts_deinit(&p);
    if (rc) azure_account_deinit(a);
    return rc;
}

void azure_account_deinit(azure_account *a) {
    if (a->sas) explicit_bzero(a->sas, strlen(a->sas));
    mem_free(a->sas);
    mem_free(a->endpoint);
    explicit_bzero(a, sizeof *a);
}

static const char *env(const char *name) {
    const char *v = getenv(name);
    return v && v[0] ? v : NULL;
}

azure_identity azure_identity_from_env(void) {
    return (azure_identity){.account = env("AZURE_STORAGE_ACCOUNT"),
                            .endpoint = env("AZURE_STORAGE_BLOB_ENDPOINT"),
                            .client_id = env("AZURE_CLIENT_ID"),
                            .tenant_id = env("AZURE_TENANT_ID"),
                            .token_file = env("AZURE_FEDERATED_TOKEN_FILE"),
                            .authority = env("AZURE_AUTHORITY_HOST"),
                            .imds = env("AZURE_POD_IDENTITY_AUTHORITY_HOST")};
}

// ---- Shared Key
// https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key

// A line of the string-to-sign that is a standard header: empty when it is not sent.
static void add_header_line(buf *out, const azure_to_sign *q, const char *name) {
    for (size_t i = 0; i < q->header_count; i++) {
        if (strcasecmp(q->headers[i].name, name) == 0) buf_add_str(out, q->headers[i].value);
    }
    buf_add_char(out, '\n');
}

typedef struct {
    char *name;  // lower case
    char *value; // trimmed or decoded
} pair;

static int pair_order(const void *a, const void *b) {
    const pair *x = a, *y = b;
    int by_name = strcmp(x->name, y->name);
    return by_name ? by_name : strcmp(x->value, y->value);
}

static void pairs_free(pair *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        mem_free(p[i].name);
        mem_free(p[i].value);
    }
    mem_free(p);
}

static void to_lower(char *s) {
    for (; *s; s++) {
        if (*s >= 'A' && *s <= 'Z') *s = (char)(*s + ('a' - 'A'));
    }
}

static bool pair_fill(pair *p, bytes name, bytes value) {
    p->name = mem_strndup((const char *)name.p, name.n);
    p->value = mem_strndup((const char *)value.p, value.n);
    if (p->name) to_lower(p->name);
    return p->name && p->value;
}

// The service sorts by culture, where hyphens weigh nothing at first. For the names we send ASCII
// order is the same; metadata names, which are the caller's, must not have hyphens.
static status add_ms_headers(buf *out, const azure_to_sign *q, err *e) {
    size_t n = 0;
    pair *p = mem_calloc(q->header_count + 1, sizeof *p);
    if (!p) return err_set(e, ERR_OOM, "signature");
    bool ok = true;
    for (size_t i = 0; ok && i < q->header_count; i++) {
        const fetch_header *h = &q->headers[i];
        if (strncasecmp(h->name, "x-ms-", 5)) continue;
        ok = pair_fill(&p[n++], bytes_of(h->name), trim(h->value, strlen(h->value)));
    }
    if (ok) qsort(p, n, sizeof *p, pair_order);
    for (size_t i = 0; ok && i < n; i++) buf_printf(out, "%s:%s\n", p[i].name, p[i].value);
    pairs_free(p, n);
    return ok ? OK : err_set(e, ERR_OOM, "signature");
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// Undoes percent-encoding in place.
static void unescape(char *s) {
    char *to = s;
    while (*s) {
        int hi = s[0] == '%' ? hex_value(s[1]) : -1;
        int lo = hi >= 0 ? hex_value(s[2]) : -1;
        if (lo >= 0) {
            *to++ = (char)(hi * 16 + lo);
            s += 3;
        } else {
            *to++ = *s++;
        }
    }
    *to = 0;
}

// Fills p from "a=b&c=d"; *n counts also the pair that failed.
static bool query_pairs(const char *query, pair *p, size_t *n) {
    for (const char *s = query; *s;) {
        size_t len = strcspn(s, "&");
        const char *equals = memchr(s, '=', len);
        size_t name = equals ? (size_t)(equals - s) : len;
        size_t skip = MIN(name + 1, len);
        if (len) {
            pair *next = &p[(*n)++];
            if (!pair_fill(next, (bytes){(const uint8_t *)s, name},
                           (bytes){(const uint8_t *)s + skip, len - skip})) {
                return false;
            }
            unescape(next->name);
            unescape(next->value);
        }
        s += len + (s[len] == '&');
    }
    return true;
}

static status add_resource(buf *out, const azure_to_sign *q, const char *account, err *e) {
    buf_printf(out, "/%s%s", account, q->path);
    size_t room = 1, n = 0;
    for (const char *s = q->query; *s; s++) room += *s == '&';
    pair *p = mem_calloc(room, sizeof *p);
    if (!p) return err_set(e, ERR_OOM, "signature");
    bool ok = query_pairs(q->query, p, &n);
    if (ok) qsort(p, n, sizeof *p, pair_order);
    for (size_t i = 0; ok && i < n; i++) {
        bool again = i && strcmp(p[i].name, p[i - 1].name) == 0;
        if (again) {
            buf_printf(out, ",%s", p[i].value);
        } else {
            buf_printf(out, "\n%s:%s", p[i].name, p[i].value);
        }
    }
    pairs_free(p, n);
    return ok ? OK : err_set(e, ERR_OOM, "signature");
}

status azure_string_to_sign(const azure_to_sign *q, const char *account, buf *out, err *e) {
    buf_printf(out, "%s\n", q->verb);
    add_header_line(out, q, "Content-Encoding");
    add_header_line(out, q, "Content-Language");
    if (q->content_length > 0) buf_printf(out, "%lld", (long long)q->content_length);
    buf_add_char(out, '\n'); // 0 is signed as nothing since version 2015-02-21
    static const char *const names[] = {"Content-MD5",         "Content-Type", "Date",
                                        "If-Modified-Since",   "If-Match",     "If-None-Match",
                                        "If-Unmodified-Since", "Range"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) add_header_line(out, q, names[i]);
    status rc = add_ms_headers(out, q, e);
    if (!rc) rc = add_resource(out, q, account, e);
    return rc ? rc : buf_status(out, e);
}

// base64(HMAC-SHA256(key, text)).
#define SIGNATURE_SIZE base64_encoded_size(SHA256_LEN)
static status sign(bytes key, bytes text, char out[SIGNATURE_SIZE], err *e) {
    uint8_t mac[SHA256_LEN];
    status rc = hash_hmac_sha256(mac, key, text, e);
    if (!rc) base64_encode(out, (bytes){mac, sizeof mac});
    return rc;
}

status azure_authorization(const azure_account *a, const azure_to_sign *q, buf *out, err *e) {
    buf text;
    char signature[SIGNATURE_SIZE];
    buf_init(&text, (size_t)64 << 10);
    status rc = azure_string_to_sign(q, a->name, &text, e);
    if (!rc) rc = sign((bytes){a->key, a->key_len}, buf_bytes(&text), signature, e);
    if (!rc) buf_printf(out, "SharedKey %s:%s", a->name, signature);
    buf_deinit(&text);
    return rc ? rc : buf_status(out, e);
}

// ---- SAS
// https://learn.microsoft.com/rest/api/storageservices/create-service-sas
// https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas

static void add_pair(buf *out, const char *name, const char *value) {
    if (out->n) buf_add_char(out, '&');
    buf_printf(out, "%s=", name);
    fetch_escape(out, bytes_of(value), "");
}

typedef struct {
    char start[OS_TIME_SIZE], expiry[OS_TIME_SIZE];
    const char *protocol; // "https" or ""
} sas_life;

static sas_life life_of(int64_t start_ms, int64_t end_ms, bool https_only) {
    sas_life l = {.protocol = https_only ? "https" : ""};
    os_time_text(l.start, start_ms, false);
    os_time_text(l.expiry, end_ms, false);
    return l;
}

// The parameters that both kinds end with.
static void add_common(buf *out, const sas_life *l, const char *signature) {
    add_pair(out, "sp", "r");
    add_pair(out, "st", l->start);
    add_pair(out, "se", l->expiry);
    if (l->protocol[0]) add_pair(out, "spr", l->protocol);
    add_pair(out, "sv", AZURE_VERSION);
    add_pair(out, "sr", "b");
    add_pair(out, "sig", signature);
}

status azure_sas_read(const azure_account *a, const char *container, const char *blob,
                      int64_t start_ms, int64_t end_ms, bool https_only, buf *out, err *e) {
    if (a->auth != AZURE_SHARED_KEY) return err_set(e, ERR_ARG, "a SAS needs the account key");
    sas_life l = life_of(start_ms, end_ms, https_only);
    char signature[SIGNATURE_SIZE];
    buf text, query;
    buf_init(&text, 8192);
    buf_init(&query, 2048);
    // sp st se resource si sip spr sv sr snapshot ses rscc rscd rsce rscl rsct
    buf_printf(&text, "r\n%s\n%s\n/blob/%s/%s/%s\n\n\n%s\n%s\nb\n\n\n\n\n\n\n", l.start, l.expiry,
               a->name, container, blob, l.protocol, AZURE_VERSION);
    status rc = buf_status(&text, e);
    if (!rc) rc = sign((bytes){a->key, a->key_len}, buf_bytes(&text), signature, e);
    if (!rc) {
        add_common(&query, &l, signature);
        rc = buf_status(&query, e);
    }
    if (!rc) buf_add(out, query.p, query.n);
    buf_deinit(&text);
    buf_deinit(&query);
    return rc ? rc : buf_status(out, e);
}

status azure_sas_read_delegated(const azure_account *a, const azure_delegation *d,
                                const char *container, const char *blob, int64_t start_ms,
                                int64_t end_ms, bool https_only, buf *out, err *e) {
    sas_life l = life_of(start_ms, end_ms, https_only);
    char signature[SIGNATURE_SIZE];
    buf text, query;
    buf_init(&text, 8192);
    buf_init(&query, 2048);
    // sp st se resource skoid sktid skt ske sks skv saoid suoid scid sip spr sv sr snapshot ses
    // rscc rscd rsce rscl rsct
    buf_printf(&text,
               "r\n%s\n%s\n/blob/%s/%s/%s\n%s\n%s\n%s\n%s\n%s\n%s\n\n\n\n\n%s\n%s\nb\n\n\n"
               "\n\n\n\n",
               l.start, l.expiry, a->name, container, blob, d->oid, d->tid, d->start, d->expiry,
               d->service, d->version, l.protocol, AZURE_VERSION);
    status rc = buf_status(&text, e);
    if (!rc) rc = sign((bytes){d->value, d->value_len}, buf_bytes(&text), signature, e);
    if (!rc) {
        add_pair(&query, "skoid", d->oid);
        add_pair(&query, "sktid", d->tid);
        add_pair(&query, "skt", d->start);
        add_pair(&query, "ske", d->expiry);
        add_pair(&query, "sks", d->service);
        add_pair(&query, "skv", d->version);
        add_common(&query, &l, signature);
        rc = buf_status(&query, e);
    }
    if (!rc) buf_add(out, query.p, query.n);
    buf_deinit(&text);
    buf_deinit(&query);
    return rc ? rc : buf_status(out, e);
}
