// control.c - see control.h. Angles are double and go through num.h, so the columns have the same
// bits on every machine.
#include "engine/musicgen/control.h"

#include <string.h>

#include "base/num.h"

static void put_turn(float *out, double turns) {
    out[0] = (float)num_cos_turns(turns);
    out[1] = (float)num_sin_turns(turns);
}

static double third_value(int third) {
    switch (third) {
    case 4: return 1;
    case 3: return -1;
    case 5: return 1.0 / 3;
    case 2: return -1.0 / 3;
    default: return 0;
    }
}

static double colour_value(int seventh, int fifth) {
    double v = seventh == 10 ? 1 : seventh == 11 ? -1 : seventh == 9 ? 0.5 : 0;
    return v + (fifth == 6 ? -0.3 : fifth == 8 ? 0.3 : 0);
}

static void put_chord(float out[6], const chord *heard) {
    put_turn(out, heard->root / 12.0);
    put_turn(out + 2, 7 * heard->root / 12.0);
    out[4] = (float)third_value(heard->third);
    out[5] = (float)colour_value(heard->seventh, heard->fifth);
}

void control_fill(float *out, const control_grid *g, const progression *p, const timing *time,
                  double start) {
    memset(out, 0, g->columns * CONTROL_WIDTH * sizeof *out);
    for (size_t i = 0; i < g->columns; i++, out += CONTROL_WIDTH) {
        double beat = timing_beat(time, start + ((double)i + 0.5) / g->columns_per_second);
        put_turn(out, beat / time->meter->quarters);
        put_turn(out + 2, beat / time->meter->pulse);
        put_turn(out + 4, 4 * beat);
        const chord *heard = p ? chords_at_beat(p, beat) : NULL;
        if (heard && !heard->none) put_chord(out + 6, heard);
    }
}
