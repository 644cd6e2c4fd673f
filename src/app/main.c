// main.c - finds the command. See stemforge --help.
#include <stdio.h>

int main(void) {
    fprintf(stderr, "stemforge " STEMFORGE_VERSION ": no command yet\n");
    return 2;
}
