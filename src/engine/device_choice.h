// device_choice.h - which device computes: what the user asks for, and what this machine has.
#pragma once
#include "gpu/device.h"

typedef enum { CHOICE_AUTO, CHOICE_CPU, CHOICE_CUDA } choice_kind;

typedef struct {
    choice_kind kind;
    int index; // of the GPU
} device_choice;

// "auto" (also NULL), "cpu", "cuda" or "cuda:1".
status choice_parse(device_choice *out, const char *text, err *e);

typedef struct {
    device *gpu;   // NULL: the CPU computes
    char why[200]; // why it does; "" when nothing else was asked for
    bool refused;  // there is a GPU, or its driver, and why says what it lacks
} device_chosen;

// Opens the GPU that is chosen. With CHOICE_AUTO a machine without a usable one is no failure.
status choice_open(const device_choice *c, device_chosen *out, err *e);
