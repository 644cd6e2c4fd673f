// level_tmpl.h - the beginning of every kernel template: names, and parts of vectors.
//
// A template (*_tmpl.h) is the source of some kernels for every instruction set. A thin file
// (kern_avx2.c, ...) makes them: it defines LEVEL and the shapes of its register tiles, includes
// vec_*.h of its instruction set and then the templates. FN(dots) is dots_avx2 there, so a profile
// and a debugger tell the levels apart. Templates are text, not modules: they have no include lines
// and no #pragma once.
//
// vec_*.h defines
//   f32x16              the sixteen lanes of kern.h, in however many registers
//   v_set v_load v_store
//   v_bf16 v_f16        loads that widen
//   v_odd v_even        second, first values of sixteen pairs of bf16, widened
//   v_put_bf16(p, a)    stores values, none of them denormal, as f32_to_bf16 rounds them
//   v_add v_sub v_mul v_div v_abs
//   v_fma(a, b, c)      a*b + c
//   v_max(a, b)         a > b ? a : b
//   v_min(a, b)         a < b ? a : b
//   v_pick(a, b, x, y)  a < b ? x : y
//   v_with_sign(x, of)  |x| with the sign of `of`
//   v_pow2(n)           2^n for integral n in [-127, 127]
//   v_bytes(p, a, b)    stores integral values of a and b, in [-127, 127], as 32 bytes
//   v_sum(a)            sum16
//   v_top(a)            max16
//   v_sums(a)           {sum16(a[0]), ..., sum16(a[15])}
// and for packed weights
//   i32x16 u8x64        sixteen sums; a group of 64 bytes in a panel
//   w_load              reads a group
//   w_q8                makes weights of a group
//   w_low w_high        the halves of a group's bytes
//   w_scales w_sub w_next  the first of the sub-scales that 64 bytes hold, ready for w_q4; the rest
//   w_q4(halves, s)     makes weights of halves and their sub-scales
//   i_start(less8, shift)  the sums that a block begins with, for weights q + (8 << shift)
//   i_start4(sub, less8)   the same for weights of 4 bits; less8 as in qblock
//   i_dot(acc, w, x4)   lane r += the four weights of row r times the four bytes of x4
//   i_add
//   i_float             sums as f32
#if !defined(LEVEL)
#error "define LEVEL before level_tmpl.h, as kern_avx2.c does"
#endif

#define FN_JOIN(name, level) name##_##level
#define FN_EXPAND(name, level) FN_JOIN(name, level)
#define FN(name) FN_EXPAND(name, LEVEL)

#define INLINE static inline __attribute__((always_inline))
// For loops over registers: an array of f32x16 lies in registers only if every index is a constant.
// Not for the address sanitizer, which checks each step of an unrolled loop by itself: minutes of
// compiling.
#if defined(__SANITIZE_ADDRESS__)
#define UNROLLED
#else
#define UNROLLED _Pragma("GCC unroll 32")
#endif

// ---- memory ----

// Prefetches n cache lines of weights, `apart` bytes from each other.
INLINE void kern_fetch(const uint8_t *p, size_t n, size_t apart, kern_fetch_into into) {
    if (into == FETCH_ONCE)
        for (size_t i = 0; i < n; i++) __builtin_prefetch(p + i * apart, 0, 0);
    else if (into == FETCH_L2)
        for (size_t i = 0; i < n; i++) __builtin_prefetch(p + i * apart, 0, 2);
    else if (into == FETCH_L1)
        for (size_t i = 0; i < n; i++) __builtin_prefetch(p + i * apart, 0, 3);
}

INLINE size_t type_size(dtype type) {
    return type == DT_F32 ? 4 : 2;
}

INLINE f32x16 v_read(const uint8_t *p, dtype type) {
    if (type == DT_F32) return v_load((const float *)(const void *)p);
    return type == DT_BF16 ? v_bf16(p) : v_f16(p);
}

// The _n functions read or write n of the sixteen values. Lanes past them read as 0.
INLINE f32x16 v_read_n(const uint8_t *p, dtype type, int64_t n) {
    uint8_t t[64] = {0};
    memcpy(t, p, (size_t)n * type_size(type));
    return v_read(t, type);
}

INLINE f32x16 v_load_n(const float *p, int64_t n) {
    float t[16] = {0};
    memcpy(t, p, (size_t)n * sizeof(float));
    return v_load(t);
}

INLINE void v_store_n(float *p, f32x16 a, int64_t n) {
    float t[16];
    v_store(t, a);
    memcpy(p, t, (size_t)n * sizeof(float));
}

// Four bytes as one integer.
INLINE int32_t four(const int8_t *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

// ---- lanes ----

// The first n lanes of a, then lanes of b.
INLINE f32x16 v_first_n(f32x16 a, f32x16 b, int64_t n) {
    static const float lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return v_pick(v_load(lane), v_set((float)n), a, b);
}

// x rounded to the nearest integer, halves to even, and limited to [-127, 127]. NaN gives -127.
INLINE f32x16 v_quantum(f32x16 x) {
    f32x16 round = v_set(MATH_ROUND);
    return v_min(v_max(v_sub(v_add(x, round), round), v_set(-127.0f)), v_set(127.0f));
}

// The largest |x|: in each lane from 0 on by a > b ? a : b, then max16 of the lanes.
INLINE float v_largest(const float *x, int64_t n) {
    f32x16 top = v_set(0.0f);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) top = v_max(top, v_abs(v_load(x + i)));
    if (i < n) top = v_max(top, v_abs(v_load_n(x + i, n - i)));
    return v_top(top);
}
