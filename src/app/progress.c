// progress.c - see progress.h.
#include "app/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

#define BAR 30 // characters at most
#define BAR_MIN 6
#define REDRAW_S 0.1

void progress_begin(progress *p, const char *what, const char *unit, bool off) {
    *p = (progress){.what = what,
                    .unit = unit,
                    .start = os_seconds(),
                    .terminal = os_is_terminal(STDERR_FILENO),
                    .off = off};
}

// "  42%  3.1 times real time  12 s left"
static int tail(const progress *p, double now, char *out, size_t cap) {
    double part = p->total ? (double)p->done / (double)p->total : 0;
    double per_second = now > p->start ? part / (now - p->start) : 0;
    double left = per_second > 0 ? (1 - part) / per_second : 0;
    bool audio = p->audio_seconds > 0;
    double rate = per_second * (audio ? p->audio_seconds : (double)p->total);
    return snprintf(out, cap, " %3.0f%%  %.1f %s%s  %.0f s left", part * 100, rate,
                    audio ? "times real time" : p->unit, audio ? "" : "/s", left);
}

// The bar gives way first, then what it is about; the last column stays free, so that no terminal
// wraps.
static void draw(progress *p, double now) {
    char text[128], bar[BAR + 1] = "";
    int width = MAX(os_terminal_columns(STDERR_FILENO) - 1, 0);
    int used = MIN(tail(p, now, text, sizeof text), width);
    int what = MIN((int)strlen(p->what), width - used);
    int room = MIN(width - used - what - (int)strlen(" []"), BAR);
    if (room < BAR_MIN) room = 0;
    int full = p->total ? (int)(p->done * room / p->total) : 0;
    for (int i = 0; i < room; i++) bar[i] = i < full ? '#' : '-';
    fprintf(stderr, "\r\033[K%.*s%s%s%s%.*s", what, p->what, room ? " [" : "", bar, room ? "]" : "",
            used, text);
    fflush(stderr);
    p->shown = true;
}

void progress_update(progress *p, int64_t done, int64_t total) {
    p->done = done;
    p->total = total;
    if (p->off || total <= 0) return;
    double now = os_seconds();
    if (p->terminal) {
        if (now - p->drawn < REDRAW_S && done < total) return;
        p->drawn = now;
        draw(p, now);
        return;
    }
    int tenth = (int)(10 * done / total);
    if (tenth <= p->tenth) return;
    p->tenth = tenth;
    fprintf(stderr, "%s: %d%%, %lld of %lld %s, %.1f s\n", p->what, tenth * 10, (long long)done,
            (long long)total, p->unit, now - p->start);
}

void progress_end(progress *p) {
    if (p->shown) fprintf(stderr, "\r\033[K");
    p->shown = false;
}
