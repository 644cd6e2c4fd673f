// files_inside.h - what files.c and files_packed.c share.
#pragma once
#include "engine/stableaudio/files.h"

// Fills what sa_files_open fills, from m, a packed file.
status sa_files_open_packed(sa_files *out, const checkpoint *m, err *e);
// The document "schedule" of a packed file: schedule, tokens and original of out.
status sa_files_read_schedule(sa_files *out, const json *j, err *e);
