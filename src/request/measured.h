// measured.h - what was measured of a stem, as JSON: one form for the command, its recipe and the
// service.
#pragma once
#include "base/json.h"
#include "stemforge.h"

// {"bpm", "first_beat_seconds", "key", "chords", "type", "type_share", "leak", "held_pitch",
// "lufs", "gain_db", "faults"}; what was not heard is left out. Numbers are rounded to what they
// are good for. NULL: no memory.
json *measured_json(const stemforge_measured *m);
