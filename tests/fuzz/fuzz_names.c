// fuzz_names.c - the tensors of an original Stable Audio file under diffusers' names: each that the
// networks may be given lies inside the file.
#include <stdlib.h>

#include "base/log.h"
#include "engine/stableaudio/names.h"

// The names that a network may ask for, of the deepest and of the first layers.
static const char *const asked[] = {"time_proj.weight",
                                    "transformer_blocks.0.attn1.to_q.weight",
                                    "transformer_blocks.0.attn1.to_k.weight",
                                    "transformer_blocks.0.attn1.to_v.weight",
                                    "transformer_blocks.1.attn2.to_k.weight",
                                    "transformer_blocks.1.attn2.to_v.weight",
                                    "decoder.block.0.snake1.alpha",
                                    "decoder.block.2.res_unit3.snake2.beta",
                                    "decoder.snake1.beta",
                                    "decoder.conv2.weight_v",
                                    "end_number_conditioner.time_positional_embedding.1.weight"};

static float sum; // so that reading is not left out

static void read_all(const tensor *t) {
    if (!dtype_is_float(t->type)) return;
    for (int64_t i = 0, n = tensor_count(t); i < n; i++) {
        float v;
        tensor_read_f32(&v, t, i, 1);
        sum += v;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    log_setup(LOG_OFF, false);
    st_file *f;
    sa_names *names;
    if (st_open_bytes(&f, (bytes){p, n}, NULL)) return 0;
    if (!sa_names_open(&names, f, NULL)) {
        weights_source s = sa_names_source(names);
        for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
            const tensor *t = s.find(s.file, asked[i]);
            if (t) read_all(t);
        }
        sa_names_close(names);
    }
    st_close(f);
    return 0;
}
