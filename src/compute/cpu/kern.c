// kern.c - see kern.h. Compiled for the baseline CPU.
#include "compute/cpu/kern.h"

#include <assert.h>
#include <string.h>

#include "compute/cpu/isa.h"

typedef void (*slot)(void);
_Static_assert(sizeof(kern_table) % sizeof(slot) == 0, "a kernel table holds functions only");

// A level that leaves a slot of its groups empty fails here, at start, not at the first call.
static void assert_filled(const kern_table *k) {
    slot all[sizeof(kern_table) / sizeof(slot)];
    memcpy(all, k, sizeof all);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) assert(all[i]);
}

void kern_init(kern_table *k, unsigned flags) {
    kern_init_ref(k);
#if defined(__x86_64__)
    if (flags & ISA_AVX2) kern_init_avx2(k);
    if (flags & ISA_AVXVNNI) kern_init_avxvnni(k);
    if (flags & ISA_AVX512) kern_init_avx512(k);
    if (flags & ISA_BF16) kern_init_avx512bf16(k);
    if (flags & ISA_VNNI) kern_init_vnni(k);
    if (flags & ISA_AMX) kern_init_amx(k);
#elif defined(__aarch64__)
    if (flags & ISA_NEON) kern_init_neon(k);
    if (flags & ISA_DOTPROD) kern_init_dotprod(k);
    if (flags & ISA_I8MM) kern_init_i8mm(k);
#else
    (void)flags;
#endif
    assert_filled(k);
}
