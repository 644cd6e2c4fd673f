// target.h - the file that a command writes, looked at before the work.
#pragma once
#include <stdio.h>

#include "audio/file.h"

// Whether path can be written and is none of the n files that are read.
status target_check(const char *path, const char *const *inputs, size_t n, err *e);

// The format that a sound file of this name has. format is the one asked for, or NULL: the suffix
// says it. WAV where there is no suffix, and for a device or FIFO. ERR_ARG when they contradict,
// and for a suffix that is none of them.
status target_format(file_format *out, const char *path, const char *format, err *e);

// ERR_ARG when the file's name has a suffix, and another one than expected (".gguf").
status target_suffix(const char *path, const char *expected, err *e);

// Where to say that path was written: stderr when what was written went to stdout.
FILE *target_report(const char *path);
