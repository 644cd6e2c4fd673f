// azure_token.c - bearer tokens without keys, and the key that signs SAS links with them.
//
// Workload identity (AKS): the federated token file is exchanged at the authority. Managed
// identity: the machine's metadata service gives one. A token is kept until five minutes before its
// end, or half its life; one thread refreshes, the others wait for it.
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "store/azure_inside.h"

#define TOKEN_EARLY_MS (5 * 60 * 1000)
#define TOKEN_FILE_MAX ((size_t)64 << 10)
#define TOKEN_ANSWER_MAX ((size_t)64 << 10)
#define TOKEN_TRIES_MAX 6
#define IMDS_CONNECT_MS 1000
#define DELEGATION_MS ((int64_t)(7 * 24 - 1) * 3600 * 1000) // the service allows 7 days
#define SCOPE "https://storage.azure.com/.default"
#define RESOURCE "https://storage.azure.com/"

// ---- answers

// expires_in is a number at the authority and a string at the metadata service.
static bool read_seconds(const json *j, int64_t *out) {
    const json *v = json_find(j, "expires_in");
    *out = 0;
    if (json_is_int(v)) {
        *out = json_int_value(v);
    } else if (json_is_str(v)) {
        const char *s = json_str_value(v);
        size_t n = strlen(s);
        if (n == 0 || n > 9 || strspn(s, "0123456789") != n) return false;
        for (; *s; s++) *out = *out * 10 + (*s - '0');
    }
    return *out > 0 && *out < 1000000000;
}

static status token_read(azure_client *c, const fetch_response *r, int64_t now_ms, err *e) {
    json *j = NULL;
    int64_t seconds;
    status rc = json_parse(&j, buf_bytes(&r->body), TOKEN_ANSWER_MAX, e);
    if (rc) return rc;
    const char *token = json_str_value(json_find(j, "access_token"));
    if (!token || !token[0] || strlen(token) >= AZURE_TOKEN_MAX) {
        rc = err_set(e, ERR_FORMAT, "token: the answer has no access_token");
    } else if (!read_seconds(j, &seconds)) {
        rc = err_set(e, ERR_FORMAT, "token: the answer has no expires_in");
    } else if (!(c->token = mem_strdup(token))) {
        rc = err_set(e, ERR_OOM, "token");
    } else {
        c->token_from_ms = now_ms;
        c->token_until_ms = now_ms + seconds * 1000;
    }
    json_free(j);
    return rc;
}

// ---- asking

// Authorities must be https; http only on this machine, for tests.
static status check_authority(const char *url, err *e) {
    bool ok = strncmp(url, "https://", 8) == 0 || strncmp(url, "http://127.0.0.1:", 17) == 0 ||
              strncmp(url, "http://localhost:", 17) == 0;
    return ok ? OK : err_set(e, ERR_ARG, "token: AZURE_AUTHORITY_HOST must be https");
}

static void form_add(buf *b, const char *name, bytes value) {
    buf_printf(b, "%s%s=", b->n ? "&" : "", name);
    fetch_escape(b, value, "");
}

// Read anew each time: the file is replaced about once an hour.
static status read_assertion(const char *path, buf *out, err *e) {
    FILE *f = fopen(path, "re");
    if (!f) return err_errno(e, "token: open %s", path);
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, f));) buf_add(out, piece, n);
    bool bad = ferror(f) != 0;
    fclose(f);
    while (out->n && strchr("\r\n \t", out->p[out->n - 1])) out->p[--out->n] = 0;
    if (bad) return err_set(e, ERR_IO, "token: cannot read %s", path);
    return buf_status(out, e);
}

