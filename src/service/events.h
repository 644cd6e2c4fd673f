// events.h - what running jobs are doing right now, and the event streams that follow it.
//
// This is the one place where the progress of a running job lies. The database hears of it with
// each renewal of the job's lease. A stream is told the state of things when it joins and
// everything after that, so a client that reconnects misses nothing it needs; ids grow, so
// Last-Event-ID can be sent but need not be kept. A client that does not read is dropped. Every
// call may be made from any thread.
#pragma once
#include "base/err.h"
#include "base/json.h"
#include "net/http_server.h"
#include "store/job.h"

#define EVENTS_STREAMS_MAX 2000

typedef struct events events;

status events_open(events **out, err *e);
void events_close(events *v); // ends all streams; NULL is fine

// A job begins to run, or goes on after a restart: stems and which of them are done.
void events_begin(events *v, const job *j);
void events_progress(events *v, const char *id, size_t stem, double fraction);
// The job no longer runs here. Its streams stay: it may run again.
void events_forget(events *v, const char *id);

// A job that runs in another process, as the database knows it: what is new in its progress is told
// to its streams. True when it was not known to run. One that does not run is forgotten.
bool events_remote(events *v, const job *j);
// The ids of jobs that streams follow and that do not run here, each once; at most cap. Returns how
// many.
size_t events_followed(events *v, char (*ids)[JOB_ID_MAX + 1], size_t cap);
bool events_follows(events *v, const char *id); // whether a stream follows the job

// Fills progress (0..1 per stem, at most cap of them). False when the job does not run here.
bool events_find(events *v, const char *id, double *progress, size_t cap);

// Says something to all streams of a job: name is the event's, data is its JSON (taken, may be
// NULL: nothing is sent). last ends the streams.
void events_say(events *v, const char *id, const char *name, json *data, bool last);

// Adds a stream to a job's; first is what it is told at once (as in events_say). ERR_LIMIT: too
// many streams; the stream is ended in any case of failure. last: it is told that and ends.
status events_join(events *v, const char *id, http_stream *t, const char *name, json *data,
                   bool last, err *e);
int events_streams(events *v); // open now
