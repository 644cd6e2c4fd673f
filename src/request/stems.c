// stems.c - see stems.h.
#include "request/stems.h"

#include <string.h>

// Rhythm and voice in front, what plays chords behind them.
const stem_type stem_types[STEMFORGE_STEMS_MAX] = {
    {"drums",
     "Isolated drum kit track, solo drums, percussion only, no melody, no other instruments", false,
     -22},
    {"bass", "Isolated bass guitar track, solo bass line only, no drums, no other instruments",
     true, -23},
    {"guitar", "Isolated guitar track, solo guitar only, no drums, no other instruments", true,
     -25},
    {"vocals", "Isolated vocal track, solo wordless voice, a cappella, no instruments", true, -22},
    {"piano", "Isolated piano track, solo piano only, no drums, no other instruments", true, -25},
    {"synth", "Isolated synthesizer track, solo synth only, no drums, no other instruments", true,
     -26},
    {"other", "Isolated melodic accompaniment track, strings and brass only, no drums, no vocals",
     true, -26},
};

int stems_find(const char *name) {
    for (int i = 0; i < STEMFORGE_STEMS_MAX; i++)
        if (!strcmp(name, stem_types[i].name)) return i;
    return -1;
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

int stems_find_word(const char *name, size_t n) {
    int type = -1;
    for (size_t at = 0, len; at < n; at += len ? len : 1) {
        for (len = 0; at + len < n && is_letter(name[at + len]);) len++;
        for (int i = 0; len && i < STEMFORGE_STEMS_MAX; i++)
            if (strlen(stem_types[i].name) == len && !memcmp(stem_types[i].name, name + at, len))
                type = i;
    }
    return type;
}

void stems_add_names(buf *out, const char *between, const char *last) {
    for (int i = 0; i < STEMFORGE_STEMS_MAX; i++) {
        if (i) buf_add_str(out, i + 1 < STEMFORGE_STEMS_MAX ? between : last);
        buf_add_str(out, stem_types[i].name);
    }
}
