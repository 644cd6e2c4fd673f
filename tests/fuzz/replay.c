// replay.c - runs a fuzz target over files and folders of inputs, without libFuzzer.
//
// Each target is linked with this main for `make corpus`, so an input that once crashed is tried at
// every test run, by any compiler and under any sanitizer.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int count;

static void replay_file(const char *path) {
    os_file_map map;
    err e;
    if (os_map_open(&map, path, &e)) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    // A copy of exactly n bytes on the heap: a read past the end is then seen by ASan.
    uint8_t *copy = malloc(map.data.n ? map.data.n : 1);
    if (!copy) exit(1);
    if (map.data.n) memcpy(copy, map.data.p, map.data.n);
    LLVMFuzzerTestOneInput(copy, map.data.n);
    free(copy);
    os_map_close(&map);
    count++;
}

static void replay(const char *path) {
    DIR *d = opendir(path);
    if (!d) {
        replay_file(path);
        return;
    }
    for (struct dirent *x; (x = readdir(d));) {
        char name[OS_PATH_MAX];
        if (x->d_name[0] == '.') continue;
        if (os_path_join(name, sizeof name, path, x->d_name, NULL)) exit(1);
        replay_file(name);
    }
    closedir(d);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) replay(argv[i]);
    const char *name = strrchr(argv[0], '/');
    printf("%-24s %4d inputs\n", name ? name + 1 : argv[0], count);
    return count ? 0 : 1; // a target without a corpus tests nothing
}
