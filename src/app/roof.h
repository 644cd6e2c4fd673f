// roof.h - what this machine can do at most, measured: reading memory, and multiplying.
#pragma once
#include "compute/chain.h"
#include "compute/ops.h"

// GB/s that all threads together read, the best of several rounds over more memory than any cache
// holds: sums of plain loads, fetched ahead, and nothing else. It takes tens of milliseconds; other
// users of the machine's memory show, so measure next to what is compared with it. 0: no memory.
double roof_read(compute *c);

// GFLOP/s of 768 rows times w, in w's type; w NULL: 768-cubed in f32. 0: no memory.
double roof_multiply(compute *c, const weight *w);
// The same of chain_linear, as the codec's convolutions are: DT_F32 or DT_BF16, 768-cubed.
double roof_chain(compute *c, dtype type);
