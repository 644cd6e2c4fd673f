// isa.c - see isa.h.
#include "compute/cpu/isa.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

// XCR0 says which register states the OS saves on a context switch.
static uint64_t xcr0(void) {
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

#define XCR0_YMM 0x06u // SSE and AVX state
#define XCR0_ZMM 0xe6u // also the mask registers, the upper halves, and the upper sixteen registers

#define XCR0_TILES 0x60000u   // AMX: the shapes and the tiles
#define LEAF7_AMX 0x03000000u // EDX: tiles, and products of 8-bit integers
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_TILES 18

// The tiles are 8 KB that the OS saves at a context switch, so Linux wants to be asked (5.16). The
// answer counts for all threads. An older kernel knows no such question: no tiles then.
static bool tiles_allowed(unsigned leaf7_edx) {
    if ((leaf7_edx & LEAF7_AMX) != LEAF7_AMX || (xcr0() & XCR0_TILES) != XCR0_TILES) return false;
    return !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILES);
}

unsigned isa_flags(void) {
    unsigned a, b, c, d, flags = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const unsigned need1 = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    if ((c & need1) != need1 || (xcr0() & XCR0_YMM) != XCR0_YMM) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2)) return 0;
    flags |= ISA_AVX2;
    unsigned more = 0, none;
    if (a >= 1) __get_cpuid_count(7, 1, &more, &none, &none, &none);
    if (more & bit_AVXVNNI) flags |= ISA_AVXVNNI;
    const unsigned need7 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if ((b & need7) != need7 || (xcr0() & XCR0_ZMM) != XCR0_ZMM) return flags;
    flags |= ISA_AVX512;
    if (c & bit_AVX512VNNI) flags |= ISA_VNNI;
    if (more & bit_AVX512BF16) flags |= ISA_BF16;
    if ((flags & ISA_VNNI) && tiles_allowed(d)) flags |= ISA_AMX;
    return flags;
}

void isa_processor(char *out, size_t cap) {
    unsigned a = 0, b, c, d, vendor[3] = {0};
    char name[13] = "";
    if (__get_cpuid(0, &a, &vendor[0], &vendor[2], &vendor[1])) memcpy(name, vendor, 12);
    for (char *p = name; *p; p++)
        if (*p <= ' ' || *p > '~' || *p == '/') *p = '_';
    if (!__get_cpuid(1, &a, &b, &c, &d)) a = 0;
    unsigned family = a >> 8 & 15, model = (a >> 4 & 15) | (a >> 12 & 0xf0);
    if (family == 15) family += a >> 20 & 255;
    snprintf(out, cap, "%s-%u-%u-%u", name, family, model, a & 15);
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

#define HWCAP_BIT_ASIMDDP (1UL << 20)
#define HWCAP2_BIT_I8MM (1UL << 13)

unsigned isa_flags(void) {
    if (!(getauxval(AT_HWCAP) & HWCAP_BIT_ASIMDDP)) return ISA_NEON;
    bool matrix = getauxval(AT_HWCAP2) & HWCAP2_BIT_I8MM;
    return ISA_NEON | ISA_DOTPROD | (matrix ? ISA_I8MM : 0u);
}
#else
unsigned isa_flags(void) {
    return 0;
}
#endif

#if !defined(__x86_64__)
void isa_processor(char *out, size_t cap) {
    snprintf(out, cap, "other");
}
#endif

#define X86_512 (ISA_AVX512 | ISA_VNNI | ISA_BF16 | ISA_AVX2 | ISA_AVXVNNI)
static const struct {
    const char *name;
    unsigned needs, leaves;
} levels[] = {
#if defined(__x86_64__)
    {"amx", ISA_AMX, X86_512 | ISA_AMX},
    {"avx512", ISA_AVX512, X86_512},
    {"avx2", ISA_AVX2, ISA_AVX2 | ISA_AVXVNNI},
#elif defined(__aarch64__)
    {"neon", ISA_NEON, ISA_NEON | ISA_DOTPROD | ISA_I8MM},
#endif
    {"scalar", 0, 0},
};

bool isa_level(unsigned have, const char *name, unsigned *out) {
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        if (strcmp(name, levels[i].name)) continue;
        if ((have & levels[i].needs) != levels[i].needs) return false;
        *out = have & levels[i].leaves;
        return true;
    }
    return false;
}

const char *isa_built_level(size_t i) {
    return i < ARRAY_LEN(levels) ? levels[i].name : NULL;
}

const char *isa_level_name(unsigned flags) {
    size_t i = 0;
    while ((flags & levels[i].needs) != levels[i].needs) i++; // scalar needs nothing: it ends
    return levels[i].name;
}
