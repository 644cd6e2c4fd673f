// describe.h - a Stable Audio model in words and in JSON, for `stemforge info`.
#pragma once
#include "engine/family.h"

bool stableaudio_describe(const family *f, buf *text, json *members);
