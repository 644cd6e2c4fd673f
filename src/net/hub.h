// hub.h - fetching a checkpoint from the Hugging Face hub into its cache on disk (base/hubdir.h).
//
// Everything is of one commit. Files are fetched one after the other, each resumed and checked
// (net/download.h), and linked into the snapshot; refs/REVISION is written last, so a model that
// hubdir_find_model finds by its name is whole.
#pragma once
#include "base/err.h"

#define HUB_FILES_MAX 2000
#define HUB_ENDPOINT "https://huggingface.co"

typedef struct {
    const char *file;    // that is being fetched
    int index, count;    // of the files
    int64_t done, total; // bytes of all files
} hub_progress;

typedef struct {
    const char *name;     // ORG/NAME or ORG/NAME@REVISION
    const char *endpoint; // NULL: $HF_ENDPOINT, else HUB_ENDPOINT
    const char *token;    // NULL: $HF_TOKEN, if any. Only ever sent to the endpoint, never logged
    const char *const *include;  // shell patterns of files to fetch, '*' stops at '/'
    size_t include_count;        // 0: what an engine needs
    int retries_max;             // failures in a row; default 5
    int retry_ms;                // wait after the first; default 1,000
    bool (*canceled)(void *arg); // asked often; may be NULL
    void (*progress)(void *arg, const hub_progress *at); // may be NULL
    void *arg;
} hub_options;

hub_options hub_options_default(void);

// Fetches what is missing. snapshot, of OS_PATH_MAX bytes, becomes the folder that holds the model.
// ERR_NOT_FOUND: no such repository, revision, or no weights we can read in it.
status hub_pull(char *snapshot, const hub_options *o, err *e);
