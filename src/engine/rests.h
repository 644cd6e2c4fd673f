// rests.h - where a stem is silent because the request says so: in sections that it does not play
// in, and behind the first beats of an ending.
#pragma once
#include "audio/post.h"
#include "request/sections.h"

#define RESTS_MAX (SECTIONS_MAX + 1)
// A rest ends, and begins, so much before its bar line: attacks may come a little early.
#define RESTS_EARLY_SECONDS 0.01
#define RESTS_OUT_SECONDS 0.02 // fade before a rest, and behind it
#define RESTS_IN_SECONDS 0.003

// In order and apart, in frames at rate. Returns how many.
size_t rests_of(post_rest out[RESTS_MAX], const stemforge_request *r, const char *stem, int rate);
