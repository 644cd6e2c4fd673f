// shipped_variant.h - the shipped model with another config.json: what its "stemforge" object says
// is changed, all else is links to its files.
#pragma once
#include <stddef.h>

// folder: of mkdtemp's form, in the file system's temporary folder; names the new folder
// afterwards. silenced: n members of config.json that nobody reads there; says: members for its
// "stemforge" object, each with a comma behind. Fails the test where it cannot.
void shipped_variant(char *folder, const char *const *silenced, size_t n, const char *says);
void shipped_variant_remove(const char *folder);
