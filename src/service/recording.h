// recording.h - the recording that a job follows, fetched from the container.
#pragma once
#include "base/buf.h"
#include "store/blob.h"

typedef struct {
    int64_t bytes_max;
    double seconds_max; // for the whole of it to arrive
} recording_limits;

// Appends the object {audio_file_id} to out, or the first of it with .wav, .flac, .mp3 and .ogg
// that is there. ERR_NOT_FOUND: none is. ERR_LIMIT: too large, or too slow. ERR_FORMAT: its
// Content-Type is no sound's. ERR_CANCELED: stopped said so. Others are the store's.
status recording_fetch(buf *out, blob_store *s, const char *audio_file_id,
                       const recording_limits *l, bool (*stopped)(void *arg), void *arg, err *e);
