// azure_inside.h - inside of the Azure client: what azure.c and azure_token.c share.
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "store/azure.h"

#define AZURE_CLIENTS_MAX 16 // kept connections; more are opened and closed again

typedef struct {
    char *client_id, *tenant_id, *token_file, *authority, *imds; // NULL: absent
} azure_identity_copy;

struct azure_client {
    azure_account account;
    azure_identity_copy identity;
    azure_policy policy;
    char *ca_file;
    char *base_path; // of the endpoint URL: "" or "/account"
    bool https;
    atomic_bool stop;
    atomic_int_fast64_t skew_ms; // the service's clock minus ours
    atomic_uint_fast64_t tries, retries, up, down;
    pthread_mutex_t mu; // guards idle and idle_count
    fetch_client *idle[AZURE_CLIENTS_MAX];
    int idle_count;
    pthread_mutex_t token_mu; // guards what follows; held while a token is fetched: one refresher
    char *token;              // NULL: none
    int64_t token_from_ms, token_until_ms;
    azure_delegation delegation;
    int64_t delegation_until_ms; // 0: none
};

// One HTTP exchange with the retry policy but without Azure's headers. prepare (may be NULL) is
// called before each try, to sign it anew; it may change q's headers.
typedef struct azure_exchange azure_exchange;
struct azure_exchange {
    fetch_request q;
    status (*prepare)(azure_exchange *x, err *e);
    bool (*again)(azure_exchange *x, const fetch_response *r, const char *code); // retry at once?
    // Whether an answer is the service's own; NULL: all are. What is not is retried.
    bool (*genuine)(const azure_exchange *x, const fetch_response *r, const char *code);
    bool imds; // 404 and 410 are retried too
    int tries_max;
    void *arg;
};
status azure_exchange_run(azure_client *c, azure_exchange *x, fetch_response *r,
                          char code[AZURE_CODE_MAX], err *e);

// Copies the bearer token into out. ERR_BUSY when the authority cannot be reached.
#define AZURE_TOKEN_MAX 16384
status azure_token_get(azure_client *c, char *out, size_t cap, err *e);
// Forgets a token that was refused.
void azure_token_drop(azure_client *c);
// Text between <tag> and </tag>; false when absent or longer than cap.
bool azure_xml_find(const char *xml, const char *tag, char *out, size_t cap);
