// main.c - finds the command.
#include <stdio.h>
#include <string.h>

#include "app/args.h"
#include "app/commands.h"
#include "base/kept.h"
#include "base/near.h"
#include "base/os.h"

static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *help;
} commands[] = {
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

static void help(FILE *to) {
    fprintf(to, "stemforge " STEMFORGE_VERSION " - music stems from text, tempo and chords\n\n"
                "usage: stemforge COMMAND [options]\n\ncommands:\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(to, "\nstemforge COMMAND --help says more. Exit status: 0 ok, 1 failure, 2 usage,\n"
                "130 after Ctrl-C.\n");
}

static int unknown(const char *name) {
    near meant = {.word = name};
    char maybe[NEAR_TEXT];
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) near_try(&meant, commands[i].name);
    near_text(maybe, &meant, "");
    if (*name) fprintf(stderr, "stemforge: unknown command \"%.60s\"%s\n\n", name, maybe);
    help(stderr);
    return EXIT_USAGE;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0) {
        printf("stemforge " STEMFORGE_VERSION "\n");
        return 0;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        help(stdout);
        return 0;
    }
    kept_survive_bus_errors();
    os_end_on_signals(); // generate, pull and serve ask instead
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(name, commands[i].name) == 0) return commands[i].main(argc - 1, argv + 1);
    }
    return unknown(name);
}
