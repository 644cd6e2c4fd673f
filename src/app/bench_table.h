// bench_table.h - the rows of `stemforge bench`: printed as they come, saved as CSV, and held
// against a saved run.
//
// A saved run is what --csv prints: a line that says what ran, the names of the columns, a row a
// figure. No name has a comma in it.
//   # stemforge bench 0.2.0, NAME, weights q8, avx512-vnni, 2 threads
//   stage,stems,seconds,value,unit,share
#pragma once
#include "base/err.h"

typedef struct {
    char stage[32], unit[16]; // units "s", "ms" and "MB" are better small, all others large
    int64_t stems;            // 0: it has none
    double seconds;           // of audio that it is about; 0: it is about none
    double value;
    double share; // of the roof, 0 to 1; 0: it has none
} bench_row;

#define BENCH_ROWS_MAX 1000

typedef struct {
    bool csv;
    char before_title[256];
    bench_row *before; // of the saved run
    size_t before_count;
} bench_table;

// compare: path of a saved run, or NULL. ERR_FORMAT when it is none.
status bench_table_open(bench_table *t, bool csv, const char *compare, err *e);
void bench_table_close(bench_table *t); // zeroed is fine
void bench_table_title(const bench_table *t, const char *what);
void bench_table_add(const bench_table *t, const bench_row *r);

// The middle one of n >= 1 values, the upper of two. Sorts them.
double bench_median(double *v, int64_t n);
