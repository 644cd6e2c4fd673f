// stem_file.c - see stem_file.h.
#include "service/stem_file.h"

#include <stdio.h>
#include <string.h>

#include "service/request.h"

#define FOLDER "generated"

void stem_file_key(char *out, size_t cap, const char *audio_file_id, const char *id,
                   const char *name) {
    snprintf(out, cap, "%s/" FOLDER "/%s/%s." STEM_FILE_FORMAT, audio_file_id, id, name);
}

void stem_file_take_key(char *out, size_t cap, const char *audio_file_id, const char *id,
                        const char *name, int number) {
    char file[REQUEST_FILE_NAME_MAX + 16];
    snprintf(file, sizeof file, "%.*s.take%d", REQUEST_FILE_NAME_MAX, name, number);
    stem_file_key(out, cap, audio_file_id, id, file);
}

void stem_file_other_key(char *out, size_t cap, const char *key, const char *end) {
    int n = (int)(strlen(key) - strlen("." STEM_FILE_FORMAT));
    snprintf(out, cap, "%.*s%s." STEM_FILE_FORMAT, MAX(n, 0), key, end);
}

bool stem_file_is_key(const char *key) {
    char part[REQUEST_ID_MAX + 1];
    for (int i = 0; i < 4; i++) {
        size_t n = strcspn(key, "/");
        if (n >= sizeof part || (i < 3) != (key[n] == '/')) return false;
        memcpy(part, key, n);
        part[n] = 0;
        if (!request_id_ok(part) || (i == 1 && strcmp(part, FOLDER) != 0)) return false;
        key += n + (i < 3);
    }
    const char *dot = strrchr(part, '.');
    return dot && strcmp(dot + 1, STEM_FILE_FORMAT) == 0;
}
