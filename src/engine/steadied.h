// steadied.h - which stems have their timbre held (audio/steady.h), and over what span it is heard.
#pragma once
#include "stemforge.h"

#define STEADIED_SECONDS 8.0 // a span lasts as many whole cycles of the chords as reach this

// The span in seconds; 0: the stem stays as the model made it. Held are stems longer than the
// model's window that play the same chords, or the same bars, over and over, for two spans at
// least. Not held is what changes because it was asked to, or what must fit to something:
// sections, loops, what goes on from a file, varies it or follows it; nor what has no tempo or one
// that moves. An ending changes the last bar alone, where the gains stand still.
double steadied_span(const stemforge_request *r, double window_seconds);
