// isa.h - which instruction sets this CPU and its operating system allow.
//
// isa.c is compiled for the baseline CPU. An instruction set does not count if the OS does not save
// its registers.
#pragma once
#include "base/base.h"

enum {
    ISA_AVX2 = 1 << 0,    // AVX2, FMA, F16C
    ISA_AVX512 = 1 << 1,  // AVX-512 F, BW, DQ, VL; implies ISA_AVX2
    ISA_VNNI = 1 << 2,    // AVX-512 VNNI; implies ISA_AVX512
    ISA_NEON = 1 << 3,    // AArch64: always there
    ISA_DOTPROD = 1 << 4, // AArch64 integer dot products; implies ISA_NEON
    ISA_BF16 = 1 << 5,    // AVX-512 BF16; implies ISA_AVX512
    ISA_AVXVNNI = 1 << 6, // AVX-VNNI, 256 bits wide; implies ISA_AVX2
    ISA_AMX = 1 << 7,     // AMX tiles of 8-bit integers; implies ISA_VNNI
    ISA_I8MM = 1 << 8     // AArch64 matrix products of 8-bit integers; implies ISA_DOTPROD
};

// Writes which processor this is: vendor, family, model and stepping, such as
// "GenuineIntel-6-207-2".
void isa_processor(char *out, size_t cap);

// The bits above that this process may use. Linux lets a process use the tiles of AMX once it has
// asked, which the first call does.
unsigned isa_flags(void);

// Writes the flags of `have` that belong to a level to *out. Levels: "scalar", "avx2", "avx512",
// "amx", "neon". False when the name is unknown or the level needs a flag that `have` lacks.
bool isa_level(unsigned have, const char *name, unsigned *out);

// The levels that this build has, the highest first; NULL behind the last.
const char *isa_built_level(size_t i);
// The highest level that flags allow: "amx", "avx512", "avx2", "neon" or "scalar".
const char *isa_level_name(unsigned flags);
