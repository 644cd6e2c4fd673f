// blob_ops.h - what a blob store implements: what blob.c asks of blob_dir.c and blob_azure.c.
//
// Keys were checked by blob.c. Every function may be called from any thread.
#pragma once
#include <stdatomic.h>

#include "store/blob.h"

typedef struct {
    status (*put)(blob_store *s, const char *key, bytes data, const char *type, blob_info *info,
                  err *e);
    status (*link)(blob_store *s, const char *key, int64_t now_ms, buf *url, err *e);
    status (*sign)(blob_store *s, const char *key, int64_t now_ms, int64_t life_ms, buf *url,
                   err *e); // NULL: no
    status (*head)(blob_store *s, const char *key, blob_info *info, err *e);
    status (*get)(blob_store *s, const char *key, int64_t offset, int64_t n, buf *out, err *e);
    status (*remove)(blob_store *s, const char *key, err *e);
    status (*check)(blob_store *s, err *e);
    status (*open_fd)(blob_store *s, const char *key, int *fd, blob_info *info, err *e); // NULL: no
    void (*counts)(blob_store *s, blob_counts *out);                                     // NULL: no
    void (*stop)(blob_store *s);                                                         // NULL: no
    void (*close)(blob_store *s);
} blob_ops;

struct blob_store { // first member of every implementation
    const blob_ops *ops;
    const char *kind;
    char place[512];
    atomic_uint_fast64_t requests, failures;
};

status blob_dir_open(blob_store **out, const blob_config *c, err *e);
status blob_azure_open(blob_store **out, const blob_config *c, err *e);
