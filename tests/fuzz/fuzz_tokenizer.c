// fuzz_tokenizer.c - any bytes as tokenizer.json, a NUL, any bytes as the text.
#include <string.h>

#include "format/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    const uint8_t *cut = n ? memchr(p, 0, n) : NULL;
    size_t json_n = cut ? (size_t)(cut - p) : n;
    tokenizer *t;
    if (tok_open_bytes(&t, (bytes){p, json_n}, NULL) != OK) return 0;
    bytes text = cut ? (bytes){cut + 1, n - json_n - 1} : bytes_of("a </s> b");
    tok_ids ids = {0};
    for (int pass = 0; pass < 2; pass++) { // the second in memory that the first left
        if (tok_encode(t, text, &ids, NULL) != OK) continue;
        if (ids.first + ids.count > ids.n) __builtin_trap();
        for (size_t i = 0; i < ids.n; i++) {
            if (ids.ids[i] < 0 || ids.ids[i] >= tok_vocab_size(t)) __builtin_trap();
        }
    }
    tok_ids_deinit(&ids);
    tok_close(t);
    return 0;
}
