// kern.cu - every kernel: the one file that compilers for GPUs read. kern.h has their arguments.
#include "gpu/kern.h"

#include "gpu/kern_attend.cuh"
#include "gpu/kern_codec.cuh"
#include "gpu/kern_dots.cuh"
#include "gpu/kern_draw.cuh"
#include "gpu/kern_lstm.cuh"
#include "gpu/kern_rows.cuh"
#include "gpu/kern_wide.cuh"
