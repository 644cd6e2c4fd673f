// shipped.c - see shipped.h.
#include "app/shipped.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

static bool has_model(const char *folder) {
    char file[OS_PATH_MAX];
    return os_path_join(file, sizeof file, folder, "config.json", NULL) == OK &&
           access(file, R_OK) == 0;
}

// The folder that the program's own file is in. False where the system does not tell.
static bool program_folder(char out[OS_PATH_MAX]) {
    ssize_t n = readlink("/proc/self/exe", out, OS_PATH_MAX - 1);
    if (n <= 0) return false;
    out[n] = 0;
    char *slash = strrchr(out, '/');
    if (!slash) return false;
    *slash = 0;
    return true;
}

const char *shipped_model(const char *name) {
    static const char *const below[] = {"../share/stemforge/" SHIPPED_MODEL, "../" SHIPPED_MODEL,
                                        SHIPPED_MODEL};
    static char found[OS_PATH_MAX];
    char folder[OS_PATH_MAX];
    if (strcmp(name, SHIPPED_MODEL) != 0 || has_model(name) || !program_folder(folder)) return name;
    for (size_t i = 0; i < ARRAY_LEN(below); i++) {
        if (os_path_join(found, sizeof found, folder, below[i], NULL) == OK && has_model(found))
            return found;
    }
    return name;
}
