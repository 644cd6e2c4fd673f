// stem_file.h - the file that a stem becomes in storage: its key, its format, its content type.
//
// The key is {audio_file_id}/generated/{generation_request_id}/{name}.wav, of a take that was not
// chosen {name}.take2.wav; this is the only place that makes one or takes one apart. The name is
// the stem's, or what the request's pattern says.
#pragma once
#include "base/base.h"

#define STEM_FILE_FORMAT "wav"
#define STEM_FILE_TYPE "audio/wav"

// Ids are those of a job, and name is a file's, so they are checked already. Cut to cap.
void stem_file_key(char *out, size_t cap, const char *audio_file_id, const char *id,
                   const char *name);
// number: of the take.
void stem_file_take_key(char *out, size_t cap, const char *audio_file_id, const char *id,
                        const char *name, int number);
// The key of a file that belongs to the stem whose key is given: end is ".take2", or "" for its
// own.
void stem_file_other_key(char *out, size_t cap, const char *key, const char *end);
// Whether key is one of a stem: what may be served to whoever asks for it.
bool stem_file_is_key(const char *key);
