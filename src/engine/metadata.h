// metadata.h - what a stem's file says about it: tempo, key, length in beats, and how it was made.
//
// The command's files and the service's carry the same.
#pragma once
#include "audio/file.h"
#include "request/chords.h"
#include "stemforge.h"

typedef struct {
    buf comment;
    char key[CHORDS_KEY_TEXT];
    file_tags tags; // its strings lie here
} metadata;

// s has its request and model. The strings live until metadata_deinit, as long as *out stays where
// it is.
status metadata_init(metadata *out, const stemforge_stem *s, err *e);
void metadata_deinit(metadata *m); // zeroed is fine
