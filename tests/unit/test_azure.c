// test_azure.c - connection strings, signatures, retries, tokens: Azure without Azure. What the
// service makes of it is in tests/api/run-store.sh, with the emulator.
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "azure_script.h"
#include "base/mem.h"
#include "store/blob.h"

// ---- connection strings

typedef struct {
    const char *text, *name, *endpoint;
    azure_auth auth;
} good_string;

Test(azure, connection_strings_of_every_form_are_read) {
    static const good_string cases[] = {
        {"UseDevelopmentStorage=true", "devstoreaccount1",
         "http://127.0.0.1:10000/devstoreaccount1", AZURE_SHARED_KEY},
        {"UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite", "devstoreaccount1",
         "http://azurite:10000/devstoreaccount1", AZURE_SHARED_KEY},
        {"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey=" EMULATOR_KEY
         ";EndpointSuffix=core.windows.net",
         "acct", "https://acct.blob.core.windows.net", AZURE_SHARED_KEY},
        {"AccountName=acct;AccountKey=" EMULATOR_KEY, "acct", "https://acct.blob.core.windows.net",
         AZURE_SHARED_KEY},
        {"EndpointSuffix=core.chinacloudapi.cn;AccountKey=" EMULATOR_KEY
         ";AccountName=acct;DefaultEndpointsProtocol=http;",
         "acct", "http://acct.blob.core.chinacloudapi.cn", AZURE_SHARED_KEY},
        {"accountname=acct;ACCOUNTKEY=" EMULATOR_KEY ";blobendpoint=http://azurite:10000/acct/",
         "acct", "http://azurite:10000/acct", AZURE_SHARED_KEY}, // explicit wins; any case
        {" \"AccountName=acct ; AccountKey=" EMULATOR_KEY " ;;\"\r\n", "acct",
         "https://acct.blob.core.windows.net", AZURE_SHARED_KEY}, // as secrets arrive
        {"BlobEndpoint=https://acct.blob.core.windows.net/;SharedAccessSignature=?sv=1&sig=x%3D",
         "", "https://acct.blob.core.windows.net", AZURE_SAS},
        {"AccountName=acct;SharedAccessSignature=sv=1&sig=x", "acct",
         "https://acct.blob.core.windows.net", AZURE_SAS},
        {"BlobEndpoint=https://acct.blob.core.windows.net/?sv=1&sig=x", "",
         "https://acct.blob.core.windows.net", AZURE_SAS},
        {"BlobEndpoint=http://localhost:1/x;QueueEndpoint=http://q;TableEndpoint=t;FileEndpoint=f;"
         "BlobSecondaryEndpoint=s;AccountKeyName=n;Colour=blue",
         "", "http://localhost:1/x", AZURE_ANONYMOUS},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        azure_account a;
        err e = {.text = ""};
        cr_assert_eq(azure_account_parse(&a, cases[i].text, &e), OK, "%zu: %s", i, e.text);
        cr_assert_str_eq(a.name, cases[i].name, "%zu: %s", i, a.name);
        cr_assert_str_eq(a.endpoint, cases[i].endpoint, "%zu: %s", i, a.endpoint);
        cr_assert_eq(a.auth, cases[i].auth, "%zu: %d", i, a.auth);
        if (a.auth == AZURE_SHARED_KEY) cr_assert_eq(a.key_len, 64);
        if (a.auth == AZURE_SAS) cr_assert(strncmp(a.sas, "sv=1&sig=x", 10) == 0, "%s", a.sas);
        azure_account_deinit(&a);
    }
}

