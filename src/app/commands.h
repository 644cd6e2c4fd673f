// commands.h - the commands: one row, and one function, each. argv[0] is the command's name; the
// result is the exit status: 0 ok, 1 failure, 2 usage.
#pragma once
#include "base/base.h"

int generate_main(int argc, char **argv);
int info_main(int argc, char **argv);
int convert_main(int argc, char **argv);
int encode_main(int argc, char **argv);
int decode_main(int argc, char **argv);
int pull_main(int argc, char **argv);
int trace_main(int argc, char **argv);
int plot_main(int argc, char **argv);
int mix_main(int argc, char **argv);
int analyse_main(int argc, char **argv);
int grid_main(int argc, char **argv);
int bench_main(int argc, char **argv);
int tune_main(int argc, char **argv);
int serve_main(int argc, char **argv);
int jobs_main(int argc, char **argv);
int health_main(int argc, char **argv);

typedef struct {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *help; // a few words
} command_row;

extern const command_row commands[];
extern const size_t command_count;
