// family.h - the table behind which a family of models stands: what the engine and the batch ask.
//
// A family makes stems in steps. What a step is, is its own affair: a column of codes for MusicGen,
// a denoising step for a diffusion model. engine.c and batch.c know this table and no network;
// families.c lists the families of the program. docs/howto/a-network.md says how to add one.
//
//     open                         files -> networks
//     plan, take                   a request -> what its stems share, and each stem; not yet begun
//     begin                        text, memory
//     prefill, step ...            until done == total
//     finish                       -> sound
//     end, take_free, plan_free, close
//
// begin, prefill, step, finish and end run on the batch's one thread, the only one that computes.
// plan, take, take_free and plan_free run on the threads of callers, several at once.
#pragma once
#include <stdatomic.h>

#include "compute/ops.h"
#include "engine/checkpoint.h"
#include "engine/digest.h"
#include "engine/front.h"
#include "engine/packing.h"
#include "gpu/device.h"
#include "request/warnings.h"
#include "stemforge.h"

typedef struct family_ops family_ops;
typedef struct trace_result trace_result; // trace.h
typedef struct trace_input trace_input;

// An opened model. The struct of a family begins with one.
typedef struct {
    const family_ops *ops;
    checkpoint files;
    compute *c;          // borrowed
    stemforge_info info; // filled by open: what is true of the model
    // Set by open, when the networks were brought to the GPU of the options.
    atomic_bool on_gpu; // until leave_gpu
    size_t gpu_bytes;   // of its memory for running takes
    char cpu_why[200];  // why the GPU that was offered is not used; "" when it is
} family;

// What all stems of one request share. The struct of a family begins with one.
typedef struct {
    family *f;
    const stemforge_request *r; // checked; borrowed until plan_free, or own
    stemforge_request own;      // the request with what only the plan knows, such as its length
    front front;                // the audio file that it goes on from
    warnings said;              // plan and take add what the model assumes and does not use
} plan;

// One stem to make. The struct of a family begins with one.
typedef struct {
    plan *of;
    size_t stem;        // its index in the request
    int number;         // of the stem's takes; set by the engine after take, as is the seed
    uint64_t seed;      // that it draws from, with the stem's name
    const char *line;   // the text that the model is given
    double temperature; // that it draws with
    size_t bytes;       // of memory that it takes from begin to end, for the budget
    // Kept by the family on the batch's thread, from begin on.
    int64_t done, total; // steps
    bool wants_prefill;  // before the next step
    int64_t length;      // takes of equal length finish together
    // Made by finish: planes [channels, samples] at the model's rate, freed with the take.
    float *planes;
    int64_t samples;
} take;

typedef struct {
    const char *model;
    weights_type weights;
    compute *c;                // borrowed until family_close
    int places;                // stems in a step at most; 0: none will be made, a tool looks
    checkpoint_record *record; // see checkpoint.h; NULL: nobody wants to know
    device *gpu;               // borrowed until family_close; NULL: the CPU computes
    bool blank;                // the model is made of papers (papers.h)
    bool gpu_only;             // an error where the model cannot be brought to the GPU
} family_options;

#define FAMILY_TOGETHER 8 // takes that finish in one call at most
#define FAMILY_SETS_MAX 4 // sets of tensors of a model

struct family_ops {
    const char *key;     // by which requests and settings name it: "musicgen"
    const char *title;   // as people write it: "MusicGen"
    const char *expects; // for the error when no family recognises a model
    size_t size;         // of the family's struct
    bool (*recognise)(const checkpoint *files);
    // f is zeroed but for ops, files and c. close is called after a failure too.
    status (*open)(family *f, const family_options *o, err *e);
    void (*close)(family *f);

    // *out is set on OK only.
    status (*plan)(family *f, const stemforge_request *r, plan **out, err *e);
    void (*plan_free)(plan *p); // after its takes
    status (*take)(plan *p, size_t stem, take **out, err *e);
    void (*take_free)(take *t);

    status (*begin)(take *t, err *e);
    // For a take that wants it. others [n] are all takes that run, t among them. May be NULL.
    status (*prefill)(take *t, take *const *others, size_t n, err *e);
    // One step of n takes, or of some of them: all come to their end by such calls. Allocates
    // nothing. A failure ends all of them.
    status (*step)(family *f, take *const *t, size_t n, err *e);
    // The sound of n takes of equal length. After a failure it is called for each alone.
    status (*finish)(family *f, take *const *t, size_t n, err *e);
    // The take goes no further: what only a running take needs is given back. After a failed begin
    // too.
    void (*end)(take *t);

    // The GPU failed: from now on the CPU computes. No take runs: end was called for each, and
    // begin will be. NULL: the family has no programs for a GPU.
    status (*leave_gpu)(family *f, err *e);

    // Writes the sets of tensors of the model's folder, for its digest. May be NULL.
    size_t (*tensors)(const family *f, const st_file *sets[FAMILY_SETS_MAX]);
    // Adds the documents from which open binds a packed file of the model (pack.h). NULL: the
    // family has no packed files.
    status (*pack_texts)(const family *f, packing *out, err *e);
    // Adds the tensors of its stages (trace.h). NULL: the family has none.
    status (*trace)(trace_result *out, family *f, const trace_input *in, err *e);
    // For `stemforge info`: lines of text, and members of a JSON object. May be NULL.
    bool (*describe)(const family *f, buf *text, json *members);
};

// The families of the program, the first that recognises a model opens it (families.c).
extern const family_ops *const families[];
extern const size_t family_count;

// *out is the caller's (family_close).
status family_open(family **out, const family_options *o, err *e);
void family_close(family *f); // NULL is fine

// The family that would open it, from its documents alone. NULL: none would.
const family_ops *family_find(const char *model);

// Which model it is (digest.h); a packed file has that of the folder it was made of. "": not known.
status family_digest(char out[DIGEST_TEXT], const family *f, err *e);
