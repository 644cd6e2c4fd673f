// job_recipe.h - the request of a job as a recipe: what `stemforge generate --recipe` makes again.
#pragma once
#include "base/json.h"
#include "store/job.h"

typedef struct {
    const char *model, *weights; // as the service was told
    stemforge_info info;         // of the engine
} job_recipe_model;

// *out is the caller's. The model's own numbers are those of the model that is loaded now.
status job_recipe(json **out, const job *j, const job_recipe_model *m, err *e);
