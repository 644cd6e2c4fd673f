// facts.h - what is kept of a stem besides its file: what was heard in it, and its other takes.
//
// One JSON object, {"measured": {...}, "unmet": [...], "take": 2, "takes": [...]}, which any job
// store keeps as a text. unmet belongs to the job's warnings. The other members are members of the
// stem in a job and a callback; of a stem that was one take the last two are left out.
#pragma once
#include "base/json.h"
#include "store/blob.h"
#include "store/job.h"

// What is kept of a take that was not chosen: its number, file and what was heard in it. NULL: no
// memory.
json *facts_of_take(const stemforge_stem *s, const job_result *r);
// others: array of facts_of_take; NULL or empty: none. *out is the caller's (mem_free).
status facts_write(char **out, const stemforge_stem *s, const json *others, err *e);
// Adds the members of facts to a stem's view, a URL in place of each key. NULL adds nothing, as
// does a text that is no object.
void facts_show(json *view, const char *facts, blob_store *blobs);
// Adds what was asked of the stem and is not heard in it, as warnings have it.
void facts_add_warnings(json *list, const char *facts);
// The number of the chosen take; 0 when there was one take alone.
int facts_take(const char *facts);
