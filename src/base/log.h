// log.h - one line per event to stderr: time, level, module, message.
//
// Text: 2026-03-04T05:06:07.890Z info worker Starting generation for request_id=a, audio_file_id=b
// JSON: {"ts":"...","level":"info","module":"worker","msg":"...","job":"a","stem":"drums"}
// A line is written with one write(2), so lines of threads never mix. Control characters in the
// message become blanks: nobody can forge a line. Secrets are never passed here.
#pragma once
#include "base/base.h"

typedef enum { LOG_OFF = -1, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG } log_level;

// Set once, before threads start. Defaults: LOG_INFO, text.
void log_setup(log_level most, bool json);
bool log_level_parse(const char *name, log_level *out); // "error" "warn" "info" "debug"

// What the lines of a thread are about: members of their JSON. Text lines have what msg says.
typedef struct {
    const char *job, *stem, *request, *method, *route, *client; // NULL: no such member
    const char *trace;                                          // likewise
    int status, attempt;                                        // 0: likewise
    double seconds;                                             // 0: likewise
} log_fields;

// Lines that this thread writes from now on have these; returns those of before, to be set again.
// What they point to is borrowed until then.
log_fields log_set_fields(log_fields f);

void log_write(log_level level, const char *module, const char *fmt, ...) PRINTF_LIKE(3, 4);

#define log_error(module, ...) log_write(LOG_ERROR, module, __VA_ARGS__)
#define log_warn(module, ...) log_write(LOG_WARN, module, __VA_ARGS__)
#define log_info(module, ...) log_write(LOG_INFO, module, __VA_ARGS__)
#define log_debug(module, ...) log_write(LOG_DEBUG, module, __VA_ARGS__)
