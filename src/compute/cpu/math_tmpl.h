// math_tmpl.h - template: exp, tanh, erf and activations in sixteen lanes; the end of a product.
//
// The expressions are those of math.c, in the same order.

INLINE f32x16 v_reduced_expm1(f32x16 x, f32x16 *n) {
    f32x16 round = v_set(MATH_ROUND);
    *n = v_sub(v_fma(x, v_set(MATH_LOG2E), round), round);
    f32x16 r = v_fma(*n, v_set(-MATH_LN2_HI), x);
    r = v_fma(*n, v_set(-MATH_LN2_LO), r);
    f32x16 q = v_fma(v_set(MATH_Q4), r, v_set(MATH_Q3));
    q = v_fma(q, r, v_set(MATH_Q2));
    q = v_fma(q, r, v_set(MATH_Q1));
    q = v_fma(q, r, v_set(MATH_Q0));
    return v_fma(v_mul(r, r), q, r);
}

#ifndef HAVE_SCALE // else vec_*.h has the processor's own
// a * 2^n, rounded once, for integral n in [-254, 254] and a near 1: two factors, of which only the
// second may overflow or underflow.
INLINE f32x16 v_scale(f32x16 a, f32x16 n) {
    f32x16 round = v_set(MATH_ROUND), half = v_sub(v_add(v_mul(n, v_set(0.5f)), round), round);
    return v_mul(v_mul(a, v_pow2(half)), v_pow2(v_sub(n, half)));
}
#endif

INLINE f32x16 v_exp(f32x16 x) {
    f32x16 n;
    x = v_min(v_set(MATH_EXP_HI), v_max(v_set(MATH_EXP_LO), x));
    f32x16 m = v_reduced_expm1(x, &n);
    return v_scale(v_add(m, v_set(1.0f)), n);
}

INLINE f32x16 v_expm1(f32x16 x) {
    f32x16 n, m = v_reduced_expm1(v_min(v_set(MATH_EXPM1_HI), v_max(v_set(MATH_EXPM1_LO), x)), &n);
    f32x16 s = v_pow2(n);
    return v_fma(s, m, v_sub(s, v_set(1.0f)));
}

INLINE f32x16 v_tanh(f32x16 x) {
    f32x16 t = v_expm1(v_mul(v_set(2.0f), v_min(v_set(10.0f), v_abs(x))));
    return v_with_sign(v_div(t, v_add(t, v_set(2.0f))), x);
}

INLINE f32x16 v_sigmoid(f32x16 x) {
    f32x16 one = v_set(1.0f), minus = v_mul(v_set(-1.0f), x);
    return v_div(one, v_add(one, v_exp(minus)));
}

INLINE f32x16 v_erf(f32x16 x) {
    f32x16 a = v_abs(x), u = v_mul(a, a), b = v_min(v_set(MATH_ERF_HI), a);
    f32x16 p = v_fma(v_set(MATH_P6), u, v_set(MATH_P5));
    p = v_fma(p, u, v_set(MATH_P4));
    p = v_fma(p, u, v_set(MATH_P3));
    p = v_fma(p, u, v_set(MATH_P2));
    p = v_fma(p, u, v_set(MATH_P1));
    p = v_fma(p, u, v_set(MATH_P0));
    f32x16 t = v_fma(v_set(MATH_T7), b, v_set(MATH_T6));
    t = v_fma(t, b, v_set(MATH_T5));
    t = v_fma(t, b, v_set(MATH_T4));
    t = v_fma(t, b, v_set(MATH_T3));
    t = v_fma(t, b, v_set(MATH_T2));
    t = v_fma(t, b, v_set(MATH_T1));
    t = v_fma(t, b, v_set(MATH_T0));
    f32x16 large = v_sub(v_set(1.0f), v_exp(t));
    return v_with_sign(v_pick(a, v_set(MATH_ERF_SPLIT), v_fma(a, p, a), large), x);
}

INLINE f32x16 v_elu(f32x16 x) {
    return v_pick(v_set(0.0f), x, x, v_expm1(x));
}

INLINE f32x16 v_gelu(f32x16 x) {
    f32x16 e = v_erf(v_mul(x, v_set(0x1.6a09e6p-1f)));
    return v_mul(v_mul(v_set(0.5f), x), v_add(v_set(1.0f), e));
}

INLINE f32x16 v_sin2(f32x16 x) {
    f32x16 round = v_set(MATH_ROUND), half = v_set(MATH_SIN_MAX), less = v_set(-MATH_SIN_MAX);
    f32x16 n = v_sub(v_fma(x, v_set(MATH_INV_PI), round), round);
    f32x16 r = v_fma(n, v_set(-MATH_PI_HI), x);
    r = v_min(half, v_max(less, v_fma(n, v_set(-MATH_PI_LO), r)));
    f32x16 u = v_mul(r, r);
    f32x16 p = v_fma(v_set(MATH_S3), u, v_set(MATH_S2));
    p = v_fma(p, u, v_set(MATH_S1));
    p = v_fma(p, u, v_set(MATH_S0));
    f32x16 s = v_fma(v_mul(r, u), p, r);
    return v_mul(s, s);
}

// ---- the end of a product: bias, activation, sum ----

INLINE f32x16 v_activate(f32x16 v, activation act) {
    switch (act) {
    case ACT_RELU: return v_pick(v_set(0.0f), v, v, v_set(0.0f));
    case ACT_GELU: return v_gelu(v);
    case ACT_ELU: return v_elu(v);
    case ACT_NONE: break;
    }
    return v;
}

INLINE void finish_as(float *y, const float *s, const float *bias, int64_t n, const activation act,
                      bool add) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        f32x16 v = v_load(s + i);
        v = v_activate(bias ? v_add(v, v_load(bias + i)) : v, act);
        v_store(y + i, add ? v_add(v_load(y + i), v) : v);
    }
    for (; act == ACT_NONE && i < n; i++) { // the common case of a single weight row
        float v = bias ? s[i] + bias[i] : s[i];
        y[i] = add ? y[i] + v : v;
    }
    if (i == n) return;
    f32x16 v = v_load_n(s + i, n - i);
    v = v_activate(bias ? v_add(v, v_load_n(bias + i, n - i)) : v, act);
    v_store_n(y + i, add ? v_add(v_load_n(y + i, n - i), v) : v, n - i);
}

static void FN(finish)(float *y, const float *s, const float *bias, int64_t n, activation act,
                       bool add) {
    switch (act) {
    case ACT_NONE: finish_as(y, s, bias, n, ACT_NONE, add); break;
    case ACT_RELU: finish_as(y, s, bias, n, ACT_RELU, add); break;
    case ACT_GELU: finish_as(y, s, bias, n, ACT_GELU, add); break;
    case ACT_ELU: finish_as(y, s, bias, n, ACT_ELU, add); break;
    }
}