Test(azure, bad_connection_strings_are_refused_without_showing_secrets) {
    static const char *const cases[] = {
        "",
        ";;",
        "nonsense",
        "AccountName=acct",
        "AccountKey=" EMULATOR_KEY,
        "AccountName=acct;AccountKey=not*base64",
        "AccountName=acct;AccountKey=",
        "AccountName=acct;AccountName=acct;AccountKey=" EMULATOR_KEY,
        "AccountName=acct;AccountKey=" EMULATOR_KEY ";SharedAccessSignature=sig=x",
        "AccountName=Acct/..;AccountKey=" EMULATOR_KEY,
        "UseDevelopmentStorage=false",
        "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=x",
        "DevelopmentStorageProxyUri=http://x;AccountName=acct;AccountKey=" EMULATOR_KEY,
        "DefaultEndpointsProtocol=ftp;AccountName=acct;AccountKey=" EMULATOR_KEY,
        "AccountName=acct;AccountKey=" EMULATOR_KEY ";BlobEndpoint=ftp://x",
        "AccountName=acct;AccountKey=" EMULATOR_KEY ";BlobEndpoint=http://user:pw@x/",
        "AccountName=acct;SharedAccessSignature=sv=1",
        "DefaultEndpointsProtocol=https",
        "AccountName=acct;AccountKey=" EMULATOR_KEY ";EndpointSuffix=a b",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        azure_account a;
        err e = {.text = ""};
        cr_assert_eq(azure_account_parse(&a, cases[i], &e), ERR_ARG, "accepted: %s", cases[i]);
        cr_assert_null(strstr(e.text, "Eby8"), "%s", e.text);
        cr_assert_null(strstr(e.text, "not*"), "%s", e.text);
        cr_assert_neq(e.text[0], 0);
    }
}

Test(azure, parsing_survives_each_failed_allocation) {
    for (int n = 0;; n++) {
        azure_account a;
        mem_fail_after(n);
        status rc = azure_account_parse(
            &a, "AccountName=acct;BlobEndpoint=http://h:1/acct?sig=1;QueueEndpoint=q", NULL);
        mem_fail_after(-1);
        if (rc == OK) {
            azure_account_deinit(&a);
            cr_assert_gt(n, 5);
            break;
        }
        cr_assert_eq(rc, ERR_OOM);
    }
}

// ---- signatures

static azure_account emulator(void) {
    azure_account a;
    cr_assert_eq(azure_account_parse(&a, "UseDevelopmentStorage=true", NULL), OK);
    return a;
}

Test(azure, string_to_sign_is_that_of_the_documentation) {
    // The example of "Authorize with Shared Key" in the REST reference.
    fetch_header headers[] = {{"x-ms-version", "2015-02-21"},
                              {"X-MS-Date", " Fri, 26 Jun 2015 23:39:12 GMT "}};
    azure_to_sign q = {.verb = "GET",
                       .path = "/mycontainer",
                       .query = "restype=container&comp=metadata&timeout=20",
                       .headers = headers,
                       .header_count = 2};
    buf b;
    buf_init(&b, 2000);
    cr_assert_eq(azure_string_to_sign(&q, "myaccount", &b, NULL), OK);
    cr_assert_str_eq(buf_str(&b), "GET\n\n\n\n\n\n\n\n\n\n\n\n"
                                  "x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\n"
                                  "x-ms-version:2015-02-21\n"
                                  "/myaccount/mycontainer\ncomp:metadata\nrestype:container\n"
                                  "timeout:20");
    buf_clear(&b);
    azure_account a = emulator();
    strcpy(a.name, "myaccount");
    cr_assert_eq(azure_authorization(&a, &q, &b, NULL), OK);
    // Of the string above with the emulator's key, by Python's hmac.
    cr_assert_str_eq(buf_str(&b),
                     "SharedKey myaccount:1u9lui2jDxj0+fpbHjQ5m5NnastJRSYM+PSmfi8TXx4=");
    buf_deinit(&b);
    azure_account_deinit(&a);
}

Test(azure, string_to_sign_has_a_line_for_each_header_and_decoded_queries) {
    fetch_header headers[] = {{"If-None-Match", "*"},      {"Content-Type", "audio/wav"},
                              {"Content-MD5", "bWQ1"},     {"Range", "bytes=0-9"},
                              {"x-ms-blob-type", "Block"}, {"Content-Encoding", "gzip"}};
    azure_to_sign q = {.verb = "PUT",
                       .path = "/devstoreaccount1/c/b%20c",
                       .query = "comp=block&BlockId=QUE%3D&x=b&x=a&empty",
                       .headers = headers,
                       .header_count = ARRAY_LEN(headers),
                       .content_length = 12};
    buf b;
    buf_init(&b, 2000);
    cr_assert_eq(azure_string_to_sign(&q, "devstoreaccount1", &b, NULL), OK);
    cr_assert_str_eq(buf_str(&b),
                     "PUT\ngzip\n\n12\nbWQ1\naudio/wav\n\n\n\n*\n\nbytes=0-9\n"
                     "x-ms-blob-type:Block\n/devstoreaccount1/devstoreaccount1/c/b%20c\n"
                     "blockid:QUE=\ncomp:block\nempty:\nx:a,b");
    buf_deinit(&b);
}

