// fuzz_papers.c - the papers of a model, as a worker left them in the queue's database: what is no
// papers is refused, and nothing is written outside the folder.
#include <string.h>

#include "base/log.h"
#include "engine/papers.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    log_setup(LOG_OFF, false);
    papers_folder folder;
    if (papers_folder_make(&folder, NULL)) return 0;
    char path[OS_PATH_MAX] = "";
    status rc = papers_unpack(path, sizeof path, (bytes){p, n}, folder.path, NULL);
    if (rc == OK && strncmp(path, folder.path, strlen(folder.path)) != 0) __builtin_trap();
    papers_folder_remove(&folder);
    return 0;
}
