// emu.h - a GPU of one block at a time: threads are fibers, and their order is a parameter.
//
// Blocks that wait for each other run in turn from one grid_sync to the next, in that order too.
// Threads meet at block_sync and at exchanges of a warp, each with its line: threads that meet at
// different lines, or that left while others wait, end the process with the places named. Shared
// memory is an allocation of its own for each name, full of junk at first. What it cannot see is
// what the order of memory and the instructions of the silicon do.
#pragma once
#include <stdint.h>

// In which order blocks, warps and lanes run between two meetings.
enum emu_order { EMU_RISING, EMU_FALLING, EMU_SHUFFLED };

struct emu_kernel {
    const char *name;
    unsigned size; // of its arguments
    void (*run)(const void *args);
};

struct emu_launch {
    const emu_kernel *kernel;
    const void *args;
    int grid_x, grid_y, threads;
    bool together; // its blocks may meet at grid_sync
};

#define EMU_PROCESSORS 3 // blocks that run at once, where they wait for each other

void emu_run(const emu_launch *l, emu_order order);
