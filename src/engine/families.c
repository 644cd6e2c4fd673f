// families.c - the families of models that the program knows. A new one is a line here.
#include "engine/family.h"
#include "engine/musicgen/family.h"
#include "engine/stableaudio/family.h"

const family_ops *const families[] = {&musicgen_family_ops, &stableaudio_family_ops};
const size_t family_count = ARRAY_LEN(families);
