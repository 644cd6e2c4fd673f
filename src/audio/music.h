// music.h - tempo, key and bars inside a sound file: chunks of a WAV, comments of FLAC and Ogg.
//
// A WAV gets `acid` (tempo, beats, root), `cue ` (the bar lines) and, for a loop, `smpl`. FLAC and
// Ogg get BPM and KEY. libsndfile writes none of these.
#pragma once
#include "base/buf.h"
#include "base/err.h"

typedef struct {
    double bpm;        // 0: not known, and a WAV gets no chunk
    const char *key;   // "A minor"; NULL: not known
    int root;          // MIDI note of the tonic, 60 to 71; 0: not known, or the sound has no pitch
    int beats_per_bar; // at least 1 when bpm is known
    bool whole;        // the file is whole bars, the first at its beginning
    bool loop;         // and repeats without a seam
} music_facts;

// Appends a WAV of that many frames to out, with the chunks in front of its samples: readers that
// expect the samples at the end of the file find them there.
status music_add_wav(buf *out, const uint8_t *wav, size_t n, const music_facts *m, int64_t frames,
                     int rate, err *e);

// A comment that libsndfile cannot write takes the place of one that it can, of the same length.
#define MUSIC_COMMENT_MAX 40
typedef struct {
    const char *stand_in;           // libsndfile's name of it
    char text[MUSIC_COMMENT_MAX];   // "BPM=120"; "": none
    char filler[MUSIC_COMMENT_MAX]; // the value of the stand-in
} music_comment;
// BPM for DATE, KEY for GENRE.
#define MUSIC_COMMENTS 2
void music_comments(music_comment out[MUSIC_COMMENTS], const music_facts *m);
// Puts the comments into their places in a FLAC or Ogg image. Pages' checksums are the caller's.
void music_place_comments(uint8_t *image, size_t n, const music_comment c[MUSIC_COMMENTS]);
