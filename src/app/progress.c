// progress.c - see progress.h.
#include "app/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/os.h"

#define BAR 30
#define REDRAW_S 0.1

void progress_begin(progress *p, const char *what, const char *unit, bool off) {
    *p = (progress){.what = what,
                    .unit = unit,
                    .start = os_seconds(),
                    .terminal = os_is_terminal(STDERR_FILENO),
                    .off = off};
}

static void draw(progress *p, double now) {
    double part = p->total ? (double)p->done / (double)p->total : 0;
    double rate = now > p->start ? (double)p->done / (now - p->start) : 0;
    double left = rate > 0 ? (double)(p->total - p->done) / rate : 0;
    char bar[BAR + 1];
    for (int i = 0; i < BAR; i++) bar[i] = i < (int)(part * BAR) ? '#' : '-';
    bar[BAR] = 0;
    fprintf(stderr, "\r\033[K%s [%s] %3.0f%%  %.1f %s/s  %.0f s left", p->what, bar, part * 100,
            rate, p->unit, left);
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
