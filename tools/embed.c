// embed.c - turns a file into a C array: embed NAME <file >header. Runs at build time only.
#include <stdio.h>

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: embed NAME <file >header\n");
        return 2;
    }
    printf("// Made by tools/embed.c.\n#pragma once\nstatic const unsigned char %s[] = {", argv[1]);
    int c;
    for (unsigned long n = 0; (c = getchar()) != EOF; n++) {
        printf("%s%d,", n % 20 ? "" : "\n", c);
    }
    printf("\n};\n");
    return ferror(stdin) || fflush(stdout) ? 1 : 0;
}
