// stemforge.h - the engine: open a model, generate stems, follow progress, cancel.
//
// The public header of libstemforge.a, with stemforge_error.h beside it; they need nothing but the
// C library. The command line and the service use exactly this. Link with -lstemforge -lsndfile
// -lpng -ljansson -lcrypto -lpthread -lm.
//
//     stemforge_error e;
//     stemforge_engine *g;
//     stemforge_options o = stemforge_options_default();
//     o.model = "models/stemforge-mini";
//     if (stemforge_open(&g, &o, &e)) die(e.text);
//     const char *stems[] = {"drums", "bass"};
//     stemforge_request r = stemforge_request_default();
//     r.stems = stems, r.stem_count = 2, r.bpm = 120, r.seconds = 10, r.seed = 42;
//     stemforge_events ev = {.stem_done = save, .arg = my_folder};
//     if (stemforge_generate(g, &r, &ev, &e)) die(e.text);
//     stemforge_close(g);
//
// A stemforge_error is filled when the function fails; NULL is fine.
// Strings are UTF-8 and borrowed for the call. Every function may be called from any thread;
// several threads may be inside stemforge_generate at once, and their stems then share the running
// batch. The samples of a stem depend on the model, the request and its seed alone: not on threads,
// the instruction set, or what else runs in the batch.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stemforge_error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct stemforge_engine stemforge_engine;

typedef enum {
    STEMFORGE_WEIGHTS_AS_STORED = 0,
    STEMFORGE_WEIGHTS_F32,
    STEMFORGE_WEIGHTS_BF16,
    STEMFORGE_WEIGHTS_Q8,
    STEMFORGE_WEIGHTS_Q4
} stemforge_weights;

typedef struct {
    const char *model; // a folder in the Hugging Face layout, or ORG/NAME in its cache
    int threads;       // 0: as many as the process may use
    const char *isa;   // NULL: the best this machine has; "scalar" "avx2" "avx512" "amx" "neon"
    stemforge_weights weights; // how weights are kept (decoder, codec); narrower is faster
    int batch_max;             // sequences (stems) in the running step at most, to 1024; 0: 16
    size_t memory_max;         // bytes the caches of running stems may take in all; 0: no limit
    const char *device;        // "auto" (also NULL): a GPU that can, else the CPU; "cpu"; "cuda" or
                               // "cuda:1": an error without that GPU. The samples are the same
    stemforge_engine *beside;  // an open engine, whose threads this one shares in place of its own:
                               // they compute by turns, in equal shares of time; NULL: none
    // A recording is followed when it is no longer and at least as sure (stemforge_heard).
    double follow_seconds_max; // 0.1 to 600, the default
    double follow_tempo_sure;  // 0 to 1; 0.5 by default
    double follow_chords_sure; // likewise; 0.35
} stemforge_options;

stemforge_options stemforge_options_default(void);

// "stored", "f32", "bf16", "q8" or "q4". False for any other name.
bool stemforge_weights_parse(const char *name, stemforge_weights *out);

// Loads a model. *out is the caller's (stemforge_close). NULL on failure, and e says why.
stemforge_status stemforge_open(stemforge_engine **out, const stemforge_options *o,
                                stemforge_error *e);

// The papers of a model: what stemforge_engine_check needs of its files, without weights, some
// megabytes. *papers is the caller's (stemforge_free). NULL on failure.
stemforge_status stemforge_papers(const char *model, void **papers, size_t *size,
                                  stemforge_error *e);
// Opens a model by its papers, for a program that has no model. The engine checks requests and
// tells its info as the model's own does; stemforge_generate answers STEMFORGE_ERR_ARG. Files are
// unpacked where temporary ones go ($TMPDIR, /tmp, /dev/shm), and removed before it returns.
stemforge_status stemforge_open_papers(stemforge_engine **out, const void *papers, size_t size,
                                       stemforge_error *e);

// The family that a model is of, as people write it ("MusicGen"), from its documents alone. NULL:
// none that the library knows.
const char *stemforge_model_title(const char *model);
// The same as stemforge_info.key has it: "musicgen".
const char *stemforge_model_key(const char *model);
// Cancels what runs, waits for it, frees everything. NULL is fine.
void stemforge_close(stemforge_engine *g);

