// file.h - WAV, FLAC and Ogg Vorbis in and out, to and from memory, over libsndfile.
//
// Writing: the same samples and tags give the same bytes (no time stamps, a fixed Ogg serial
// number; lossy Ogg still depends on the Vorbis library's version). Integer formats hold round(x
// 2^(bits-1)), halves to even, without dither; what is past full scale is held there. Reading: the
// file is hostile; what comes out has been checked.
#pragma once
#include "audio/music.h"
#include "base/buf.h"
#include "base/err.h"

typedef enum {
    FILE_WAV16, // the default
    FILE_WAV24,
    FILE_WAV_F32,
    FILE_FLAC16,
    FILE_FLAC24,
    FILE_OGG, // Vorbis, quality 0.6 of 1
} file_format;

// "wav" or "wav16", "wav24", "wavf32" (or "wav32"), "flac" or "flac16", "flac24", "ogg". ERR_ARG
// lists them.
status file_format_parse(file_format *out, const char *name, err *e);
const char *file_format_suffix(file_format f); // "wav", "flac" or "ogg"

#define FILE_TAG_MAX 8000 // bytes; a longer tag is cut between characters

// What is kept inside the file beside the sound. Strings are UTF-8; NULL or "": left out.
typedef struct {
    const char *title, *artist, *comment, *software;
    music_facts music;
} file_tags;

#define FILE_CHANNELS_MAX 8
#define FILE_BYTES_MAX ((size_t)2 << 30)
#define FILE_VALUES_MAX ((int64_t)1 << 28) // samples of all channels that are read: 1 GB of memory

// Encodes x [frames, channels], rate in Hz, and appends it to out, which the caller made with a
// maximum (FILE_BYTES_MAX will do). tags may be NULL. ERR_FORMAT when a sample is not finite.
status file_encode(buf *out, file_format f, const float *x, int64_t frames, int channels, int rate,
                   const file_tags *tags, err *e);
// Encodes and puts the file under its name whole, or not at all.
status file_write(const char *path, file_format f, const float *x, int64_t frames, int channels,
                  int rate, const file_tags *tags, err *e);

// Decoded sound. file_clip_deinit releases it; zeroed is fine.
typedef struct {
    float *x; // [frames, channels], full scale 1
    int64_t frames;
    int channels, rate;
    uint8_t place[FILE_CHANNELS_MAX]; // fold_place of each channel; 0: the file does not say
    char warning[128];                // "", or what was wrong with the file and read all the same
} file_clip;
void file_clip_deinit(file_clip *c);

typedef struct {
    double seconds_max; // longer gives ERR_LIMIT, as does more than FILE_VALUES_MAX
    int channels_max;   // 1 to FILE_CHANNELS_MAX; more gives ERR_LIMIT
} file_limits;
file_limits file_limits_default(void); // 3600 s, FILE_CHANNELS_MAX

// Decodes a WAV, RF64, W64, AIFF, AU, CAF, FLAC, Ogg or MP3 image. ERR_FORMAT when it is none of
// them, is damaged, holds less than it says, has no frames, or a sample that is not finite. A WAV
// as a recorder left it is read with a warning (wav.h), which file_read also logs.
status file_decode(file_clip *out, bytes image, const file_limits *limits, err *e);
status file_read(file_clip *out, const char *path, const file_limits *limits, err *e);

// Brings a clip to another rate and to one plane a channel: *planes [channels, *frames], the
// caller's (mem_free). channels 1 takes the mean of two; 2 copies a mono clip; more than two are
// folded down (fold.h).
status file_clip_planes(float **planes, int64_t *frames, const file_clip *c, int rate, int channels,
                        err *e);
