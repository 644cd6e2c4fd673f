// stemforge.h - the engine: open a model, generate stems, follow progress, cancel.
//
// The one public header of libstemforge.a; it needs nothing but the C library. The command line and
// the service use exactly this. Link with -lstemforge -lsndfile -ljansson -lcrypto -lpthread -lm.
//
//     sf_error e;
//     sf_engine *g;
//     sf_options o = sf_options_default();
//     o.model = "models/stemforge-mini";
//     if (sf_open(&g, &o, &e)) die(e.text);
//     const char *stems[] = {"drums", "bass"};
//     sf_request r = sf_request_default();
//     r.stems = stems, r.stem_count = 2, r.bpm = 120, r.seconds = 10, r.seed = 42;
//     sf_events ev = {.stem_done = save, .arg = my_folder};
//     if (sf_generate(g, &r, &ev, &e)) die(e.text);
//     sf_close(g);
//
// Strings are UTF-8 and borrowed for the call. Every function may be called from any thread;
// several threads may be inside sf_generate at once, and their stems then share the running batch.
// The samples of a stem depend on the model, the request and its seed alone: not on threads, the
// instruction set, or what else runs in the batch.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The same numbers as base/err.h's status.
enum {
    SF_OK = 0,
    SF_ERR_ARG,       // the request is wrong
    SF_ERR_NOT_FOUND, // no such model or file
    SF_ERR_LIMIT,     // a stated limit was reached
    SF_ERR_BUSY,
    SF_ERR_CONFLICT,
    SF_ERR_CANCELED, // asked to stop, and did
    SF_ERR_FORMAT,   // a file is not what it claims to be
    SF_ERR_IO,
    SF_ERR_OOM,
    SF_ERR_DEVICE,
};

typedef struct {
    int code;
    char text[508]; // one line: what was expected and what was found
} sf_error;

typedef struct sf_engine sf_engine;

typedef enum { SF_WEIGHTS_AS_STORED = 0, SF_WEIGHTS_F32, SF_WEIGHTS_BF16 } sf_weights;

typedef struct {
    const char *model;  // a folder in the Hugging Face layout, or ORG/NAME in its cache
    int threads;        // 0: as many as the process may use
    const char *isa;    // NULL: the best this machine has; "scalar" "avx2" "avx512" "neon"
    sf_weights weights; // how the decoder's weights are kept; narrower is faster
    int batch_max;      // sequences (stems) in the running step at most; 0: 16
    size_t memory_max;  // bytes the caches of running stems may take in all; 0: no limit
} sf_options;

sf_options sf_options_default(void);

// Loads a model. *out is the caller's (sf_close). NULL on failure, and e says why.
int sf_open(sf_engine **out, const sf_options *o, sf_error *e);
// Cancels what runs, waits for it, frees everything. NULL is fine.
void sf_close(sf_engine *g);

// What a request asks for. Zero or NULL means "not given" where a range does not include it.
typedef struct {
    const char *const *stems;  // of: drums bass guitar vocals piano synth other; no duplicates
    size_t stem_count;         // 1 to 7
    const char *prompt;        // free text, added to each stem's description
    const char *style;         // "rock"
    const char *key;           // "A minor"
    const char *const *chords; // one a bar of four beats, repeated: "C" "F#m7" "D/F#" "N"
    size_t chord_count;
    double bpm;         // 20 to 400; 0: not given
    double seconds;     // 0.1 to 600; default 10. Past the model's window it goes on by windows
    double temperature; // 0 to 2; 0 is greedy; default 1
    int top_k;          // 0: all; default 250
    double top_p;       // 0: off; else up to 1
    double guidance;    // 1: unguided; default 3
    uint64_t seed;      // stem i draws from (seed, its name), so adding a stem changes no other
    const char *melody; // audio file whose chroma steers a melody model
    const char *continue_from; // audio file that each stem goes on from; it is kept at the front
    const bool *skip; // [stem_count] true: do not make this stem (it exists); NULL: make all
} sf_request;

sf_request sf_request_default(void);

// Checks a request without a model: SF_ERR_ARG names the first wrong field.
int sf_request_check(const sf_request *r, sf_error *e);

// A finished stem: resampled, faded, normalised, exactly as long as asked for.
typedef struct {
    const char *name;     // "drums"
    const float *samples; // [frames, channels] interleaved, peak 0.8
    int64_t frames;
    int channels;         // 2
    int sample_rate;      // 44100
    const char *prompt;   // the text the model was given
    double seconds_spent; // wall time from the call to here
} sf_stem;

// Called on the thread that called sf_generate. Any of them may be NULL.
typedef struct {
    void *arg;
    // Each stem as soon as it is finished; the stem is valid during the call. Not SF_OK ends the
    // request with that code and e.
    int (*stem_done)(void *arg, size_t index, const sf_stem *stem, sf_error *e);
    // done of total steps of stem index; about ten times a second while it runs.
    void (*progress)(void *arg, size_t index, int64_t done, int64_t total);
    // Asked often; true ends the request with SF_ERR_CANCELED.
    bool (*canceled)(void *arg);
} sf_events;

// Blocks until every stem is done or one has failed. ev may be NULL.
int sf_generate(sf_engine *g, const sf_request *r, const sf_events *ev, sf_error *e);

typedef struct {
    const char *name;      // the model's name: the last part of its path or hub name
    const char *family;    // "musicgen", "musicgen_melody"
    int sample_rate;       // of the codec
    int channels;          // 1 or 2
    double window_seconds; // longest span one pass can make
    double frame_rate;     // decoder steps per second of audio
    int64_t parameters;    // values in all
    size_t weight_bytes;   // as kept in memory
    size_t stem_bytes;     // cache memory per running stem of window_seconds
    int threads;
    const char *isa;
} sf_info;

// Borrowed strings live as long as g.
sf_info sf_engine_info(const sf_engine *g);

typedef struct {
    uint64_t steps;      // decoder steps run since open
    uint64_t rows;       // sequences stepped in all: rows / steps is the mean batch
    int running;         // stems in the batch now
    int waiting;         // stems that wait for a place
    double busy_seconds; // wall time spent in steps
} sf_stats;

sf_stats sf_engine_stats(sf_engine *g);

const char *sf_version(void);

#ifdef __cplusplus
}
#endif
