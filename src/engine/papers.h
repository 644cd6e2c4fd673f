// papers.h - the papers of a model: of its files, all but the values of its tensors.
//
// They are documents, tokenizer, and the names and shapes of tensors: some megabytes at most. Who
// unpacks them has a folder or a packed file that opens like the model, with zeros for weights. So
// a process that has no model can say of a request what the model would.
#pragma once
#include "base/buf.h"
#include "base/os.h"

#define PAPERS_MAX ((size_t)32 << 20) // bytes in all

// model: as checkpoint_open takes it. Appended to out.
status papers_write(buf *out, const char *model, err *e);

// Writes the files into folder, which is there and empty. *path gets what checkpoint_open is to be
// given: a folder of the model's own name in it, or a packed file. ERR_FORMAT: these are no papers.
status papers_unpack(char path[], size_t cap, bytes papers, const char *folder, err *e);

// A folder of its own for what is unpacked, where temporary files go.
typedef struct {
    char path[OS_PATH_MAX]; // "" when there is none
} papers_folder;
status papers_folder_make(papers_folder *out, err *e);
void papers_folder_remove(papers_folder *f); // with all that is in it
