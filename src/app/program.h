// program.h - what the program as a whole says of itself: help, stemforge(1), and the scripts for
// completion, of which each command prints its own part.
#pragma once
#include <stdio.h>

#include "app/usage.h"

void program_help(FILE *to);
void program_print(usage_form form);