#define STEMFORGE_STEMS_MAX 7
#define STEMFORGE_CHORDS_MAX 256
#define STEMFORGE_TAKES_MAX 8
#define STEMFORGE_SECTIONS_MAX 64

// What a request asks for. Zero or NULL means "not given" where a range does not include it.
typedef struct {
    const char *const *stems;    // of: drums bass guitar vocals piano synth other; no duplicates
    size_t stem_count;           // 1 to STEMFORGE_STEMS_MAX
    const char *prompt;          // free text of at most 4096 characters, added to the description
    const char *negative_prompt; // what not to sound like; for models that can; as prompt
    const char *style;           // "rock"; at most 256 characters
    const char *key;             // "A minor"
    const char *const *chords;   // one a bar, repeated: "C" "F#m7" "D/F#" "N"
    size_t chord_count;          // 0 to STEMFORGE_CHORDS_MAX
    double bpm;                  // quarter notes a minute, 20 to 400; 0: not given
    const char *meter;           // "4/4" (NULL), "3/4" or "6/8"
    int chords_per_bar;          // 1 to 4; 0: 1
    const double *beats; // where the tempo moves: seconds of quarter notes from the first bar
    size_t beat_count;   // line on, rising, 2 or more; bpm is near their tempo. 0: it is even
    double seconds;      // 0.1 to 600; -1, the default: the time of the bars, else 10 s. Past the
                         // model's window it goes on by windows
    int bars;            // 1 to 256 bars of the meter at bpm in place of seconds; 0: not given
    bool loop;           // so many bars that repeat without a seam
    // Parts of the piece in place of bars: "8; Am F C G; drums bass; sparse" is bars, chords, the
    // stems that play and their density (sparse, normal, dense). The last three may be empty: the
    // chords above, all stems, normal.
    const char *const *sections;
    size_t section_count;    // 0 to STEMFORGE_SECTIONS_MAX
    bool ending;             // the last bar has the tonic, and what sounds then dies away
    double fade_in_seconds;  // 0 to 30; -1, the default: 0.1, of a loop 0
    double fade_out_seconds; // the same
    double temperature;      // 0 to 2; 0 is greedy; default 1. Times the model's own for each stem
    const double *temperatures; // [stem_count] that each stem is drawn with, to 4, whatever the
                                // model says; -1: as above. NULL: all as above
    int top_k;                  // 0: all; -1, the default: what the model says, else 250
    double top_p;               // 0: off; else up to 1
    int steps;                  // of a model that removes noise, 1 to 500; 0: what the model says
    const char *sampler;        // of such a model: "dpmpp-3m-sde"; NULL: what the model says
    double canvas;              // seconds that such a model works on, 0.1 to 600; 0: all it can
    bool past_canvas;   // a longer stem goes on canvas by canvas; false: such a request is refused
    double guidance;    // 1: unguided; -1, the default: what the model says, else 3
    uint64_t seed;      // stem i draws from (seed, its name), so adding a stem changes no other
    const char *melody; // audio file whose chroma steers a melody model
    const char *continue_from; // audio or code file (.safetensors) that each stem goes on
                               // from; audio is kept at the front as it is, without a fade at
                               // its end
    double more_seconds;       // 0.1 to 600 behind continue_from, in place of seconds; 0: not given
    const char *init_audio; // audio file that a model that removes noise varies, or mends in part
    double strength; // of the variation, 0.01 to 1: all is new; 0: 0.4, or 1 where a part is mended
    double remake_from, remake_to; // seconds that are made anew, 0 to 600; -1: from the beginning,
                                   // to the end
    const char *const *follow;   // what of a recording the stems follow: "tempo" "chords" "melody";
    size_t follow_count;         // chords need tempo. 0: nothing
    const char *recording;       // its audio file, of at most 600 s
    const void *recording_image; // or that file's bytes
    size_t recording_size;
    int takes;        // of each stem, 1 to STEMFORGE_TAKES_MAX, of which one is chosen; 0: 1
    const int *take;  // [stem_count] the number of each stem's first take; NULL: 0. A chosen take
                      // alone: takes 0, and its number here
    const char *name; // pattern of its files' names, for whoever writes them:
                      // "{style}_{bpm}bpm_{key}_{stem}"; NULL: "{stem}"
    const bool *skip; // [stem_count] true: do not make this stem (it exists); NULL: make all
} stemforge_request;

