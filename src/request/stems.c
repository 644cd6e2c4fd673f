// stems.c - see stems.h.
#include "request/stems.h"

#include <string.h>

const stem_type stem_types[STEMFORGE_STEMS_MAX] = {
    {"drums",
     "Isolated drum kit track, solo drums, percussion only, no melody, no other instruments",
     false},
    {"bass", "Isolated bass guitar track, solo bass line only, no drums, no other instruments",
     true},
    {"guitar", "Isolated guitar track, solo guitar only, no drums, no other instruments", true},
    {"vocals", "Isolated vocal track, solo wordless voice, a cappella, no instruments", true},
    {"piano", "Isolated piano track, solo piano only, no drums, no other instruments", true},
    {"synth", "Isolated synthesizer track, solo synth only, no drums, no other instruments", true},
    {"other", "Isolated melodic accompaniment track, strings and brass only, no drums, no vocals",
     true},
};

int stems_find(const char *name) {
    for (int i = 0; i < STEMFORGE_STEMS_MAX; i++)
        if (!strcmp(name, stem_types[i].name)) return i;
    return -1;
}

void stems_add_names(buf *out, const char *between, const char *last) {
    for (int i = 0; i < STEMFORGE_STEMS_MAX; i++) {
        if (i) buf_add_str(out, i + 1 < STEMFORGE_STEMS_MAX ? between : last);
        buf_add_str(out, stem_types[i].name);
    }
}
