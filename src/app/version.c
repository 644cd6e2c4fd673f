// version.c - see version.h. gen/commit.h is written by the Makefile, from git or the file COMMIT.
#include "app/version.h"

#include <stdio.h>
#include <sys/utsname.h>

#include "compute/cpu/isa.h"
#include "compute/ops.h"
#include "gen/commit.h"
#include "gpu/images.h"

void version_print(void) {
    struct utsname machine = {0};
    uname(&machine);
    printf("stemforge " STEMFORGE_VERSION "\n"
           "commit       " STEMFORGE_COMMIT "\n"
           "arithmetic   %d\n"
           "processor    %s, level %s of ",
           ARITHMETIC, machine.machine, isa_level_name(isa_flags()));
    for (size_t i = 0; isa_built_level(i); i++) printf("%s%s", i ? ", " : "", isa_built_level(i));
    printf("\nGPU kernels  ");
    gpu_image image;
    if (!gpu_image_get(0, &image)) printf("none");
    for (size_t i = 0; gpu_image_get(i, &image); i++) printf("%s%s", i ? ", " : "", image.name);
    printf("\nmodels       MusicGen, Stable Audio; from safetensors and GGUF\n"
           "audio        WAV, FLAC, Ogg\n"
           "queue        SQLite, PostgreSQL\n");
}
