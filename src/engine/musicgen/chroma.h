// chroma.h - audio to the pitch classes that MusicGen-Melody listens to: one of twelve a frame.
//
// The features of transformers' MusicgenMelodyFeatureExtractor: power spectrogram with a periodic
// Hann window, centred and reflected at the ends; a bank of Gaussian pitch-class filters; the
// strongest class alone becomes 1. Formulas in docs/MODELS.md. All arithmetic is double, in a fixed
// order, without libm: the same rows on every machine.
#pragma once
#include "base/err.h"
#include "base/json.h"

typedef struct {
    int64_t sample_rate;
    int64_t fft;         // samples a frame, also the window
    int64_t hop;         // samples between frames
    int64_t classes;     // 12; bin 0 is C
    int64_t samples_max; // longer audio is cut
} chroma_config;

typedef struct chroma chroma;

// config: preprocessor_config.json. Absent keys have transformers' defaults.
status chroma_config_read(chroma_config *out, const json *config, err *e);

// Immutable after open; may be shared by threads.
status chroma_open(chroma **out, const chroma_config *config, err *e);
void chroma_close(chroma *k); // NULL is fine
const chroma_config *chroma_get_config(const chroma *k);

// Frames that n samples give: 1 + n / hop, n first cut to samples_max and filled up to one window.
int64_t chroma_frames(const chroma *k, int64_t n);

// The filter bank's column of FFT bin b, 0 <= b <= fft / 2: [classes].
const double *chroma_filter(const chroma *k, int64_t b);

// samples [n], mono, at config's sample rate, n >= 1. onehot [chroma_frames, classes]; raw likewise
// or NULL: filtered power over the window's energy. A frame of silence has its one in bin 0.
status chroma_extract(const chroma *k, const float *samples, int64_t n, float *onehot, float *raw,
                      err *e);
