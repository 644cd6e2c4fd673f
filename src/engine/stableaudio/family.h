// family.h - Stable Audio Open as a family of models (engine/family.h).
#pragma once
#include "engine/family.h"

extern const family_ops stableaudio_family_ops;
