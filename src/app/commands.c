// commands.c - see commands.h.
#include "app/commands.h"

const command_row commands[] = {
    {"generate", generate_main, "make stems from a request"},
    {"serve", serve_main, "the job service: HTTP in, storage and callbacks out"},
    {"jobs", jobs_main, "look at and steer the jobs of a running service"},
    {"health", health_main, "whether a running service is healthy"},
    {"info", info_main, "what a checkpoint is, and the memory it needs"},
    {"pull", pull_main, "fetch a checkpoint from the Hugging Face hub"},
    {"convert", convert_main, "pack a checkpoint into one file that opens at once"},
    {"encode", encode_main, "audio to codes"},
    {"decode", decode_main, "codes to audio"},
    {"bench", bench_main, "every stage against what this machine can do"},
    {"tune", tune_main, "measure how this processor reads weights fastest"},
    {"plot", plot_main, "waveforms and spectrograms as pictures"},
    {"mix", mix_main, "several sound files added up to one"},
    {"analyse", analyse_main, "tempo, chords and defects of sound files"},
    {"grid", grid_main, "a recipe's beats and chords as a click and as MIDI"},
    {"trace", trace_main, "every stage of a model as tensors"},
};
const size_t command_count = ARRAY_LEN(commands);
