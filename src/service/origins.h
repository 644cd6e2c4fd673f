// origins.h - the receivers of callbacks: how each origin has been doing, and who may be sent to.
//
// Only silence (no answer at all) speaks against an origin; what it answers to one callback says
// nothing about the others. Sender threads are shared: an origin begins with one at a time and
// gets one more with each answer, back to one with each silence. The last free thread is kept for
// origins that have none and were not silent last time. So origins that hang or are slow, one or
// several, do not hold all threads. Every call may be made from any thread.
#pragma once
#include "base/err.h"

#define ORIGIN_SIZE 300
#define ORIGINS_MAX 256       // whose doing is remembered
#define ORIGIN_SILENCES_MAX 5 // in a row; then it gets one probe per ORIGIN_PROBE_MS
#define ORIGIN_PROBE_MS 30000
#define ORIGIN_SENDERS_MAX 8

typedef struct origins origins;

status origins_open(origins **out, int threads, err *e); // threads: senders there are
void origins_close(origins *o);                          // NULL is fine

// 0: an attempt may begin, and origins_leave is called after it. Else the milliseconds to wait.
int64_t origins_enter(origins *o, const char *origin, int64_t mono_ms);
typedef enum { ORIGIN_ANSWERED, ORIGIN_SILENT, ORIGIN_NOT_ASKED } origin_outcome;
void origins_leave(origins *o, const char *origin, origin_outcome outcome, int64_t mono_ms);

// The origins that must wait now.
typedef struct {
    char text[ORIGINS_MAX][ORIGIN_SIZE + 1]; // each with "/" behind: a prefix of its URLs
    const char *prefix[ORIGINS_MAX];         // [count]
    size_t count;
} origins_list; // large: on the heap
void origins_waiting(origins *o, int64_t mono_ms, origins_list *out);
