// agree.c - the look at start that sees whether two tables give the same bits.
#include "check.h"

static void spoiled_dots(const qdots_args *a) {
    kern_table ref;
    kern_init_ref(&ref);
    ref.packed.dots(a);
    a->out[a->n / 2 * a->ldo + 1] += 1;
}

void test_agreement(void) {
    kern_table ref;
    kern_init_ref(&ref);
    for (const char *const *l = levels(); *l; l++) {
        kern_table k = table_of(*l);
        expect(kern_packed_agree(&k, &ref), "%s agrees with kern_ref", *l);
    }
    kern_table spoiled = ref;
    spoiled.packed.dots = spoiled_dots;
    expect(!kern_packed_agree(&spoiled, &ref), "a wrong product is seen");
}