Test(azure, sas_of_one_blob_is_signed_as_documented) {
    // Signatures by Python's hmac over the fields of "Create a service SAS", version 2020-12-06 on.
    azure_account a = emulator();
    buf b;
    buf_init(&b, 2000);
    cr_assert_eq(azure_sas_read(&a, "audio-files", "a/x.wav", T0, T0 + 3600000, true, &b, NULL),
                 OK);
    cr_assert_str_eq(buf_str(&b), "sp=r&st=2024-02-29T12%3A34%3A56Z&se=2024-02-29T13%3A34%3A56Z&"
                                  "spr=https&sv=2021-12-02&sr=b&"
                                  "sig=ilTSCMYlU2AVxg14iQbxfblduQdIJNWZ1FNWh%2FFxGBE%3D");
    buf_clear(&b);
    cr_assert_eq(azure_sas_read(&a, "audio-files", "a/x.wav", T0, T0 + 3600000, false, &b, NULL),
                 OK);
    cr_assert_not_null(
        strstr(buf_str(&b), "&sig=3KyR8FmzBND%2B4w%2BXtwjU5mTe47wfs%2BzawJYmIIAO0Us%3D"));
    cr_assert_null(strstr(buf_str(&b), "spr="));
    buf_clear(&b);
    azure_delegation d = {.oid = "oid1",
                          .tid = "tid1",
                          .start = "2024-02-29T12:00:00Z",
                          .expiry = "2024-03-01T12:00:00Z",
                          .service = "b",
                          .version = "2021-12-02"};
    memcpy(d.value, a.key, a.key_len);
    d.value_len = a.key_len;
    cr_assert_eq(azure_sas_read_delegated(&a, &d, "audio-files", "a/x.wav", T0, T0 + 3600000, true,
                                          &b, NULL),
                 OK);
    cr_assert_not_null(
        strstr(buf_str(&b), "&sig=TdPTW%2BUM%2F0LlrJCzlVIlLJxxzc78GZ%2F6FuUMVDqo5cM%3D"));
    cr_assert_not_null(strstr(buf_str(&b), "skoid=oid1&sktid=tid1&skt="));
    buf_deinit(&b);
    azure_account_deinit(&a);
}

// ---- retries

Test(azure, outage_is_retried_with_growing_jittered_delays_and_then_busy) {
    script s = {0};
    for (int i = 0; i < SCRIPT_MAX; i++) s.answer[i].code = 503;
    script_open(&s);
    err e;
    char code[AZURE_CODE_MAX];
    cr_assert_eq(script_put(&s, code, &e), ERR_BUSY);
    cr_assert_eq(s.count, 6);
    cr_assert_eq(s.sleeps, 5);
    for (int i = 0; i < 5; i++) {
        cr_assert_geq(s.slept[i], 0);
        cr_assert_lt(s.slept[i], INT64_C(800) << i);
    }
    azure_counts n;
    azure_read_counts(s.client, &n);
    cr_assert_eq(n.tries, 6);
    cr_assert_eq(n.retries, 5);
    script_close(&s);
}

Test(azure, what_passes_is_retried_until_it_does) {
    static const struct {
        int code;
        const char *headers;
    } passing[] = {{500, ""},
                   {502, ""},
                   {503, "x-ms-error-code: ServerBusy\r\n"},
                   {504, ""},
                   {408, ""},
                   {429, "Retry-After: 7\r\n"},
                   {409, ""},
                   {409, "x-ms-error-code: ContainerBeingDeleted\r\n"},
                   {400, "x-ms-error-code: OperationTimedOut\r\n"},
                   {0, ""},
                   {-1, ""}};
    for (size_t i = 0; i < ARRAY_LEN(passing); i++) {
        script s = {0};
        s.answer[0].code = passing[i].code, s.answer[0].headers = passing[i].headers;
        s.answer[1].code = 201;
        script_open(&s);
        err e = {.text = ""};
        cr_assert_eq(script_put(&s, NULL, &e), OK, "%d: %s", passing[i].code, e.text);
        cr_assert_geq(s.count, 2);
        cr_assert_eq(s.body_n[1], 5);
        if (passing[i].code == 429) cr_assert_eq(s.slept[0], 7000);
        script_close(&s);
    }
}

