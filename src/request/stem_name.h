// stem_name.h - the name of a stem's file from a pattern: "{style}_{bpm}bpm_{key}_{stem}".
#pragma once
#include "base/err.h"
#include "stemforge.h"

#define STEM_NAME_PLAIN "{stem}"
#define STEM_NAME_MAX 200 // bytes, without the suffix

// Fills r's pattern in for one of its stems. What is no letter, digit, '#', '.', '-' or '_' becomes
// '-'. ERR_ARG: an unknown place, one that the request says nothing of, no {stem}, or too long.
status stem_name(char out[STEM_NAME_MAX + 1], const stemforge_request *r, const char *stem, err *e);
