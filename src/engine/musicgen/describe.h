// describe.h - what `stemforge info` says of a MusicGen model.
#pragma once
#include "engine/family.h"

// As describe in engine/family.h.
bool musicgen_describe(const family *f, buf *text, json *members);
