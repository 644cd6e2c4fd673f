// trace.h - traceparent, the header that ties the requests of several services together (W3C Trace
// Context 1).
#pragma once
#include "base/err.h"

#define TRACE_ID_LEN 32
#define TRACE_PARENT_LEN 55

// Whether text is a traceparent that may be passed on: version-trace-parent-flags, in lower case.
// Versions to come may have more behind it. NULL is none.
bool trace_ok(const char *text);
// The id of the trace that text, which is fine, belongs to; "" of any other text.
void trace_id(char out[TRACE_ID_LEN + 1], const char *text);
// A traceparent for what we send: the same trace and flags, and we as the parent. ERR_IO: the
// system gave no random bytes.
status trace_child(char out[TRACE_PARENT_LEN + 1], const char *text, err *e);
