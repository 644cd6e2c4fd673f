// fuzz_chords.c - chord names, progressions and keys from any bytes.
#include <stdlib.h>
#include <string.h>

#include "engine/musicgen/control.h"
#include "request/chords.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static const control_grid grid = {50, 8};
    char text[600];
    n = n < sizeof text - 1 ? n : sizeof text - 1;
    memcpy(text, p, n);
    text[n] = 0;
    progression prog;
    chord c;
    key k;
    err e;
    float out[8 * CONTROL_WIDTH];
    if (chords_parse_text(&prog, text, 120, &e) == OK) {
        chords_fill_chroma(out, &prog, 8, 3, 4096, 32000);
        control_fill(out, &grid, &prog, &prog.time, 3);
    }
    if (chords_parse_chord(&c, text, &e) == OK) {
        if (c.none ? c.mask != 0 : !(c.mask >> c.root & 1) || !(c.mask >> c.bass & 1)) abort();
        if (c.root < 0 || c.root > 11 || c.bass < 0 || c.bass > 11) abort();
    }
    if (chords_parse_key(&k, text, &e) == OK) chords_key_text(text, k);
    return 0;
}
