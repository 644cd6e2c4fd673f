// blob.h - finished audio by key: a local directory or an Azure container behind one interface.
//
// A key is a relative path of the characters A-Z a-z 0-9 . _ - and "/", at most BLOB_KEY_MAX bytes,
// whose segments neither begin nor end with a dot and are not empty; everything else is ERR_ARG, so
// nothing can leave its folder or container. put is atomic: a reader sees the whole object or none.
// Every call may be made from any thread.
#pragma once
#include "base/buf.h"
#include "base/err.h"

#define BLOB_KEY_MAX 1024
#define BLOB_URL_MAX 4096

typedef struct blob_store blob_store;

typedef struct {
    int64_t size;  // bytes
    char md5[25];  // base64; "" when the store does not know it
    char etag[64]; // "" when the store has none
    char type[64]; // Content-Type
} blob_info;

// What a store has done since it was opened, for /metrics.
typedef struct {
    uint64_t requests; // puts, gets, heads, removes and checks asked of it
    uint64_t failures; // of these, the ones that failed in the end
    uint64_t tries;    // HTTP requests sent (azure only)
    uint64_t retries;  // of these, the ones that repeated another
    uint64_t bytes_up, bytes_down;
} blob_counts;

typedef struct {
    // Azure, when connection is not NULL or empty; else identity, when account is set; else dir.
    const char *connection; // connection string (azure.h)
    const char *account;    // AZURE_STORAGE_ACCOUNT: tokens instead of keys
    const char *container;  // default "audio-files"; created when missing
    int sas_hours;          // blob_link signs its URL for this long; 0: plain URL
    const char *ca_file;    // extra: PEM roots instead of the system's; NULL
    size_t whole_max;       // larger objects go up in blocks; default 256 MiB, as the .NET SDK
    size_t block_size;      // default 8 MiB
    int64_t delay_first_ms; // of the retries (azure.h); 0: azure.h's
    int stall_ms;           // likewise
    // A directory.
    const char *dir;        // made when missing
    const char *public_url; // blob_link's base, e.g. "http://127.0.0.1:8080/files"; no slash at end
} blob_config;

blob_config blob_config_default(void);

// Opens a store. Checks what is configured (ERR_ARG names the field), not that a peer answers.
status blob_open(blob_store **out, const blob_config *c, err *e);
void blob_close(blob_store *s); // NULL is fine; no call may be running
// Makes running and future calls that wait for a peer end soon with ERR_CANCELED: for shutdown.
void blob_stop(blob_store *s);

// "azure" or "dir", and what an operator may see of the place: no key, no signature.
const char *blob_kind(const blob_store *s);
const char *blob_place(const blob_store *s);

// Stores data under key, over what was there. OK means it is durable and whole; info (may be NULL)
// then has its size, MD5 and ETag. Retries by itself for up to some minutes (azure.h); after that
// ERR_BUSY says "try later" (outage, throttling) and other codes say that trying later is no use.
status blob_put(blob_store *s, const char *key, bytes data, const char *type, blob_info *info,
                err *e);
// The URL that a reader uses. now_ms (our wall clock, right or wrong) starts the life of a signed
// one.
status blob_link(blob_store *s, const char *key, int64_t now_ms, char *url, size_t cap, err *e);
// The same with a signature for reading that lasts life_ms, whatever is configured. Waits for a key
// of the service when it has to. ERR_ARG: this store cannot sign.
status blob_sign(blob_store *s, const char *key, int64_t now_ms, int64_t life_ms, char *url,
                 size_t cap, err *e);
// ERR_NOT_FOUND when absent. get appends n bytes from offset (fewer at the end) to out.
status blob_head(blob_store *s, const char *key, blob_info *info, err *e);
status blob_get(blob_store *s, const char *key, int64_t offset, int64_t n, buf *out, err *e);
status blob_remove(blob_store *s, const char *key, err *e); // an absent key is OK
// Tells whether a put would be accepted now, by writing something that no reader sees. Waits at
// most some seconds and does not retry: for /health, from a thread that may wait.
status blob_check(blob_store *s, err *e);

// Directory only: a descriptor to read the object from, the caller's to close. ERR_ARG for Azure.
status blob_open_fd(blob_store *s, const char *key, int *fd, blob_info *info, err *e);

void blob_read_counts(blob_store *s, blob_counts *out);

// True when key is one (see above). For checks at the edge.
bool blob_key_ok(const char *key);
