// hears.c - writes what the judge's networks of beats and chords are given of sound files, for train/ to
// learn from.
//
//   hears pulse FILE...   for each of them FILE.pulse, f32 [PULSE_INPUTS, frames] (engine/judge_pulse.h)
//   hears bars <LIST      each line is a file and the edges of its bars in seconds; for each of them
//                         FILE.bars, f32 [bars, 24]: treble and bass (audio/harmony.h)
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audio/file.h"
#include "audio/harmony.h"
#include "base/mem.h"
#include "engine/judge_pulse.h"

#define LINE_MAX_BYTES 65536
#define BARS_MAX 1024

static status write_floats(const char *path, const char *suffix, const float *v, size_t n, err *e) {
    char name[4096];
    snprintf(name, sizeof name, "%s%s", path, suffix);
    FILE *f = fopen(name, "wb");
    bool whole = f && fwrite(v, sizeof *v, n, f) == n;
    if (f && fclose(f)) whole = false;
    return whole ? OK : err_set(e, ERR_IO, "%s: cannot be written", name);
}

static status open_file(listened *l, const char *path, err *e) {
    const file_limits limits = file_limits_default();
    file_clip clip = {0};
    status rc = file_read(&clip, path, &limits, e);
    if (!rc) rc = listen_open(l, clip.x, clip.frames, clip.channels, clip.rate, e);
    file_clip_deinit(&clip);
    return rc;
}

static status write_pulse(const char *path, err *e) {
    listened l = {0};
    status rc = open_file(&l, path, e);
    size_t size = rc ? 0 : (size_t)(PULSE_INPUTS * pulse_count(&l));
    float *in = rc ? NULL : mem_alloc(size * sizeof *in);
    if (!rc && !in) rc = err_set(e, ERR_OOM, "no memory for %zu values", size);
    if (!rc) rc = pulse_inputs(in, &l, e);
    if (!rc) rc = write_floats(path, ".pulse", in, size, e);
    mem_free(in);
    listen_close(&l);
    return rc;
}

static status write_bars(const char *path, const double *edge, size_t n, err *e) {
    static harmony_row row[BARS_MAX];
    listened l = {0};
    status rc = open_file(&l, path, e);
    if (!rc) rc = harmony_rows(row, edge, n, &l, NULL, e);
    if (!rc) rc = write_floats(path, ".bars", (const float *)row, 24 * n, e);
    listen_close(&l);
    return rc;
}

static status write_listed(err *e) {
    static char line[LINE_MAX_BYTES];
    static double edge[BARS_MAX + 1];
    status rc = OK;
    while (!rc && fgets(line, sizeof line, stdin)) {
        char *word = strtok(line, " \n"), *next;
        size_t n = 0;
        while (word && (next = strtok(NULL, " \n")) && n <= BARS_MAX) edge[n++] = atof(next);
        if (n >= 2) rc = write_bars(word, edge, n - 1, e);
    }
    return rc;
}

int main(int argc, char **argv) {
    err e = {0};
    status rc = OK;
    if (argc > 1 && strcmp(argv[1], "pulse") == 0)
        for (int i = 2; !rc && i < argc; i++) rc = write_pulse(argv[i], &e);
    else if (argc == 2 && strcmp(argv[1], "bars") == 0)
        rc = write_listed(&e);
    else
        return fprintf(stderr, "hears: expected pulse FILE..., or bars and a list\n"), 2;
    if (rc) fprintf(stderr, "hears: %s\n", e.text);
    return rc ? 1 : 0;
}