Test(azure, what_stays_is_not_retried) {
    static const struct {
        int code;
        const char *headers, *body, *want_code;
        status want;
    } cases[] = {
        {400, "x-ms-error-code: InvalidHeaderValue\r\n", "", "InvalidHeaderValue", ERR_ARG},
        {404, "", "<Error><Code>BlobNotFound</Code></Error>", "BlobNotFound", ERR_NOT_FOUND},
        {409, "x-ms-error-code: BlobAlreadyExists\r\n", "", "BlobAlreadyExists", ERR_CONFLICT},
        {412, "x-ms-error-code: ConditionNotMet\r\n", "", "ConditionNotMet", ERR_CONFLICT},
        {500, "x-ms-error-code: FeatureNotSupported\r\n", "", "FeatureNotSupported", ERR_IO},
        {403, "x-ms-error-code: KeyBasedAuthenticationNotPermitted\r\n", "",
         "KeyBasedAuthenticationNotPermitted", ERR_BUSY},
        {503, "Retry-After: 3600\r\n", "", "", ERR_BUSY}}; // too long to wait for here
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        script s = {0};
        s.answer[0].code = cases[i].code;
        s.answer[0].headers = cases[i].headers, s.answer[0].body = cases[i].body;
        script_open(&s);
        err e = {.text = ""};
        char code[AZURE_CODE_MAX];
        cr_assert_eq(script_put(&s, code, &e), cases[i].want, "%zu: %s", i, e.text);
        cr_assert_str_eq(code, cases[i].want_code);
        cr_assert_eq(s.count, 1);
        cr_assert_null(strstr(e.text, "sig"));
        if (cases[i].code == 403) cr_assert_not_null(strstr(e.text, "workload identity"));
        script_close(&s);
    }
}

Test(azure, every_try_is_signed_anew_with_one_request_id) {
    script s = {0};
    s.answer[0].code = 503, s.answer[0].headers = "Retry-After: 30\r\n";
    s.answer[1].code = 201;
    script_open(&s);
    cr_assert_eq(script_put(&s, NULL, NULL), OK);
    char v[2][256];
    static const char *const names[] = {"x-ms-date", "Authorization", "x-ms-client-request-id"};
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        for (int i = 0; i < 2; i++) {
            loopback_request q = {.head = s.head[i]};
            loopback_header(&q, names[k], v[i], sizeof v[i]);
            cr_assert_neq(v[i][0], 0);
        }
        cr_assert_eq(strcmp(v[0], v[1]) == 0, k == 2, "%s", names[k]);
        if (k == 0) cr_assert_str_eq(v[0], "Thu, 29 Feb 2024 12:34:56 GMT");
        if (k == 0) cr_assert_str_eq(v[1], "Thu, 29 Feb 2024 12:35:26 GMT");
    }
    cr_assert_not_null(strstr(s.head[0], "x-ms-version: 2021-12-02\r\n"));
    script_close(&s);
}

Test(azure, clock_that_is_off_is_corrected_by_the_date_of_a_403) {
    script s = {0};
    s.answer[0].code = 403;
    s.answer[0].headers = "Date: Thu, 29 Feb 2024 14:00:00 GMT\r\n"
                          "x-ms-error-code: AuthenticationFailed\r\n";
    s.answer[1].code = s.answer[2].code = 201;
    script_open(&s);
    cr_assert_eq(script_put(&s, NULL, NULL), OK);
    cr_assert_eq(s.sleeps, 0);
    char v[64];
    loopback_request q = {.head = s.head[1]};
    cr_assert_str_eq(loopback_header(&q, "x-ms-date", v, sizeof v),
                     "Thu, 29 Feb 2024 14:00:00 GMT");
    s.now_ms += 60000; // remembered from now on
    cr_assert_eq(script_put(&s, NULL, NULL), OK);
    q.head = s.head[2];
    cr_assert_str_eq(loopback_header(&q, "x-ms-date", v, sizeof v),
                     "Thu, 29 Feb 2024 14:01:00 GMT");
    script_close(&s);

    script t = {0}; // a clock that is right: the 403 is believed at once
    t.answer[0].code = 403, t.answer[0].headers = "Date: Thu, 29 Feb 2024 12:34:57 GMT\r\n";
    script_open(&t);
    cr_assert_eq(script_put(&t, NULL, NULL), ERR_BUSY);
    cr_assert_eq(t.count, 1);
    script_close(&t);

    script u = {0}; // a service whose dates jump about is not followed for ever
    for (int i = 0; i < SCRIPT_MAX; i++) {
        u.answer[i].code = 403;
        u.answer[i].headers = i % 2 ? "Date: Thu, 29 Feb 2024 14:00:00 GMT\r\n"
                                    : "Date: Thu, 29 Feb 2024 16:00:00 GMT\r\n";
    }
    script_open(&u);
    cr_assert_eq(script_put(&u, NULL, NULL), ERR_BUSY);
    cr_assert_leq(u.count, 4);
    script_close(&u);
}

