// job_crew.h - who works on a queue that processes share: each worker's row, and what it says of
// itself.
//
// A file has no rows: its one process knows itself. Then nothing is stored and the list is empty.
#pragma once
#include "store/job.h"

#define JOB_CREW_NAME_MAX 40
#define JOB_CREW_MAX 256 // read at once, those seen last first

typedef struct {
    char name[JOB_CREW_NAME_MAX + 1];
    int64_t silent_ms; // since it was heard of last; by the database's clock
    bool left;         // it has said that it ends
    char *facts;       // a JSON object, as said
} job_crew_member;

// Says that a worker lives, and what it is; the same name again replaces what was said. left: it
// ends now. Rows of workers that nobody has heard of for kept_ms go, but for the last.
status job_crew_say(job_store *s, const char *name, const char *facts, bool left, int64_t kept_ms,
                    err *e);
// *out: array of *n members, job_crew_free.
status job_crew_list(job_store *s, job_crew_member **out, size_t *n, err *e);
void job_crew_free(job_crew_member *list, size_t n);
