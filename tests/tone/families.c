// families.c - the families of the test programs. Linked before the library, this list takes the
// place of src/engine/families.c, so the tone needs no word in the product.
#include "engine/musicgen/family.h"
#include "engine/stableaudio/family.h"
#include "tone.h"

const family_ops *const families[] = {&musicgen_family_ops, &stableaudio_family_ops,
                                      &tone_family_ops};
const size_t family_count = ARRAY_LEN(families);
