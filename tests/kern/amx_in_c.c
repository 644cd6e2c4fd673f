// amx_in_c.c - kern_amx.c with tiles in plain C: its arithmetic on machines without AMX.
#define TILES_IN_C
#include "compute/cpu/kern_amx.c" // NOLINT: the same source, other words
