// azure.h - Azure Storage over HTTP: connection strings, Shared Key, SAS and identity tokens, the
// retry policy. One call is one signed request, repeated until it is answered for good.
//
// Facts and their sources: docs/OPERATIONS.md "Azure". Service version 2021-12-02 throughout.
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "net/fetch.h"

#define AZURE_VERSION "2021-12-02"
#define AZURE_ACCOUNT_MAX 64
#define AZURE_KEY_MAX 128 // bytes, decoded

typedef enum {
    AZURE_ANONYMOUS,
    AZURE_SHARED_KEY,
    AZURE_SAS,
    AZURE_WORKLOAD, // federated token file, AKS
    AZURE_MANAGED,  // IMDS
} azure_auth;

// Where and as whom. Plain data; holds secrets, so it is wiped by azure_account_deinit.
typedef struct {
    azure_auth auth;
    char name[AZURE_ACCOUNT_MAX]; // "" when only an endpoint and a SAS are known
    uint8_t key[AZURE_KEY_MAX];
    size_t key_len;
    char *sas;      // query without "?"; NULL
    char *endpoint; // blob endpoint without a slash at its end, e.g. "http://127.0.0.1:10000/acct"
} azure_account;

// Reads a connection string by the .NET SDK's grammar. ERR_ARG says which part is wrong, without
// its value. Unknown names are skipped with one warning in the log.
status azure_account_parse(azure_account *a, const char *text, err *e);
void azure_account_deinit(azure_account *a); // zeroed is fine

// Identity mode. All strings are borrowed for the call; NULL: absent.
typedef struct {
    const char *account;    // AZURE_STORAGE_ACCOUNT
    const char *endpoint;   // explicit blob endpoint; NULL: https://account.blob.core.windows.net
    const char *client_id;  // AZURE_CLIENT_ID
    const char *tenant_id;  // AZURE_TENANT_ID
    const char *token_file; // AZURE_FEDERATED_TOKEN_FILE: set with the two above = workload
    const char *authority;  // AZURE_AUTHORITY_HOST; default https://login.microsoftonline.com
    const char *imds;       // AZURE_POD_IDENTITY_AUTHORITY_HOST; default http://169.254.169.254
} azure_identity;
azure_identity azure_identity_from_env(void);

// ---- signing (pure functions, so that published vectors can test them)

typedef struct {
    const char *verb;
    const char *path;  // of the URL as sent, percent-encoded, from its first slash
    const char *query; // as sent, without "?"; "" when none
    const fetch_header *headers;
    size_t header_count;
    int64_t content_length;
} azure_to_sign;
// The Shared Key string-to-sign.
status azure_string_to_sign(const azure_to_sign *q, const char *account, buf *out, err *e);
// "SharedKey account:signature".
status azure_authorization(const azure_account *a, const azure_to_sign *q, buf *out, err *e);

// Appends the query of a service SAS for reading one blob: from start_ms to end_ms (wall clock).
// https_only leaves out spr when false (an http endpoint would be refused). Needs the account key.
status azure_sas_read(const azure_account *a, const char *container, const char *blob,
                      int64_t start_ms, int64_t end_ms, bool https_only, buf *out, err *e);
// The same signed with a user delegation key (identity mode).
typedef struct {
    char oid[64], tid[64], start[32], expiry[32], service[8], version[16]; // as the service gave
    uint8_t value[AZURE_KEY_MAX];
    size_t value_len;
} azure_delegation;
status azure_sas_read_delegated(const azure_account *a, const azure_delegation *d,
                                const char *container, const char *blob, int64_t start_ms,
                                int64_t end_ms, bool https_only, buf *out, err *e);

// ---- requests

typedef struct azure_client azure_client;

typedef struct {
    int tries_max;          // default 6, as the .NET SDK
    int64_t delay_first_ms; // default 800; delay n is uniform in [0, first * 2^n]
    int64_t delay_max_ms;   // default 60,000; a longer Retry-After ends the tries instead
    int stall_ms;           // default 30,000: no answer and no progress for this long
    const char *ca_file;    // PEM roots; NULL: the system's
    // For tests: the clock, and how to wait. NULL: the OS.
    int64_t (*wall_ms)(void *arg);
    void (*sleep_ms)(void *arg, int64_t ms);
    void *arg;
} azure_policy;
azure_policy azure_policy_default(void);

// Takes the contents of *a (also on failure). id may be NULL unless a->auth is an identity.
status azure_client_open(azure_client **out, azure_account *a, const azure_identity *id,
                         const azure_policy *p, err *e);
void azure_client_close(azure_client *c); // NULL is fine
const azure_account *azure_client_account(const azure_client *c);
void azure_client_stop(azure_client *c); // ends running and future requests soon
// Wall clock, corrected by what the service said about it.
int64_t azure_client_now_ms(azure_client *c);
int64_t azure_client_skew_ms(azure_client *c); // the service's clock minus ours; 0: as far as known

typedef struct {
    const char *verb;
    const char *path;            // below the endpoint, percent-encoded, begins with "/"
    const char *query;           // without "?", names and values percent-encoded; NULL: none
    const fetch_header *headers; // besides those that every request has
    size_t header_count;
    bytes body;
    fetch_sink sink; // for large answers; starts over when a try was cut: see head->code
    void *sink_arg;
    int64_t response_max;
    bool once; // no retries, short timeouts: for /health
    // The only code that means success, as the service's reference says; it comes with the
    // service's x-ms-request-id. 0: any 2xx (the emulator's delegation keys have no id).
    int promised;
    bool etag; // success has an ETag
} azure_request;

// Sends until there is an answer that another try would not change. OK: what q promises. Else
// ERR_NOT_FOUND (404), ERR_CONFLICT (409, 412), ERR_ARG (400 and other 4xx), ERR_CANCELED
// (azure_client_stop), and ERR_BUSY for what passes or can be put right outside: tries spent on an
// outage or on throttling, 401 and 403, and answers of something in between: a success that is not
// as promised, a refusal without an error code. code (may be NULL) gets x-ms-error-code. r is
// filled in any case: fetch_response_deinit.
// A success whose Date is over a minute from our clock corrects our idea of the time, with a
// warning; so does a 403 over five minutes, which is then tried again.
#define AZURE_CODE_MAX 64
status azure_send(azure_client *c, const azure_request *q, fetch_response *r,
                  char code[AZURE_CODE_MAX], err *e);

// User delegation key that is valid until until_ms, at most 167 hours ahead; cached. once: as in
// azure_request. Identity mode only.
status azure_delegation_get(azure_client *c, int64_t now_ms, int64_t until_ms, bool once,
                            azure_delegation *out, err *e);

typedef struct {
    uint64_t tries, retries, bytes_up, bytes_down;
} azure_counts;
void azure_read_counts(azure_client *c, azure_counts *out);
