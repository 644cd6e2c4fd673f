// check.h - what the kernel tests share: inputs, comparison to the bit, the digest.
//
// The program needs nothing but src/compute and plain files of other layers (no library), so that
// it cross-compiles.
#pragma once
#include "compute/cpu/kern.h"
#include "compute/ops.h"

// Numbers of the check, and what went wrong. A failed check prints one line and the run goes on.
extern long check_count, check_failed;

// Fills with values of either sign over a few powers of two; the same for the same seed everywhere.
void fill(float *p, int64_t n, uint64_t seed);
compute *open_or_die(int threads, const char *isa); // ends the program where there is none
// As fill, with zeros, denormals, huge values, infinities and NaN strewn in.
void fill_odd(float *p, int64_t n, uint64_t seed);
// p as values of the type, starting at out (any alignment).
void narrow(uint8_t *out, const float *p, dtype type, int64_t n);

// Every value must agree to the bit, except that any NaN equals any other.
void same(const float *want, const float *got, int64_t n, const char *what, ...) PRINTF_LIKE(4, 5);
void expect(bool ok, const char *fmt, ...) PRINTF_LIKE(2, 3);

// FNV-1a over the bits of what the reference computed: equal on every architecture.
void digest_add(const float *p, int64_t n);
uint64_t digest_value(void);

// The levels this machine has besides "scalar", also without their integer products; NULL ends the
// list.
const char *const *levels(void);
kern_table table_of(const char *level);

void test_kernels(void);     // every slot at every level against kern_ref
void test_agreement(void);   // of two tables, as a process looks at it when it starts
void test_ops(void);         // every op, levels and thread counts against one thread of scalar
void test_attend_rows(void); // op_attend_rows against op_attend
void test_gated(void);       // gated products of packed weights against op_linear and op_gate
void test_pool(void);        // the threads below the ops
void test_math(void);        // ulp bounds, over each 1009th float
void test_math_whole(void);  // over every float
void test_rng(void);         // published vectors
void test_sound(void);       // resampling, fades, transform, control track: into the digest
void bench(int threads);     // times, against the roof; 0: all threads
