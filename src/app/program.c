// program.c - see program.h.
#include "app/program.h"

#include <string.h>

#include "app/commands.h"

void program_help(FILE *to) {
    fprintf(to, "stemforge " STEMFORGE_VERSION " - music stems from text, tempo and chords\n\n"
                "usage: stemforge COMMAND [options]\n\ncommands:\n");
    for (size_t i = 0; i < command_count; i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(to, "\nstemforge COMMAND --help says more. Exit status: 0 ok, 1 failure, 2 usage,\n"
                "130 after Ctrl-C.\n");
}

// ---- stemforge(1)

static const char man_description[] =
    ".SH DESCRIPTION\n.B stemforge\nturns a request (stems, style, tempo, key, chords, free words) "
    "into audio files,\none a stem, with a neural model on an ordinary CPU or on an NVIDIA GPU.\n"
    "The same model, request and seed give the same bytes on every machine.\n.PP\n.I MODEL\nis a "
    "folder in the Hugging Face layout, or\n.I ORG/NAME\nin the Hugging Face cache, where\n"
    ".BR stemforge\\-pull (1)\nputs it.\nWithout one the shipped model is used.\n";

static const char man_end[] =
    ".SH EXIT STATUS\n0 when all went well, 1 on failure (one line on stderr says why), 2 when a "
    "command or\na setting of the service was used wrongly, 130 when Ctrl\\-C stopped it, 143 when "
    "SIGTERM did.\n"
    ".SH FILES\nA file appears whole under its name or not at all.\nA device or FIFO is written "
    "to, of a link what it leads to is replaced, mode and owner are kept.\nWhat a command reads it "
    "does not write.\n"
    ".SH ENVIRONMENT\n.TP\n.B STEMFORGE_THREADS\nthreads to compute with.\n"
    ".TP\n.B STEMFORGE_ISA\nthe instruction set to use, as\n.B \\-\\-isa\ntakes it.\n"
    ".TP\n.B STEMFORGE_TEXT_ENCODER\nthe folder, or ORG/NAME, of the T5 model that a Stable Audio "
    "file in the original\nlayout needs.\n"
    ".TP\n.BR HF_HOME \", \" HF_HUB_CACHE \", \" HF_ENDPOINT \", \" HF_TOKEN\nwhere the Hugging "
    "Face cache is, and how to reach the hub.\n"
    ".PP\nThe settings of the service are in\n.BR stemforge.env (5).\n"
    ".SH EXAMPLES\n.nf\nstemforge generate \\-\\-stem drums \\-\\-stem bass \\-\\-bpm 120 "
    "\\-\\-seed 7 \\-\\-out demo\nstemforge generate \\-\\-recipe demo/recipe.json \\-\\-out "
    "again\n.fi\n";

static void man(void) {
    usage_man_title("stemforge", 1, "User Commands");
    printf(".SH NAME\nstemforge \\- music stems from text, tempo and chords\n"
           ".SH SYNOPSIS\n.B stemforge\n.I COMMAND\n[\\fIoptions\\fR]\n%s.SH COMMANDS\n",
           man_description);
    for (size_t i = 0; i < command_count; i++) {
        printf(".TP\n.BR stemforge\\-%s (1)\n", commands[i].name);
        usage_man_text(commands[i].help);
    }
    printf("%s.SH SEE ALSO\n", man_end);
    for (size_t i = 0; i < command_count; i++)
        printf(".BR stemforge\\-%s (1),\n", commands[i].name);
    printf(".BR stemforge.env (5)\n");
}

// ---- completion: a frame, with the part of each command in it

static void parts(const char *form) {
    for (size_t i = 0; i < command_count; i++) {
        char name[32], word[32];
        snprintf(name, sizeof name, "%s", commands[i].name);
        snprintf(word, sizeof word, "--help=%s", form);
        commands[i].main(2, (char *[]){name, word, NULL});
    }
}

static void bash(void) {
    printf("# stemforge - completion for bash; printed by stemforge --help=bash.\n"
           "_stemforge() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
           "    local flags= verbs= values= kind=\n"
           "    COMPREPLY=()\n"
           "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
           "        mapfile -t COMPREPLY < <(compgen -W '--help --version");
    for (size_t i = 0; i < command_count; i++) printf(" %s", commands[i].name);
    printf("' -- \"$word\")\n"
           "        return\n"
           "    fi\n"
           "    # --flag=value comes as three words.\n"
           "    if [ \"$word\" = = ]; then\n"
           "        word=\n"
           "    elif [ \"$before\" = = ]; then\n"
           "        before=${COMP_WORDS[COMP_CWORD - 2]}\n"
           "    fi\n"
           "    case ${COMP_WORDS[1]} in\n");
    parts("bash");
    printf("    esac\n"
           "    case $kind in\n"
           "    any) return ;;\n"
           "    folder) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$word\"); "
           "return ;;\n"
           "    file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); "
           "return ;;\n"
           "    words) mapfile -t COMPREPLY < <(compgen -W \"$values\" -- \"$word\"); return ;;\n"
           "    esac\n"
           "    if [[ $word == -* ]]; then\n"
           "        mapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$word\")\n"
           "    elif [ -n \"$verbs\" ]; then\n"
           "        [ \"$COMP_CWORD\" != 2 ] || mapfile -t COMPREPLY < <(compgen -W \"$verbs\" -- "
           "\"$word\")\n"
           "    else\n"
           "        compopt -o default\n"
           "    fi\n"
           "}\n"
           "complete -F _stemforge stemforge\n");
}

static void zsh(void) {
    printf("#compdef stemforge\n# Completion for zsh; printed by stemforge --help=zsh.\n"
           "_stemforge() {\n"
           "    local -a commands=(\n");
    for (size_t i = 0; i < command_count; i++) {
        printf("        '%s:", commands[i].name);
        usage_shell_text(commands[i].help, "'\\''", ":");
        printf("'\n");
    }
    printf("    )\n"
           "    if (( CURRENT == 2 )); then\n"
           "        _describe -t commands command commands\n"
           "        return\n"
           "    fi\n"
           "    local command=$words[2]\n"
           "    shift words\n"
           "    (( CURRENT-- ))\n"
           "    case $command in\n");
    parts("zsh");
    printf("    esac\n}\n"
           "if [ \"$funcstack[1]\" = _stemforge ]; then _stemforge \"$@\"; "
           "else compdef _stemforge stemforge; fi\n");
}

static void fish(void) {
    printf("# stemforge - completion for fish; printed by stemforge --help=fish.\n"
           "complete -c stemforge -f -n __fish_use_subcommand -l version -d version\n"
           "complete -c stemforge -l help -d help\n");
    for (size_t i = 0; i < command_count; i++) {
        printf("complete -c stemforge -f -n __fish_use_subcommand -a %s -d '", commands[i].name);
        usage_shell_text(commands[i].help, "\\'", "\\");
        printf("'\n");
    }
    parts("fish");
}

void program_print(usage_form form) {
    switch (form) {
    case USAGE_TEXT: program_help(stdout); break;
    case USAGE_MAN: man(); break;
    case USAGE_BASH: bash(); break;
    case USAGE_ZSH: zsh(); break;
    case USAGE_FISH: fish(); break;
    case USAGE_NONE: break;
    }
}
