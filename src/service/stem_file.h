// stem_file.h - the file that a stem becomes in storage: its key, its format, its content type.
//
// The key is {audio_file_id}/generated/{generation_request_id}/{stem}.wav, of a take that was not
// chosen {stem}.take2.wav; this is the only place
// that makes one or takes one apart.
#pragma once
#include "base/base.h"

#define STEM_FILE_FORMAT "wav"
#define STEM_FILE_TYPE "audio/wav"

// Ids and stem are those of a job, so they are checked already. Cut to cap.
void stem_file_key(char *out, size_t cap, const char *audio_file_id, const char *id,
                   const char *stem);
// number: of the take.
void stem_file_take_key(char *out, size_t cap, const char *audio_file_id, const char *id,
                        const char *stem, int number);
// Whether key is one of a stem: what may be served to whoever asks for it.
bool stem_file_is_key(const char *key);