static void *stop_soon(void *arg) {
    usleep(100000);
    azure_client_stop(arg);
    return NULL;
}

Test(azure, stop_ends_a_request_that_waits) {
    script s = {0};
    s.answer[0].code = -1;
    script_open(&s);
    pthread_t t;
    pthread_create(&t, NULL, stop_soon, s.client);
    cr_assert_eq(script_put(&s, NULL, NULL), ERR_CANCELED);
    cr_assert_eq(script_put(&s, NULL, NULL), ERR_CANCELED);
    pthread_join(t, NULL);
    script_close(&s);
}

// ---- tokens, from a fake authority and a fake metadata service

typedef struct {
    int tokens, uses, refuse; // refuse: 401 that many times
    const char *expires;
    char token_request[8192];
    bool imds_busy_first;
} authority;

static loopback_next issue(void *arg, const loopback_request *q, buf *reply) {
    authority *a = arg;
    bool token = strstr(q->head, "/oauth2/") != NULL;
    char v[256], want[64];
    if (token) {
        if (a->imds_busy_first && a->tokens == 0) {
            a->tokens++;
            loopback_reply(reply, 404, "", "");
            return LOOPBACK_KEEP;
        }
        a->tokens++;
        snprintf(a->token_request, sizeof a->token_request, "%s%.*s", q->head, (int)q->body.n,
                 (const char *)q->body.p);
        char body[200];
        snprintf(body, sizeof body, "{\"access_token\":\"tok-%d\",\"expires_in\":%s}", a->tokens,
                 a->expires);
        loopback_reply(reply, 200, "", body);
        return LOOPBACK_KEEP;
    }
    a->uses++;
    snprintf(want, sizeof want, "Bearer tok-%d", a->tokens);
    bool right = strcmp(loopback_header(q, "Authorization", v, sizeof v), want) == 0;
    if (!right || a->refuse-- > 0) {
        loopback_reply(reply, 401, "", "");
    } else {
        loopback_reply(reply, 201, GENUINE, "");
    }
    return LOOPBACK_KEEP;
}

typedef struct {
    authority a;
    loopback *server;
    azure_client *client;
    script clock;
    char file[64];
} identity_fixture;

static void identity_open(identity_fixture *f, azure_auth auth) {
    f->server = loopback_start(issue, &f->a);
    f->clock.now_ms = T0;
    if (!f->a.expires) f->a.expires = "3600";
    char url[64], text[200];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", loopback_port(f->server));
    snprintf(text, sizeof text, "AccountName=acct;BlobEndpoint=%sacct", url);
    strcpy(f->file, "/tmp/stemforge-token-XXXXXX");
    int fd = mkstemp(f->file);
    cr_assert_eq(write(fd, "jwt+1/=\n", 8), 8);
    close(fd);
    azure_account acct;
    cr_assert_eq(azure_account_parse(&acct, text, NULL), OK);
    acct.auth = auth;
    azure_policy p = azure_policy_default();
    p.wall_ms = script_now, p.sleep_ms = script_sleep, p.arg = &f->clock;
    char imds[64];
    snprintf(imds, sizeof imds, "http://127.0.0.1:%d", loopback_port(f->server));
    azure_identity id = {.client_id = "client 1",
                         .tenant_id = "tenant",
                         .token_file = f->file,
                         .authority = url,
                         .imds = imds};
    err e;
    cr_assert_eq(azure_client_open(&f->client, &acct, &id, &p, &e), OK, "%s", e.text);
}

