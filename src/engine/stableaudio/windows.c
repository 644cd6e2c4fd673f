// windows.c - see windows.h.
#include "engine/stableaudio/windows.h"

#define HEARD 4 // a window hears one of so many parts of itself

// The window whose first frame to be made is `from`.
static sa_window window_from(const sa_windows *w, int64_t from) {
    int64_t start = MIN(MAX(0, from - w->canvas / HEARD), w->frames - w->canvas);
    return (sa_window){start, {from - start, MIN(w->canvas, w->fresh.to - start)}};
}

int64_t sa_windows_count(const sa_windows *w) {
    int64_t n = 1, end = window_from(w, w->fresh.from).start + w->canvas;
    for (; end < w->fresh.to; n++) end = window_from(w, end).start + w->canvas;
    return n;
}

sa_window sa_windows_at(const sa_windows *w, int64_t number) {
    sa_window x = window_from(w, w->fresh.from);
    for (; number > 0; number--) x = window_from(w, x.start + w->canvas);
    return x;
}
