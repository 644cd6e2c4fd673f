// pace.h - callbacks of jobs that run: how far they are, for receivers that are to be told.
//
// They are told nothing but how far a job is, so nothing is stored: each is one attempt, signed
// like the callback of the end, with a delivery id of its own. A thread of their own sends them,
// one after another, so they never hold up the callback of an end; a receiver that is slow makes
// the next ones late. One that is on its way when the job ends may arrive after the end's.
#pragma once
#include "base/err.h"
#include "service/events.h"
#include "service/hook.h"

typedef struct pace pace;

// Both are borrowed until pace_close. seconds: between two callbacks of a job that does not say
// itself; 0: none are sent for it.
status pace_open(pace **out, hook *h, events *v, double seconds, err *e);
void pace_close(pace *p); // waits for the one that is on its way; NULL is fine

// A job runs here from now on. One without a callback_url is left out. seconds: as its request says
// (request.h).
void pace_begin(pace *p, const job *j, double seconds);
void pace_end(pace *p, const char *id); // one that is not known is fine
