// grid.c - `stemforge grid RECIPE`: what the stems of a recipe were made on, as a click and as
// MIDI.
#include <stdio.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/recipe.h"
#include "app/target.h"
#include "audio/click.h"
#include "audio/file.h"
#include "audio/post.h"
#include "base/mem.h"
#include "base/os.h"
#include "request/chords.h"
#include "request/length.h"
#include "request/midi.h"

static status write_click(const char *path, const stemforge_request *r, err *e) {
    int64_t frames = length_frames(r, POST_RATE);
    const meter *m = meter_of(r->meter);
    float *x = mem_alloc((size_t)frames * POST_CHANNELS * sizeof *x);
    if (!x) return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)frames);
    click_fill(x, frames, POST_RATE, r->bpm / m->pulse, (int)(m->quarters / m->pulse));
    const file_tags tags = {
        .title = "click",
        .software = "stemforge " STEMFORGE_VERSION,
        .music = {
            .bpm = r->bpm, .beats_per_bar = m->quarters, .whole = r->bars > 0, .loop = r->loop}};
    status rc = file_write(path, FILE_WAV16, x, frames, POST_CHANNELS, POST_RATE, &tags, e);
    mem_free(x);
    return rc;
}

static status write_midi(const char *path, const stemforge_request *r, err *e) {
    buf b;
    buf_init(&b, MIDI_BYTES_MAX);
    status rc = midi_write(&b, r, e);
    if (!rc) rc = os_write_atomic(path, buf_bytes(&b), e);
    buf_deinit(&b);
    return rc;
}

static status check(const char **files, const char *click, const char *midi,
                    const stemforge_request *r, err *e) {
    status rc = stemforge_request_check(r, e);
    if (!rc && !(r->bpm > 0))
        rc = err_set(e, ERR_ARG, "%s: expected a tempo (bpm), found none: its beats are not known",
                     files[0]);
    if (!rc && click) rc = target_check(click, files, 1, e);
    if (!rc && midi) rc = target_check(midi, files, 1, e);
    return rc;
}

int grid_main(int argc, char **argv) {
    const char *click = NULL, *midi = NULL, *files[1];
    const arg_option rows[] = {
        {"click", ARG_STR, &click, 0, 0, "FILE", "a click on each beat, as a WAV", NULL},
        {"midi", ARG_STR, &midi, 0, 0, "FILE", "tempo, chords and beats, as MIDI", NULL},
    };
    const arg_command c = {"grid",
                           "RECIPE [--click FILE] [--midi FILE]",
                           "the beats and chords that a recipe's stems were made on",
                           rows,
                           ARRAY_LEN(rows),
                           "  stemforge grid out/recipe.json --click click.wav --midi song.mid\n",
                           1,
                           1};
    int n, exit_status;
    if (args_parse(&c, argc, argv, files, &n, &exit_status)) return exit_status;
    if (!click && !midi) {
        fprintf(stderr, "stemforge grid: expected --click or --midi; see stemforge grid --help\n");
        return EXIT_USAGE;
    }
    err e;
    recipe_file rec = {0};
    status rc = recipe_read(&rec, files[0], &e);
    if (!rc) rc = check(files, click, midi, &rec.request, &e);
    if (!rc && click) rc = write_click(click, &rec.request, &e);
    if (!rc && midi) rc = write_midi(midi, &rec.request, &e);
    if (rc) fprintf(stderr, "stemforge grid: %s\n", e.text);
    recipe_deinit(&rec);
    return rc ? 1 : 0;
}
