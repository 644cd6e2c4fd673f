// kept.h - a mapped file that must stay as it is while it is used: the weights of a model.
//
// The kernel reads a mapped file when it is touched. If somebody cuts the file meanwhile, the touch
// is a SIGBUS; if somebody writes into it, the program computes with other numbers. Neither may
// pass for a result: kept_check tells. A file that is replaced by rename is another file and harms
// nobody.
#pragma once
#include "base/os.h"

typedef struct {
    os_file_map map;
    int fd; // of the file, for kept_check; -1 when closed
    int64_t size, changed_ns;
    int slot; // in the table of kept files; -1: there was none free
} kept_file;

status kept_open(kept_file *out, const char *path, err *e); // as os_map_open
void kept_close(kept_file *k);                              // zeroed or closed is fine

// ERR_DEVICE, with path in the text, when the file was cut or written to since kept_open. What was
// computed since then is not to be used, and nothing better comes before it is opened anew.
status kept_check(const kept_file *k, const char *path, err *e);

// From now on a SIGBUS in a kept file does not end the process: zeros are read there, and
// kept_check tells. Any other SIGBUS does as before. For programs; the library leaves signals
// alone.
void kept_survive_bus_errors(void);
