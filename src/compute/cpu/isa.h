// isa.h - which instruction sets this CPU and its operating system allow.
//
// Compiled for the baseline CPU. An instruction set whose registers the OS will not save is not
// there.
#pragma once
#include "base/base.h"

enum {
    ISA_AVX2 = 1 << 0,    // AVX2, FMA, F16C
    ISA_AVX512 = 1 << 1,  // AVX-512 F, BW, DQ, VL; implies ISA_AVX2
    ISA_VNNI = 1 << 2,    // AVX-512 VNNI; implies ISA_AVX512
    ISA_NEON = 1 << 3,    // AArch64: always there
    ISA_DOTPROD = 1 << 4, // AArch64 integer dot products; implies ISA_NEON
    ISA_BF16 = 1 << 5,    // AVX-512 BF16; implies ISA_AVX512
    ISA_AVXVNNI = 1 << 6  // AVX-VNNI, 256 bits wide; implies ISA_AVX2
};

// What this process may use, as a set of the bits above.
unsigned isa_flags(void);

// The flags that the named level leaves of have: "scalar", "avx2", "avx512", "neon". False when the
// name is unknown or the level needs a bit that have lacks.
bool isa_level(unsigned have, const char *name, unsigned *out);

// "avx512", "avx2", "neon" or "scalar": the level that flags amount to.
const char *isa_level_name(unsigned flags);
