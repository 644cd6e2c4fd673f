// chroma.h - audio to what MusicGen-Melody listens to: the strongest of twelve pitch classes in
// each frame.
//
// The features of transformers' MusicgenMelodyFeatureExtractor: power spectrogram with a periodic
// Hann window, centred and reflected at the ends; a bank of Gaussian pitch-class filters; the
// strongest class alone becomes 1. Formulas in docs/MODELS.md. All arithmetic is double, in a fixed
// order, without libm: the same rows on every machine.
#pragma once
#include "base/err.h"
#include "base/json.h"

#define CHROMA_CLASSES_MAX 240
#define CHROMA_WORK_MAX ((int64_t)1 << 26) // samples of all frames together: some seconds

typedef struct {
    int64_t sample_rate;
    int64_t fft;         // samples in a frame and in the window
    int64_t hop;         // samples between frames
    int64_t classes;     // 12 or a multiple; bin 0 is C
    int64_t samples_max; // longer audio is cut
} chroma_config;

typedef struct chroma chroma;

// config: preprocessor_config.json, NULL when there is none. Absent keys have transformers'
// defaults. Its feature_size means nothing, as in transformers: num_chroma is the number of
// classes; where it is absent (transformers does not save it) they are `classes`, the decoder's.
status chroma_config_read(chroma_config *out, const json *config, int64_t classes, err *e);

// Immutable after open; may be shared by threads.
status chroma_open(chroma **out, const chroma_config *config, err *e);
void chroma_close(chroma *k); // NULL is fine
const chroma_config *chroma_get_config(const chroma *k);

// The number of frames that n samples give: 1 + n / hop, where n is first limited to samples_max
// and padded to one window.
int64_t chroma_frames(const chroma *k, int64_t n);

// The filter bank's column of FFT bin b, 0 <= b <= fft / 2: [classes].
const double *chroma_filter(const chroma *k, int64_t b);

// ERR_LIMIT when so many frames are more work than CHROMA_WORK_MAX.
status chroma_check_work(const chroma *k, int64_t frames, err *e);

// The first n frames (as many as there are at most): onehot [n, classes]; raw likewise or NULL:
// filtered power over the window's energy. A frame of silence has its one in bin 0.
typedef struct {
    float *onehot, *raw;
    int64_t n;
} chroma_rows;
// samples [n], mono, at config's sample rate, n >= 1. ERR_LIMIT as chroma_check_work.
status chroma_extract(const chroma *k, const float *samples, int64_t n, const chroma_rows *out,
                      err *e);
