// plot.c - `stemforge plot FILE...`: waveform and spectrogram of sound files, as PNG images.
#include <stdio.h>
#include <string.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/target.h"
#include "audio/file.h"
#include "audio/picture.h"
#include "base/os.h"

#define FILES_MAX 256
#define PNG_MAX ((size_t)16 << 20)

// drums.wav becomes drums.png, in dir when there is one, else beside it.
static status name_of(char *out, size_t cap, const char *file, const char *dir, err *e) {
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
    const char *dot = strrchr(base, '.');
    size_t stem = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    char name[OS_PATH_MAX];
    if (stem + 5 > sizeof name)
        return err_set(e, ERR_LIMIT, "%.60s...: the name is too long", base);
    memcpy(name, base, stem);
    memcpy(name + stem, ".png", 5);
    if (dir) return os_path_join(out, cap, dir, name, e);
    int n = snprintf(out, cap, "%.*s%s", (int)(base - file), file, name);
    return n >= 0 && (size_t)n < cap
               ? OK
               : err_set(e, ERR_LIMIT, "%.60s...: the path is too long", file);
}

static status plot(const char *file, const char *dir, double bpm, err *e) {
    char path[OS_PATH_MAX];
    const file_limits limits = file_limits_default();
    file_clip clip = {0};
    buf png;
    buf_init(&png, PNG_MAX);
    status rc = name_of(path, sizeof path, file, dir, e);
    if (!rc) rc = file_read(&clip, file, &limits, e);
    const char *slash = strrchr(file, '/');
    const picture p = {.x = clip.x,
                       .frames = clip.frames,
                       .channels = clip.channels,
                       .rate = clip.rate,
                       .name = slash ? slash + 1 : file,
                       .bpm = bpm};
    if (!rc) rc = picture_draw(&png, &p, e);
    if (!rc) rc = os_write_atomic(path, buf_bytes(&png), e);
    if (!rc) printf("%s\n", path);
    buf_deinit(&png);
    file_clip_deinit(&clip);
    return rc;
}

// Whether all pictures can be drawn, before the first: none takes the place of a file that is read,
// or of another picture.
static status check(const char **files, size_t n, const char *dir, err *e) {
    char path[OS_PATH_MAX], other[OS_PATH_MAX];
    for (size_t i = 0; i < n; i++) {
        status rc = name_of(path, sizeof path, files[i], dir, e);
        if (!rc) rc = target_check(path, files, n, e);
        for (size_t k = 0; !rc && k < i; k++) {
            rc = name_of(other, sizeof other, files[k], dir, e);
            if (!rc && strcmp(path, other) == 0)
                rc =
                    err_set(e, ERR_ARG, "%s and %s would both be drawn to %s; plot them one by one",
                            files[k], files[i], path);
        }
        if (rc) return rc;
    }
    return OK;
}

int plot_main(int argc, char **argv) {
    const char *out = NULL, *files[FILES_MAX];
    double bpm = 0;
    const arg_option table[] = {
        {"out", ARG_STR, &out, 0, 0, "DIR", "folder for the pictures (beside each file)", NULL},
        {"bpm", ARG_NUM, &bpm, 20, 400, "BPM", "draws bars of four beats", NULL},
    };
    const arg_command c = {"plot",
                           "FILE... [--out DIR] [--bpm BPM]",
                           "draws waveform and spectrogram of sound files as PNG images",
                           table,
                           ARRAY_LEN(table),
                           "  stemforge plot out/drums.wav out/bass.wav --out pictures\n",
                           1,
                           FILES_MAX};
    int n, code;
    if (args_parse(&c, argc, argv, files, &n, &code)) return code;
    err e = {0};
    status rc = out ? os_mkdirs(out, &e) : OK;
    if (!rc) rc = check(files, (size_t)n, out, &e);
    for (int i = 0; !rc && i < n; i++) rc = plot(files[i], out, bpm, &e);
    if (rc) fprintf(stderr, "stemforge plot: %s\n", e.text);
    return rc ? 1 : 0;
}
