// commands.h - one function a command. argv[0] is the command's name; the result is the exit
// status: 0 ok, 1 failure, 2 usage.
#pragma once

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
