// target.c - see target.h.
#include "app/target.h"

#include <string.h>
#include <strings.h>

#include "base/os.h"

status target_check(const char *path, const char *const *inputs, size_t n, err *e) {
    os_file_id to, from;
    status rc = os_can_write(path, e);
    if (rc || !os_file_identify(&to, path)) return rc;
    for (size_t i = 0; i < n; i++) {
        if (os_file_identify(&from, inputs[i]) && to.device == from.device &&
            to.inode == from.inode)
            return err_set(e, ERR_ARG, "%s is read too (%s); name another file to write", path,
                           inputs[i]);
    }
    return OK;
}

// "x.wav" gives ".wav", and "x" gives "".
static const char *suffix_of(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    return dot && dot > name ? dot : "";
}

static bool has_suffix(const char *path, file_format f) {
    const char *s = suffix_of(path);
    return *s && strcasecmp(s + 1, file_format_suffix(f)) == 0;
}

static bool is_stream(const char *path) {
    return os_exists(path) && !os_is_file(path);
}

status target_format(file_format *out, const char *path, const char *format, err *e) {
    bool named = *suffix_of(path) && !is_stream(path);
    if (format) {
        status rc = file_format_parse(out, format, e);
        if (rc) return err_within(e, rc, "--format");
        if (!named || has_suffix(path, *out)) return OK;
        return err_set(e, ERR_ARG, "%s: expected a name that ends in .%s for --format %s", path,
                       file_format_suffix(*out), format);
    }
    *out = FILE_WAV16;
    if (!*suffix_of(path)) return OK;
    for (file_format f = FILE_WAV16; f <= FILE_OGG; f++) {
        *out = f;
        if (has_suffix(path, f)) return OK;
    }
    *out = FILE_WAV16;
    if (!named) return OK;
    return err_set(e, ERR_ARG, "%s: expected a name that ends in .wav, .flac or .ogg, found %s",
                   path, suffix_of(path));
}

status target_suffix(const char *path, const char *expected, err *e) {
    const char *s = suffix_of(path);
    if (!*s || is_stream(path) || strcasecmp(s, expected) == 0) return OK;
    return err_set(e, ERR_ARG, "%s: expected a name that ends in %s, found %s", path, expected, s);
}

FILE *target_report(const char *path) {
    return os_is_stdout(path) ? stderr : stdout;
}
