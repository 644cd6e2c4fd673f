// bench_table.c - see bench_table.h.
#include "app/bench_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"

#define FILE_MAX ((size_t)1 << 20)
#define TITLE "# stemforge bench "
#define COLUMNS "stage,stems,seconds,value,unit,share"

// --- a saved run

// The next line of text without its end, as a string. False at the end or when it is too long.
static bool next_line(bytes *text, char *line, size_t cap) {
    if (!text->n) return false;
    const uint8_t *end = memchr(text->p, '\n', text->n);
    size_t n = end ? (size_t)(end - text->p) : text->n;
    if (n >= cap || memchr(text->p, 0, n)) return false;
    memcpy(line, text->p, n);
    line[n] = 0;
    size_t gone = MIN(n + 1, text->n);
    *text = (bytes){text->p + gone, text->n - gone};
    return true;
}

static bool read_row(bench_row *r, const char *line) {
    long long stems;
    int end = 0;
    int n = sscanf(line, "%31[^,],%lld,%lf,%lf,%15[^,],%lf%n", r->stage, &stems, &r->seconds,
                   &r->value, r->unit, &r->share, &end);
    r->stems = stems;
    return n == 6 && !line[end];
}

static status read_run(bench_table *t, bytes text, err *e) {
    char line[256];
    bool good = text.n <= FILE_MAX && next_line(&text, line, sizeof line) &&
                strncmp(line, TITLE, strlen(TITLE)) == 0;
    if (good) memcpy(t->before_title, line + 2, strlen(line + 2) + 1);
    good = good && next_line(&text, line, sizeof line) && strcmp(line, COLUMNS) == 0;
    if (!good) return err_set(e, ERR_FORMAT, "not a run saved by stemforge bench --csv");
    t->before = mem_calloc(BENCH_ROWS_MAX, sizeof *t->before);
    if (!t->before) return err_set(e, ERR_OOM, "no memory for a saved run");
    while (text.n) {
        bool room = t->before_count < BENCH_ROWS_MAX;
        if (!room || !next_line(&text, line, sizeof line) ||
            !read_row(&t->before[t->before_count], line)) {
            return err_set(e, ERR_FORMAT, "row %zu: expected %s", t->before_count + 1, COLUMNS);
        }
        t->before_count++;
    }
    return OK;
}

status bench_table_open(bench_table *t, bool csv, const char *compare, err *e) {
    *t = (bench_table){.csv = csv};
    if (!compare) return OK;
    os_file_map map;
    status rc = os_map_open(&map, compare, e);
    if (rc) return rc;
    rc = read_run(t, map.data, e);
    if (rc) err_within(e, rc, "%s", compare);
    os_map_close(&map);
    return rc;
}

void bench_table_close(bench_table *t) {
    mem_free(t->before);
    *t = (bench_table){0};
}

// --- output

void bench_table_title(const bench_table *t, const char *what) {
    if (t->before) fprintf(stderr, "before: %s\n", t->before_title);
    printf("%s%s, %s\n", t->csv ? TITLE : "stemforge bench ", STEMFORGE_VERSION, what);
    if (t->csv) puts(COLUMNS);
}

static const bench_row *find_before(const bench_table *t, const bench_row *r) {
    for (size_t i = 0; i < t->before_count; i++) {
        const bench_row *b = &t->before[i];
        bool same = strcmp(b->stage, r->stage) == 0 && strcmp(b->unit, r->unit) == 0 &&
                    b->stems == r->stems && b->seconds == r->seconds;
        if (same) return b;
    }
    return NULL;
}

static bool small_is_good(const char *unit) {
    return strcmp(unit, "s") == 0 || strcmp(unit, "ms") == 0 || strcmp(unit, "MB") == 0;
}

static void print_text(const bench_table *t, const bench_row *r) {
    char stems[16] = "", seconds[24] = "", share[32] = "";
    if (r->stems) snprintf(stems, sizeof stems, "%lld", (long long)r->stems);
    if (r->seconds > 0) snprintf(seconds, sizeof seconds, "%g s", r->seconds);
    if (r->share > 0) snprintf(share, sizeof share, "%5.1f%% of the roof", 100 * r->share);
    printf("%-22s %4s %7s  %10.4g %-11s %-18s", r->stage, stems, seconds, r->value, r->unit, share);
    const bench_row *b = find_before(t, r);
    if (b && b->value > 0 && r->value > 0) {
        bool down = small_is_good(r->unit);
        double gain = down ? b->value / r->value : r->value / b->value;
        printf(" %6.2f times the %.4g before", gain, b->value);
    } else if (t->before) {
        printf(" not in the run before");
    }
    putchar('\n');
}

void bench_table_add(const bench_table *t, const bench_row *r) {
    if (t->csv)
        printf("%s,%lld,%g,%.6g,%s,%.4f\n", r->stage, (long long)r->stems, r->seconds, r->value,
               r->unit, r->share);
    else
        print_text(t, r);
    fflush(stdout);
}

static int ascending(const void *a, const void *c) {
    double x = *(const double *)a, y = *(const double *)c;
    return (x > y) - (x < y);
}

double bench_median(double *v, int64_t n) {
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}
