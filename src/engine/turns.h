// turns.h - who may compute: batches that share one compute go by turns.
//
// A compute serves one thread at a time. A batch with work holds the turn, and before each piece of
// work it lets another go that has used less time (turns_pass). So batches that want to compute
// all the time get equal shares of it, however long a step of each is, and none waits for longer
// than the pieces of work of the others. Which goes first does not change what they compute.
#pragma once
#include <stdbool.h>

#include "compute/ops.h"

typedef struct turns turns;

// One that takes turns. Zeroed before its first turn; the turns' own, guarded by their lock.
typedef struct turns_member {
    double used; // seconds, against those of the others
    struct turns_member *next;
} turns_member;

// Opens a compute and the turns on it. *out has one owner (turns_close).
status turns_open(turns **out, int threads, const char *isa, err *e);
turns *turns_share(turns *t); // one owner more
void turns_close(turns *t);   // the last owner's closes the compute; NULL is fine
compute *turns_compute(turns *t);

// Waits for the turn. A member that comes back owes what it used lately, to a limit.
void turns_take(turns *t, turns_member *m);
// With the turn: another goes first that waits and has used no more than this one.
void turns_pass(turns *t, turns_member *m);
void turns_leave(turns *t, turns_member *m);