stemforge_request stemforge_request_default(void);

// Checks a request without a model: STEMFORGE_ERR_ARG, and e->where is the first wrong field.
stemforge_status stemforge_request_check(const stemforge_request *r, stemforge_error *e);

// What a finished stem holds, heard in its samples: the figures of `stemforge analyse`. What was
// not heard with some certainty is 0 or NULL. Strings live as long as the stem.
typedef struct {
    double bpm;                // quarters; of a tempo and its double, the nearest to what was asked
    double first_beat_seconds; // when there is a tempo
    const char *key;           // "A minor"
    const char *const *chords; // as many a bar as asked for, 256 at most: "Am" "F"; "A5" has no
                               // third, "N": no chord
    size_t chord_count;
    const char *type;  // the stem that it sounds like most; NULL: silent
    double type_share; // of its energy, what is heard as that
    double leak;       // what is heard as another group of drums, bass, and what plays chords
    double held_pitch; // share of the sounding time in which a pitch stands still; -1: drums
    double lufs;       // integrated loudness (EBU R128); -70: silent
    double gain_db;    // to the loudness of such a stem in a balanced mix
    const char *const *faults; // "silence" "early_end" "flat_tops" "clicks"
    size_t fault_count;
} stemforge_measured;

// What was heard in a recording that a request follows.
typedef struct {
    double bpm;               // 0: tempo was not followed
    double tempo_sure;        // 0 to 1; under 0.5 the request fails
    double first_bar_seconds; // where the first whole bar begins
    size_t bars;
    const char *const *chords; // one a bar from there on: "Am" "F"; "N": none is heard
    size_t chord_count;        // 0: chords were not followed
    double chords_sure;        // share of bars whose chord is sure; under 0.35 the request fails
    const char *key;           // "A minor"; NULL: none is heard
} stemforge_heard;

// What the model needs and the request does not say, or what the request says and the model does
// not use, or what is not heard in a stem that was asked for it. The request is good all the same.
typedef struct {
    const char *code;  // "assumed" "not_used" "text_cut" "not_met"; there may be more one day
    const char *field; // member of stemforge_request: "bpm"
    const char *text;  // a sentence: "no tempo was given: 120 bpm is assumed"
} stemforge_warning;

// A finished stem: resampled, folded (a loop) or faded, normalised, exactly as long as asked for.
typedef struct {
    const char *name;     // "drums"
    const float *samples; // [frames, channels] interleaved, peak 0.8
    int64_t frames;
    int channels;                       // 2
    int sample_rate;                    // 44100
    const char *prompt;                 // the text the model was given
    const char *model;                  // its name
    const stemforge_request *request;   // what was asked for; NULL: not known
    const stemforge_measured *measured; // NULL: it was not
    const stemforge_heard *heard;       // in the recording it follows; NULL: it follows none
    const stemforge_warning *unmet;     // [unmet_count] what was asked of it and is not heard in
    size_t unmet_count;                 // it, with both and how sure: "bass: asked 120 bpm, ..."
    double temperature;   // drawn with: the request's times the model's for this type of stem
    double seconds_spent; // wall time from the call to here
    int take;             // its number. Take 0 is the stem that a request for one take makes
    bool chosen;          // the best of its stem's takes; it comes last
} stemforge_stem;

// The stem as a WAV file of 16 bits that says what was asked for: prompt, model, settings, tempo,
// bars. *wav is the caller's (stemforge_free); NULL on failure.
stemforge_status stemforge_stem_wav(const stemforge_stem *s, uint8_t **wav, size_t *size,
                                    stemforge_error *e);
void stemforge_free(void *p); // NULL is fine

