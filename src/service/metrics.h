// metrics.h - counters, gauges and histograms, and their Prometheus text.
//
// What may be measured is the table in metrics.c; a name outside it is our mistake (assert). A
// series is made the first time it is touched; past METRICS_SERIES_MAX new ones are dropped, so a
// label can never grow without end. Labels are given as text, `route="/jobs",code="200"`, and are
// constants or names from closed sets: no ids, no URLs. Every call may be made from any thread.
#pragma once
#include "base/buf.h"
#include "base/err.h"

#define METRICS_SERIES_MAX 1024

typedef struct metrics metrics;

status metrics_open(metrics **out, err *e);
void metrics_close(metrics *m); // NULL is fine

// labels may be NULL: none. Each is without effect when m is NULL.
void metrics_add(metrics *m, const char *name, const char *labels, double by);    // counter
void metrics_set(metrics *m, const char *name, const char *labels, double value); // gauge, counter
void metrics_observe(metrics *m, const char *name, const char *labels, double value);
// As metrics_add by 1, with labels made on the spot.
void metrics_count(metrics *m, const char *name, const char *labels_fmt, ...) PRINTF_LIKE(3, 4);

// The value of a counter or gauge, or the number of observations of a histogram; 0 when untouched.
double metrics_get(metrics *m, const char *name, const char *labels);

// Makes series that count from 0, so that an alert sees their first step. labels: one text each,
// NULL at the end. metrics_open has begun all whose labels are known beforehand.
void metrics_begin(metrics *m, const char *name, const char *const *labels);

// Appends the text exposition format 0.0.4: every metric that was touched, in the table's order.
void metrics_write(metrics *m, buf *out);
