// kern_dotprod.c - packed weights over NEON's integer dot products (Armv8.2). AArch64 only.
#include "compute/cpu/kern.h"

#if defined(__aarch64__)
#include "compute/cpu/vec_neon.h"

static inline i16 i_dot(i16 acc, w64 w, int32_t x4) {
    int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(x4));
    for (int i = 0; i < 4; i++) acc.q[i] = vdotq_s32(acc.q[i], w.q[i], x);
    return acc;
}

#define QTILE_PANELS 1
#define QTILE_X 2
#define QTILE_SHAPES QTILE_FNS(1, 1) QTILE_FNS(1, 2)
#define QTILE_ALL                                                                                  \
    { QTILE_NAMES(1, 1), QTILE_NAMES(1, 2) }
#include "compute/cpu/kern_qbody.h"

void kern_init_dotprod(kern_table *k) {
    fill_packed(k);
}
#endif
