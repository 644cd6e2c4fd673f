// grid.c - `stemforge grid RECIPE`: what the stems of a recipe were made on, as a click and as
// MIDI.
#include <stdio.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/recipe.h"
#include "app/target.h"
#include "base/os.h"
#include "stemforge.h"

typedef stemforge_status (*maker)(const stemforge_request *r, uint8_t **file, size_t *size, err *e);

static status write_file(const char *path, maker make, const recipe_file *rec, const char *from,
                         err *e) {
    uint8_t *file;
    size_t size;
    status rc = make(&rec->request, &file, &size, e);
    if (rc) return err_within(e, rc, "%s", from);
    rc = os_write_atomic(path, (bytes){file, size}, e);
    stemforge_free(file);
    return rc;
}

static status check(const char **files, const char *click, const char *midi, err *e) {
    status rc = click ? target_check(click, files, 1, e) : OK;
    return !rc && midi ? target_check(midi, files, 1, e) : rc;
}

int grid_main(int argc, char **argv) {
    const char *click = NULL, *midi = NULL, *files[1];
    const arg_option rows[] = {
        {"click", ARG_STR, &click, 0, 0, "FILE", "a click on each beat, as a WAV", NULL},
        {"midi", ARG_STR, &midi, 0, 0, "FILE", "tempo, chords and beats, as MIDI", NULL},
    };
    const arg_command c = {"grid",
                           "RECIPE [--click FILE] [--midi FILE]",
                           "writes the beats and chords that a recipe's stems were made on",
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
    if (!rc) rc = check(files, click, midi, &e);
    if (!rc && click) rc = write_file(click, stemforge_click, &rec, files[0], &e);
    if (!rc && midi) rc = write_file(midi, stemforge_midi, &rec, files[0], &e);
    if (rc) fprintf(stderr, "stemforge grid: %s\n", e.text);
    recipe_deinit(&rec);
    return rc ? 1 : 0;
}
