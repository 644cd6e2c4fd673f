// pack.h - a whole model in one GGUF file: tensors as the kernels read them, tokenizer,
// configuration.
//
// The file is ordinary GGUF (format/gguf.h) and holds what a checkpoint folder holds. Metadata:
//   general.architecture the family's key, "musicgen" or "stable_audio"; general.name,
//                        general.license (when the folder has one)
//   stemforge.digest     of the folder that it was made of (digest.h)
//   stemforge.weights    what the decoder was converted to: "stored", "f32", "bf16", "q8" or "q4"
//   stemforge.packing    "panels16-arithmetic2": how matrices of the types below are laid out,
//                        which is as arithmetic 2 had it
//   stemforge.packed     one string for each packed matrix: "NAME TYPE ROWS COLS". Its tensor is
//                        I8 and lies as the kernels read it, so it is mapped. TYPE q8, q4:
//                        compute/quant.h; bf16x8: compute/bf16x8.h; c32, c16: f32 and bf16 of
//                        compute/chain.h
//   stemforge.NAME       the documents of the family. MusicGen: config, generation_config,
//                        preprocessor_config, the folder's files. Stable Audio: transformer, vae,
//                        text_encoder, projection_model as diffusers has them, and schedule
//                        (engine/stableaudio/files_packed.c)
//   stemforge.tokenizer  tokenizer.json without its vocabulary, which is the tensor
//                        tokenizer.vocab, I8: a block that is used where it lies
//                        (format/unigram.h). Files without it have the vocabulary here.
// Other tensor names are the checkpoint's, those of Stable Audio behind the name of their network
// ("vae."), shortened to GGUF's 63 bytes by fixed rules.
#pragma once
#include "base/json.h"
#include "model/weights.h"

typedef struct pack pack;

bool pack_is(const char *path); // the file begins with the magic of GGUF
status pack_open(pack **out, const char *path, err *e);
void pack_close(pack *p); // NULL is fine

// The tensor that the checkpoint calls so; NULL: absent. A packed matrix has its true shape and
// type DT_Q8, DT_Q4, DT_BF16X8 or DT_CHAIN_*.
const tensor *pack_find(const pack *p, const char *name);
// The tensors whose names in the checkpoint begin with prefix leave memory until they are read
// again.
void pack_forget(const pack *p, const char *prefix);
void pack_forget_tensor(const pack *p, const tensor *t);    // one that pack_find gave, likewise
status pack_check(const pack *p, const char *path, err *e); // kept_check
// One of the documents, "tokenizer", or "digest". n 0 when the file has none.
bytes pack_document(const pack *p, const char *name);
bytes pack_vocabulary(const pack *p);               // tokenizer.vocab; n 0 when the file has none
bytes pack_model_name(const pack *p);               // general.name
bool pack_is_of(const pack *p, const char *family); // general.architecture
weights_type pack_weights(const pack *p);           // stemforge.weights

// What goes into a file. Names, data and documents are borrowed until pack_write returns.
typedef struct {
    const char *name; // the checkpoint's
    tensor t;
} pack_entry;
#define PACK_TEXTS_MAX 8
typedef struct {
    const char *name; // "config"; the key in the file is stemforge.config
    bytes text;
} pack_text;
typedef struct {
    const char *family;          // its key
    const char *model, *license; // license NULL: unknown
    const char *weights, *digest;
    const pack_entry *list;
    size_t count;
    const pack_text *texts;
    size_t text_count;
    bytes vocabulary; // n 0: left out
} pack_contents;
status pack_write(const char *path, const pack_contents *c, err *e);
