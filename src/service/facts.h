// facts.h - what is kept of a stem besides its file: what was heard in it.
//
// One JSON object, {"measured": {...}}, which any job store keeps as a text. Its members are
// members of the stem in a job and a callback.
#pragma once
#include "base/json.h"
#include "store/job.h"

// *out is the caller's (mem_free).
status facts_write(char **out, const stemforge_stem *s, err *e);
// Adds the members of facts to a stem's view. NULL adds nothing, as does a text that is no object.
void facts_show(json *view, const char *facts);
