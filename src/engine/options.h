// options.h - stemforge.h: how an engine is opened, and what is wrong with it.
#pragma once
#include "base/err.h"
#include "stemforge.h"

#define OPTIONS_PLACES 16 // stems in the running step, unless the options say otherwise
#define OPTIONS_PLACES_MAX 1024

status options_check(const stemforge_options *o, err *e);
