// os_inside.h - what the parts of os share.
#pragma once
#include "base/os.h"

// Removes the temporary file of the last os_atomic_open that is neither committed nor abandoned.
// For a signal handler.
void os_remove_unfinished(void);
