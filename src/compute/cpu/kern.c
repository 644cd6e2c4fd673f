// kern.c - see kern.h. Compiled for the baseline CPU.
#include "compute/cpu/kern.h"

#include "compute/cpu/isa.h"

void kern_init(kern_table *k, unsigned flags) {
    kern_init_ref(k); // every slot is filled and right before any is fast
#if defined(__x86_64__)
    if (flags & ISA_AVX2) kern_init_avx2(k);
    if (flags & ISA_AVXVNNI) kern_init_avxvnni(k);
    if (flags & ISA_AVX512) kern_init_avx512(k);
    if (flags & ISA_BF16) kern_init_avx512bf16(k);
    if (flags & ISA_VNNI) kern_init_vnni(k);
#elif defined(__aarch64__)
    if (flags & ISA_NEON) kern_init_neon(k);
    if (flags & ISA_DOTPROD) kern_init_dotprod(k);
#endif
}
