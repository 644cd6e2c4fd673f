// kern_avx512bf16.c - kern_avx512.c once more, with the processor's own product of bf16 pairs; only
// called after isa.c has found AVX-512 BF16. x86-64 only.
#define KERN_BF16
#include "compute/cpu/kern_avx512.c"