// What the stems of a request are made on, which is known exactly: a click on each beat as a WAV
// file, and tempo, chords with their names, and beats as a MIDI file. As stemforge_stem_wav.
// STEMFORGE_ERR_ARG: the request has no tempo, or its beats are a recording's.
stemforge_status stemforge_click(const stemforge_request *r, uint8_t **wav, size_t *size,
                                 stemforge_error *e);
stemforge_status stemforge_midi(const stemforge_request *r, uint8_t **midi, size_t *size,
                                stemforge_error *e);

// Called on the thread that called stemforge_generate. Any of them may be NULL.
typedef struct {
    void *arg;
    // Each warning, before the first step; it is valid during the call.
    void (*warning)(void *arg, const stemforge_warning *w);
    // Each stem as soon as it is finished; the stem is valid during the call. With several takes it
    // comes once for each: one that was not chosen as soon as that is known, the chosen one last.
    // Not STEMFORGE_OK ends the request with that code and e.
    stemforge_status (*stem_done)(void *arg, size_t index, const stemforge_stem *stem,
                                  stemforge_error *e);
    // done of total steps of stem index; about ten times a second while it runs.
    void (*progress)(void *arg, size_t index, int64_t done, int64_t total);
    // Asked often; true ends the request with STEMFORGE_ERR_CANCELED.
    bool (*canceled)(void *arg);
} stemforge_events;

// Blocks until every stem is done or one has failed; then e->where is that stem's name. ev may be
// NULL.
stemforge_status stemforge_generate(stemforge_engine *g, const stemforge_request *r,
                                    const stemforge_events *ev, stemforge_error *e);

// Checks a request as stemforge_generate does before it makes anything: warnings come through ev,
// nothing else does. What only a model knows is checked too: whether the text fits, for one.
stemforge_status stemforge_engine_check(stemforge_engine *g, const stemforge_request *r,
                                        const stemforge_events *ev, stemforge_error *e);

typedef struct {
    const char *name;      // the model's name: the last part of its path or hub name
    const char *family;    // "musicgen", "musicgen_melody"
    const char *key;       // "musicgen" "stable_audio": the family, as a service's requests name it
    const char *title;     // the family as people write it: "MusicGen"
    int sample_rate;       // of the codec
    int channels;          // 1 or 2
    double window_seconds; // longest span one pass can make
    double frame_rate;     // decoder steps per second of audio
    int top_k;             // what a request that says -1 is drawn with; 0: all; -1: it has none
    double guidance;       // the same; 0: it has none
    int steps;             // what a request that says 0 is made with; 0: it has none
    int64_t parameters;    // values in all
    size_t weight_bytes;   // as kept in memory
    size_t stem_bytes;     // cache memory per running stem of window_seconds
    int threads;
    const char *isa;
    int arithmetic;      // the number of the arithmetic, which recipes name
    const char *gpu;     // the name of the GPU that computes; NULL: the CPU does
    const char *cpu_why; // why no GPU computes; "" when none was asked for
    bool gpu_refused;    // a GPU, or its driver, is there, and cpu_why says what it lacks
    size_t gpu_memory;   // bytes
    int gpu_driver;      // 13000: the driver knows CUDA 13.0
} stemforge_info;

// Borrowed strings live as long as g.
stemforge_info stemforge_engine_info(const stemforge_engine *g);

typedef struct {
    uint64_t steps;      // decoder steps run since open
    uint64_t rows;       // sequences stepped in all: rows / steps is the mean batch
    int running;         // stems in the batch now
    int waiting;         // stems that wait for a place
    double busy_seconds; // wall time spent in steps
    bool on_gpu;         // a GPU computes now
    int gpu_failures;    // times that a GPU failed and the CPU went on
} stemforge_stats;

stemforge_stats stemforge_engine_stats(stemforge_engine *g);

// Which model it is: a digest of its tensors, the same in every folder and for a packed file of it.
// It reads a little of each tensor: some milliseconds. "": not known.
#define STEMFORGE_DIGEST_SIZE 33
stemforge_status stemforge_engine_digest(const stemforge_engine *g, char out[STEMFORGE_DIGEST_SIZE],
                                         stemforge_error *e);

const char *stemforge_version(void);

#ifdef __cplusplus
}
#endif
