// fuzz_vocab.c - any bytes as the packed vocabulary of a tokenizer.
#include <stdlib.h>
#include <string.h>

#include "format/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char text[] = "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":true}}";

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    uint8_t *aligned = malloc(n ? n : 1); // as a mapped file has it
    tokenizer *t;
    if (!aligned) return 0;
    if (n) memcpy(aligned, p, n);
    if (tok_open_packed(&t, bytes_of(text), (bytes){aligned, n}, NULL) == OK) {
        tok_ids ids = {0};
        // The bytes themselves, read as a text, meet the pieces that they spell.
        if (tok_encode(t, bytes_of("a ab </s> \xE2\x96\x81 bbb z"), &ids, NULL) == OK) {
            for (size_t i = 0; i < ids.n; i++) {
                if (ids.ids[i] < 0 || ids.ids[i] >= tok_vocab_size(t)) __builtin_trap();
            }
        }
        tok_encode(t, (bytes){aligned, n}, &ids, NULL);
        tok_ids_deinit(&ids);
        tok_close(t);
    }
    free(aligned);
    return 0;
}
