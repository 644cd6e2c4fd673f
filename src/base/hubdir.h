// hubdir.h - where a Hugging Face cache keeps the files of a model. Paths and look-up, no network.
//
//     ROOT/models--ORG--NAME/blobs/ETAG                      the bytes, once
//     ROOT/models--ORG--NAME/refs/REVISION                   a file that holds a commit
//     ROOT/models--ORG--NAME/snapshots/COMMIT/FILE           link to ../../blobs/ETAG
//
// It is the layout of huggingface_hub, so a model that Python fetched is found, and the other way
// round. net/hub fetches into it. Every out is OS_PATH_MAX bytes.
#pragma once
#include "base/os.h"

#define HUBDIR_NAME_MAX 96 // of a repository, as the hub has it
#define HUBDIR_REF_MAX 128
#define HUBDIR_COMMIT_LEN 40 // hex digits of a SHA-1

// A repository as users write it: ORG/NAME or ORG/NAME@REVISION.
typedef struct {
    char repo[HUBDIR_NAME_MAX + 1];    // "facebook/musicgen-small"
    char revision[HUBDIR_REF_MAX + 1]; // branch, tag or commit; "main" when none was given
} hubdir_name;

// ERR_ARG unless text is exactly that: letters, digits, '-', '_', '.', no "..", one slash. So a
// name that passes can neither leave the cache nor break a URL.
status hubdir_name_parse(hubdir_name *out, const char *text, err *e);
bool hubdir_commit_is(const char *s); // 40 lower-case hex digits

// $HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else
// ~/.cache/huggingface/hub. ERR_NOT_FOUND when no variable says where home is.
status hubdir_root(char *out, err *e);
// ROOT/models--ORG--NAME.
status hubdir_repo(char *out, const hubdir_name *n, err *e);

// What a user calls a model, to a path: a folder or file that exists as it is, else the cached
// snapshot of ORG/NAME[@REVISION]. ERR_NOT_FOUND says where it was looked for and how to fetch it.
status hubdir_find_model(char *out, const char *name, err *e);

// The model's name as people say it: the last part of ORG/NAME or of a path; of a path into a cache
// the NAME of its repository, never a commit. Cut to cap.
void hubdir_short_name(char *out, size_t cap, const char *model);
