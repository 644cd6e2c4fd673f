// wav.h - WAV files as recorders and editors leave them, made into such as any reader takes.
//
// A recorder that was cut off leaves the size of its data at 0 or at the largest number; editors
// forget the pad byte of an odd chunk, write BW64 in place of RF64, or put the sound into several
// data chunks. The sound is all there, so it is read, and `warning` says what was wrong. A file
// that holds less than it says is refused: it was cut.
#pragma once
#include "base/buf.h"

typedef struct {
    bytes image;       // what to read: the file as it is, or a copy in own
    buf own;           // empty when nothing had to be repaired
    char warning[128]; // "" when nothing was wrong
} wav_image;

// file is borrowed until wav_image_deinit. What is not a WAV passes as it is.
status wav_repair(wav_image *out, bytes file, err *e);
void wav_image_deinit(wav_image *w);
