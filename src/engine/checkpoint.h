// checkpoint.h - the files of a model: where they are, their documents and their tensors.
//
// A model is a folder in the Hugging Face layout or one packed file (pack.h). This module knows no
// network: a family (family.h) reads the documents it wants and binds the tensors. Immutable after
// checkpoint_open_tensors; may be shared between threads.
#pragma once
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "engine/pack.h"
#include "format/safetensors.h"
#include "format/tokenizer.h"

// What binding a model touched, in order: names live in own. For `stemforge convert`.
typedef struct {
    pack_entry *list;
    size_t count, cap;
    arena own;
    bool failed; // no memory
} checkpoint_record;

void checkpoint_record_deinit(checkpoint_record *r);

typedef struct {
    char path[OS_PATH_MAX];    // the folder, or the packed file
    char name[128];            // how users call the model
    pack *packed;              // NULL: a folder
    st_file *files;            // tensors of a folder
    json *config;              // config.json; NULL: there is none
    checkpoint_record *record; // NULL: nobody wants to know
    bool blank;                // made of papers (papers.h): tensors are zeros
} checkpoint;

// model: a folder, a packed .gguf file, or ORG/NAME in the Hugging Face cache. Finds it and reads
// config.json. Zeroes *out first; on failure nothing is held.
status checkpoint_open(checkpoint *out, const char *model, checkpoint_record *record, err *e);
void checkpoint_close(checkpoint *m); // zeroed is fine

// The document of that name ("generation_config.json"), the caller's (json_free). NULL when it is
// absent and not required.
status checkpoint_document(json **out, const checkpoint *m, const char *name, bool required,
                           err *e);
// tokenizer.json; the caller's (tok_close).
status checkpoint_tokenizer(tokenizer **out, const checkpoint *m, err *e);

// Maps the tensors of the folder. A packed file has them already.
status checkpoint_open_tensors(checkpoint *m, err *e);
// ERR_DEVICE when a file that holds tensors was changed since it was opened (base/kept.h).
status checkpoint_check(const checkpoint *m, err *e);
// A binding of the tensors, which keeps the record too. Both m and own must outlive what is bound.
weights checkpoint_weights(checkpoint *m, arena *own, compute *c);
// What a packed file's matrices were converted to; WEIGHTS_AS_STORED for a folder.
weights_type checkpoint_packed_type(const checkpoint *m);
// A packed file of narrow weights has no others; one of exact weights is as good as the folder.
status checkpoint_check_packed(const checkpoint *m, weights_type asked, err *e);
// For `stemforge info`: a line on why a packed file may make other bytes than its folder.
void checkpoint_describe_packed(const checkpoint *m, buf *out);
// The tensors whose names begin with prefix leave memory until they are read again (some
// milliseconds more then). Packed files only.
void checkpoint_rest(const checkpoint *m, const char *prefix);

// A network whose tensors are in files of its own. In a packed file and in the record its name
// stands in front of theirs: "vae.decoder.conv1.weight". m and folder outlive what is bound.
typedef struct {
    const checkpoint *m;
    const char *name;      // "vae"
    weights_source folder; // its tensors, unless m is packed
} checkpoint_part;
// A binding of the part's tensors, which keeps the record too. p stays where it is.
weights checkpoint_part_weights(checkpoint_part *p, arena *own, compute *c);
