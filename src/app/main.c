// main.c - finds the command.
#include <stdio.h>
#include <string.h>

#include "app/args.h"
#include "app/commands.h"
#include "app/program.h"
#include "app/usage.h"
#include "app/version.h"
#include "base/kept.h"
#include "base/near.h"
#include "base/os.h"

static int unknown(const char *name) {
    near meant = {.word = name};
    char maybe[NEAR_TEXT];
    for (size_t i = 0; i < command_count; i++) near_try(&meant, commands[i].name);
    near_text(maybe, &meant, "");
    if (*name) fprintf(stderr, "stemforge: unknown command \"%.60s\"%s\n\n", name, maybe);
    program_help(stderr);
    return EXIT_USAGE;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0) {
        version_print();
        return 0;
    }
    usage_form form = strcmp(name, "help") == 0 ? USAGE_TEXT : usage_form_of(name);
    if (form != USAGE_NONE) {
        program_print(form);
        return 0;
    }
    kept_survive_bus_errors();
    os_end_on_signals(); // generate, pull and serve ask instead
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(name, commands[i].name) == 0) return commands[i].main(argc - 1, argv + 1);
    }
    return unknown(name);
}
