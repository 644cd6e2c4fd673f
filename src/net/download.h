// download.h - one URL into one file: redirects, resume, retries, size and SHA-256.
//
// The bytes grow in PATH.incomplete and get their final name only when all of them are there and
// their digest is right; an interrupted download goes on where it stopped, in a later process too.
// Two processes never write the same file: the second gets ERR_BUSY.
#pragma once
#include "net/fetch.h"

#define DOWNLOAD_HOPS_MAX 5        // redirects in a row
#define DOWNLOAD_ATTEMPTS_MAX 200  // connections for one file, however much each brings
#define DOWNLOAD_BLIND_TRIES 2     // repeats of a request before anybody has answered
#define DOWNLOAD_WAIT_MS_MAX 30000 // between two of them

// How hard to try, and who is told. Shared by all requests of a job.
typedef struct {
    fetch_client *client;
    const char *token; // sent as "Authorization: Bearer" to token_origin and nobody else; or NULL
    char origin[300];  // "https://host:port" that the token is for
    int retries_max;   // failures in a row that bring nothing new
    int retry_ms;      // first wait; doubles
    bool (*canceled)(void *arg);                // asked often; may be NULL
    void (*progress)(void *arg, int64_t bytes); // bytes more on disk, negative when thrown away
    void *arg;
    // Set by the requests:
    bool reached;          // somebody has answered
    fetch_failure failure; // of the last one
} download;

// Asks for url and keeps the answer, of any status, in r->body. Redirects are followed; with stay,
// one that says what lies there (X-Linked-Etag) is the answer. Answers that say "later"
// (408, 429, 5xx) are tried again.
status download_ask(download *d, const char *method, const char *url, bool stay, size_t body_max,
                    fetch_response *r, err *e);

// A status code that is no success as an err: what names the thing asked for.
status download_refusal(const fetch_response *r, const char *what, err *e);

typedef struct {
    const char *url;
    const char *path;   // final name; its folder exists
    int64_t size;       // bytes, -1: unknown
    const char *sha256; // 64 lower-case hex digits, or NULL
} download_file;

// OK: the file is at path, whole and checked. ERR_FORMAT: size or digest differ from what was
// promised, and nothing is left. ERR_IO, ERR_CANCELED: what arrived stays in PATH.incomplete.
status download_run(download *d, const download_file *f, err *e);
