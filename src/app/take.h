// take.h - a folder with one take: the stems of a request, and the recipe that makes them again.
//
// Stems and recipe belong together at any time: the recipe is written before the first stem, and a
// take that replaces another one first removes it whole. Another take is replaced only when that
// was asked for; the same one, by its recipe, may always be made again.
#pragma once
#include "app/recipe.h"
#include "audio/file.h"
#include "base/os.h"

typedef struct {
    const char *dir;
    recipe recipe; // of what will be made
    file_format format;
    bool overwrite;
    char recipe_path[OS_PATH_MAX];
    bool begun;     // the recipe is written
    bool made;      // and was not there before
    size_t written; // stems
} take;

// Looks, before the work, whether the folder takes the files and has no other take; makes the
// folder. Fills recipe_path. What t->recipe.request reads must not be replaced.
status take_check(take *t, err *e);

// Writes one stem; before the first, removes what is to be overwritten and writes the recipe. *path
// gets its name.
status take_write(take *t, const stemforge_stem *s, const file_tags *tags, char path[OS_PATH_MAX],
                  err *e);

// Writes the recipe again, since warnings may have come with the stems. After a failure: a recipe
// without any stem is removed.
status take_finish(take *t, err *e);
void take_abandon(take *t);
