// encodec.h - the audio codec: codebooks to samples and back.
//
// EnCodec (Defossez et al. 2022) as transformers stores it, non-causal, one channel, with residual
// vector quantisation; docs/MODELS.md has the formulas. Stereo models run this mono codec once per
// channel. An encodec is immutable after encodec_open and borrows the weight file and the arena.
#pragma once
#include "base/json.h"
#include "base/mem.h"
#include "compute/ops.h"
#include "model/weights.h"

#define ENCODEC_RATIOS_MAX 8
#define ENCODEC_QUANTIZERS_MAX 32
#define ENCODEC_STREAMS_MAX LSTM_ROWS_MAX
#define ENCODEC_SAMPLES_MAX ((int64_t)1 << 32) // samples that one call takes

typedef struct {
    int64_t sample_rate;
    int64_t hop;                             // samples a frame: the product of the ratios
    int64_t dim;                             // width of a latent and of a codebook's vectors
    int64_t codes;                           // vectors in a codebook
    int64_t filters;                         // channels next to the samples
    int64_t ratios[ENCODEC_RATIOS_MAX];      // decoder order
    int64_t ratio_count;                     // channels double with each
    int64_t kernel, last_kernel, res_kernel; // taps
    int64_t res_layers, dilation_growth;     // of residual blocks
    int64_t compress;                        // a residual block's hidden channels: width / this
    int64_t lstm_layers;
    int64_t quantizers; // used; the file may have more
    bool reflect;       // padding at the ends, else zeros
} encodec_config;

typedef struct encodec encodec;

typedef enum { ENCODEC_DECODER = 1, ENCODEC_ENCODER = 2 } encodec_part;

// Reads the "audio_encoder" object of config.json. quantizers: codebooks a channel, at most
// ENCODEC_QUANTIZERS_MAX. ERR_FORMAT names what is out of range or of a kind we do not run.
status encodec_config_read(encodec_config *out, const json *config, int64_t quantizers, err *e);

// Reads the config and binds the parts (or-ed) whose names begin with prefix ("audio_encoder.");
// *out lives in own. With w of type WEIGHTS_BF16 the decoder's heavy products are rounded to bf16
// (seanet.h); the encoder's never are. Missing tensors are w's to report: nothing may run before
// weights_finish.
status encodec_open(encodec **out, weights *w, const json *config, const char *prefix,
                    int64_t quantizers, unsigned parts, arena *own, err *e);
const encodec_config *encodec_get_config(const encodec *k);

// Decodes sequences of equal length side by side (channels, stems), which then share the reading of
// weights. Frames may come in pieces: the samples are the same bits however they are cut and
// whatever the other streams are.
typedef struct encodec_decoder encodec_decoder;
// d takes up to streams_max sequences, and is set for as many.
status encodec_decoder_create(encodec_decoder **out, const encodec *k, int streams_max, err *e);
void encodec_decoder_free(encodec_decoder *d);               // NULL is fine
void encodec_decoder_reset(encodec_decoder *d, int streams); // `streams` new sequences begin

// The most samples that a push of n frames writes for a stream; with last, the exact number.
int64_t encodec_decoder_room(const encodec_decoder *d, int64_t n);

// Pushes n >= 0 more frames of every stream: rows[s * quantizers + q] points to n codes. The
// samples that no later frame can change go to out[s]; *given is their number, the same for each
// stream. last ends the sequences: then every frame has given hop samples. A sequence has at least
// one frame. ERR_ARG: a code is out of range and nothing was decoded. ERR_FORMAT: a sample is not
// finite.
typedef struct {
    const int32_t *const *rows; // [streams * quantizers]
    int64_t n;
    bool last;
    float *const *out; // [streams]
} encodec_frames;
status encodec_decode_push(encodec_decoder *d, compute *c, const encodec_frames *f, int64_t *given,
                           err *e);

// Whole sequences: codes [channels * quantizers, ld], the rows of the channels interleaved (left,
// right, left, ...) as MusicGen has them.
typedef struct {
    const int32_t *codes;
    int64_t ld, frames;
    int channels;
} encodec_codes;
// Decodes n sequences with the same frames and channels, as many side by side as d has streams; d
// has at least `channels`. out[i * channels + channel] has room for frames * hop samples.
status encodec_decoder_run(encodec_decoder *d, compute *c, const encodec_codes *in, size_t n,
                           float *const *out, err *e);
// Decodes one sequence with a decoder of its own.
status encodec_decode(const encodec *k, compute *c, const encodec_codes *in, float *const *out,
                      err *e);

int64_t encodec_frame_count(const encodec *k, int64_t samples); // rounded up
int64_t encodec_products(const encodec *k); // multiplications to decode a frame of one channel

// Encodes one channel of n >= 1 samples. codes [quantizers, frames]; latents [frames, dim], the
// vectors that were quantised, or NULL.
typedef struct {
    int32_t *codes;
    float *latents;
} encodec_encoded;
status encodec_encode(const encodec *k, compute *c, const float *samples, int64_t n,
                      const encodec_encoded *out, err *e);