static status workload_form(const azure_client *c, buf *form, err *e) {
    buf assertion;
    buf_init(&assertion, TOKEN_FILE_MAX);
    status rc = read_assertion(c->identity.token_file, &assertion, e);
    if (!rc) {
        form_add(form, "grant_type", bytes_of("client_credentials"));
        form_add(form, "client_id", bytes_of(c->identity.client_id));
        form_add(form, "client_assertion_type",
                 bytes_of("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
        form_add(form, "client_assertion", buf_bytes(&assertion));
        form_add(form, "scope", bytes_of(SCOPE));
        rc = buf_status(form, e);
    }
    if (assertion.p) explicit_bzero(assertion.p, assertion.n);
    buf_deinit(&assertion);
    return rc;
}

static status ask(azure_client *c, azure_exchange *x, int64_t now_ms, err *e) {
    fetch_response r;
    char code[AZURE_CODE_MAX];
    x->q.response_max = TOKEN_ANSWER_MAX;
    x->q.ca_file = c->ca_file;
    x->tries_max = TOKEN_TRIES_MAX;
    status rc = azure_exchange_run(c, x, &r, code, e);
    if (rc) {
        // Without a token nothing is lost yet: whoever waits for storage may wait for this.
        if (rc != ERR_OOM && rc != ERR_CANCELED) rc = ERR_BUSY;
        err_within(e, rc, "token");
    } else {
        rc = token_read(c, &r, now_ms, e);
    }
    fetch_response_deinit(&r);
    return rc;
}

static status ask_authority(azure_client *c, int64_t now_ms, err *e) {
    buf url, form;
    buf_init(&url, FETCH_URL_MAX);
    buf_init(&form, 2 * TOKEN_FILE_MAX);
    size_t n = strlen(c->identity.authority);
    while (n && c->identity.authority[n - 1] == '/') n--;
    buf_printf(&url, "%.*s/", (int)n, c->identity.authority);
    fetch_escape(&url, bytes_of(c->identity.tenant_id), "");
    buf_add_str(&url, "/oauth2/v2.0/token");
    status rc = check_authority(c->identity.authority, e);
    if (!rc) rc = buf_status(&url, e);
    if (!rc) rc = workload_form(c, &form, e);
    if (!rc) {
        fetch_header type = {"Content-Type", "application/x-www-form-urlencoded"};
        azure_exchange x = {.q = fetch_request_default()};
        x.q.method = "POST";
        x.q.url = buf_str(&url);
        x.q.headers = &type;
        x.q.header_count = 1;
        x.q.body = buf_bytes(&form);
        rc = ask(c, &x, now_ms, e);
    }
    if (form.p) explicit_bzero(form.p, form.n);
    buf_deinit(&form);
    buf_deinit(&url);
    return rc;
}

static status ask_imds(azure_client *c, int64_t now_ms, err *e) {
    buf url;
    buf_init(&url, FETCH_URL_MAX);
    buf_printf(&url, "%s/metadata/identity/oauth2/token?api-version=2018-02-01&resource=",
               c->identity.imds);
    fetch_escape(&url, bytes_of(RESOURCE), "");
    if (c->identity.client_id) form_add(&url, "client_id", bytes_of(c->identity.client_id));
    status rc = buf_status(&url, e);
    if (!rc) {
        fetch_header metadata = {"Metadata", "true"};
        azure_exchange x = {.q = fetch_request_default(), .imds = true};
        x.q.url = buf_str(&url);
        x.q.headers = &metadata;
        x.q.header_count = 1;
        x.q.connect_ms = IMDS_CONNECT_MS;
        rc = ask(c, &x, now_ms, e);
    }
    buf_deinit(&url);
    return rc;
}

static void drop(azure_client *c) {
    if (c->token) explicit_bzero(c->token, strlen(c->token));
    mem_free(c->token);
    c->token = NULL;
}

static bool fresh(const azure_client *c, int64_t now_ms) {
    if (!c->token) return false;
    int64_t life = c->token_until_ms - c->token_from_ms;
    return now_ms < c->token_until_ms - MIN(TOKEN_EARLY_MS, life / 2);
}

// token_mu is held.
static status refresh(azure_client *c, int64_t now_ms, err *e) {
    char *old = c->token;
    c->token = NULL;
    status rc =
        c->account.auth == AZURE_WORKLOAD ? ask_authority(c, now_ms, e) : ask_imds(c, now_ms, e);
    if (rc && old && now_ms < c->token_until_ms) { // early on purpose: the old one still serves
        c->token = old;
        log_warn("azure", "a new token is not to be had yet");
        return OK;
    }
    if (old) explicit_bzero(old, strlen(old));
    mem_free(old);
    return rc;
}

status azure_token_get(azure_client *c, char *out, size_t cap, err *e) {
    int64_t now_ms = azure_client_now_ms(c);
    pthread_mutex_lock(&c->token_mu);
    status rc = fresh(c, now_ms) ? OK : refresh(c, now_ms, e);
    if (!rc) snprintf(out, cap, "%s", c->token);
    pthread_mutex_unlock(&c->token_mu);
    return rc;
}

void azure_token_drop(azure_client *c) {
    pthread_mutex_lock(&c->token_mu);
    drop(c);
    pthread_mutex_unlock(&c->token_mu);
}

// ---- user delegation keys

static status delegation_read(const char *xml, azure_delegation *d, err *e) {
    char value[base64_encoded_size(AZURE_KEY_MAX)];
    bool ok = azure_xml_find(xml, "SignedOid", d->oid, sizeof d->oid) &&
              azure_xml_find(xml, "SignedTid", d->tid, sizeof d->tid) &&
              azure_xml_find(xml, "SignedStart", d->start, sizeof d->start) &&
              azure_xml_find(xml, "SignedExpiry", d->expiry, sizeof d->expiry) &&
              azure_xml_find(xml, "SignedService", d->service, sizeof d->service) &&
              azure_xml_find(xml, "SignedVersion", d->version, sizeof d->version) &&
              azure_xml_find(xml, "Value", value, sizeof value);
    d->value_len = sizeof d->value;
    if (!ok || base64_decode(d->value, &d->value_len, bytes_of(value), NULL)) {
        return err_set(e, ERR_FORMAT, "storage: the user delegation key is not as expected");
    }
    return OK;
}

static status delegation_ask(azure_client *c, int64_t now_ms, bool once, azure_delegation *d,
                             err *e) {
    char start[OS_TIME_SIZE], expiry[OS_TIME_SIZE], body[256];
    os_time_text(start, now_ms - TOKEN_EARLY_MS, false);
    os_time_text(expiry, now_ms + DELEGATION_MS, false);
    snprintf(body, sizeof body,
             "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>%s</Start><Expiry>%s"
             "</Expiry></KeyInfo>",
             start, expiry);
    fetch_header type = {"Content-Type", "application/xml"};
    azure_request q = {.verb = "POST",
                       .path = "/",
                       .query = "restype=service&comp=userdelegationkey",
                       .headers = &type,
                       .header_count = 1,
                       .body = bytes_of(body),
                       .once = once};
    fetch_response r;
    status rc = azure_send(c, &q, &r, NULL, e);
    if (!rc) rc = delegation_read(buf_str(&r.body), d, e);
    fetch_response_deinit(&r);
    return rc;
}

status azure_delegation_get(azure_client *c, int64_t now_ms, int64_t until_ms, bool once,
                            azure_delegation *out, err *e) {
    if (c->account.auth < AZURE_WORKLOAD) {
        return err_set(e, ERR_ARG, "a delegation key needs an identity");
    }
    if (until_ms > now_ms + DELEGATION_MS) {
        return err_set(e, ERR_ARG, "a delegation key lives at most 167 hours");
    }
    pthread_mutex_lock(&c->token_mu);
    bool kept = until_ms <= c->delegation_until_ms;
    if (kept) *out = c->delegation;
    pthread_mutex_unlock(&c->token_mu);
    if (kept) return OK;
    status rc = delegation_ask(c, now_ms, once, out, e); // takes token_mu by itself
    if (rc) return rc;
    pthread_mutex_lock(&c->token_mu);
    c->delegation = *out;
    c->delegation_until_ms = now_ms + DELEGATION_MS;
    pthread_mutex_unlock(&c->token_mu);
    return OK;
}
