// args.h - parses a command's arguments by its table.
//
// Flags are --name VALUE or --name=VALUE; flags of kind ARG_FLAG take no value. Everything else is
// a positional argument; "--" ends the flags. A wrong word is answered with what was expected, the
// nearest flag, and where the help is.
#pragma once
#include "app/arg_table.h"
#include "base/err.h"

void args_list_deinit(arg_list *l);

// Exit status of a usage error.
#define EXIT_USAGE 2

// Parses argv[1..argc). Positional arguments go to list [positional_max]; *n is how many. Returns 0
// to go on; otherwise the command ends with *exit_status (0 after --help, EXIT_USAGE after a usage
// error, which was printed).
int args_parse(const arg_command *c, int argc, char **argv, const char **list, int *n,
               int *exit_status);
