// heardjson.h - what was heard in a recording, as JSON and as a line.
#pragma once
#include "base/buf.h"
#include "base/json.h"
#include "stemforge.h"

// {"target_bpm", "tempo_sure", "first_bar_seconds", "bars", "chord_progression", "chords_sure",
// "key"}, less what was not followed. NULL: no memory.
json *heardjson_write(const stemforge_heard *h);
// "119.8 bpm (0.82 sure), 12 bars from 0.31 s, A minor, Am F C G (92% sure)"
void heardjson_say(buf *out, const stemforge_heard *h);