static status identity_put(identity_fixture *f, err *e) {
    azure_request q = {.verb = "PUT", .path = "/c/b", .body = bytes_of("x")};
    fetch_response r;
    status rc = azure_send(f->client, &q, &r, NULL, e);
    fetch_response_deinit(&r);
    return rc;
}

static void identity_close(identity_fixture *f) {
    azure_client_close(f->client);
    loopback_stop(f->server);
    unlink(f->file);
}

Test(azure, workload_identity_exchanges_the_federated_token_and_keeps_the_answer) {
    identity_fixture f = {0};
    identity_open(&f, AZURE_WORKLOAD);
    err e = {.text = ""};
    for (int i = 0; i < 3; i++) cr_assert_eq(identity_put(&f, &e), OK, "%s", e.text);
    cr_assert_eq(f.a.tokens, 1);
    const char *t = f.a.token_request;
    cr_assert(strncmp(t, "POST /tenant/oauth2/v2.0/token HTTP/1.1\r\n", 41) == 0, "%s", t);
    cr_assert_not_null(strstr(t, "Content-Type: application/x-www-form-urlencoded\r\n"));
    cr_assert_not_null(strstr(t, "grant_type=client_credentials&client_id=client%201&"
                                 "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-"
                                 "assertion-type%3Ajwt-bearer&client_assertion=jwt%2B1%2F%3D&"
                                 "scope=https%3A%2F%2Fstorage.azure.com%2F.default"));
    f.clock.now_ms += 54 * 60 * 1000; // not yet five minutes before the end
    cr_assert_eq(identity_put(&f, &e), OK);
    cr_assert_eq(f.a.tokens, 1);
    f.clock.now_ms += 2 * 60 * 1000;
    cr_assert_eq(identity_put(&f, &e), OK);
    cr_assert_eq(f.a.tokens, 2);
    identity_close(&f);
}

Test(azure, managed_identity_asks_the_metadata_service_and_waits_for_it) {
    identity_fixture f = {.a = {.expires = "\"3599\"", .imds_busy_first = true}};
    identity_open(&f, AZURE_MANAGED);
    err e = {.text = ""};
    cr_assert_eq(identity_put(&f, &e), OK, "%s", e.text);
    cr_assert_eq(f.a.tokens, 2);
    cr_assert(strncmp(f.a.token_request,
                      "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource="
                      "https%3A%2F%2Fstorage.azure.com%2F&client_id=client%201 HTTP/1.1\r\n",
                      130) == 0,
              "%s", f.a.token_request);
    cr_assert_not_null(strstr(f.a.token_request, "Metadata: true\r\n"));
    identity_close(&f);
}

Test(azure, refused_token_is_replaced_once_and_then_believed) {
    identity_fixture f = {.a = {.refuse = 1}};
    identity_open(&f, AZURE_WORKLOAD);
    err e = {.text = ""};
    cr_assert_eq(identity_put(&f, &e), OK, "%s", e.text);
    cr_assert_eq(f.a.tokens, 2);
    f.a.refuse = 100;
    cr_assert_eq(identity_put(&f, &e), ERR_BUSY);
    cr_assert_leq(f.a.tokens, 4);
    identity_close(&f);
}

Test(azure, authority_that_answers_nonsense_is_an_error_not_a_token) {
    static const char *const bad[] = {"0", "-1", "\"soon\"", "null", "99999999999"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        identity_fixture f = {.a = {.expires = bad[i]}};
        identity_open(&f, AZURE_WORKLOAD);
        err e;
        cr_assert_eq(identity_put(&f, &e), ERR_FORMAT, "%s", bad[i]);
        cr_assert_eq(f.a.uses, 0);
        identity_close(&f);
    }
}

Test(azure, tokens_are_not_sent_over_plain_http_to_other_machines) {
    azure_account a;
    cr_assert_eq(azure_account_parse(&a, "AccountName=acct;BlobEndpoint=http://example.com", NULL),
                 OK);
    a.auth = AZURE_MANAGED;
    azure_identity id = {0};
    azure_policy p = azure_policy_default();
    azure_client *c;
    cr_assert_eq(azure_client_open(&c, &a, &id, &p, NULL), ERR_ARG);
    cr_assert_null(c);
}
