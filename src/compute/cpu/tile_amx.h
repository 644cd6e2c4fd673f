// tile_amx.h - the words in which kern_amx.c speaks of AMX: shapes, loads, products of tiles.
//
// A tile is up to 16 rows of 64 bytes; a thread has eight. A product adds to each of its integers
//     sum[m][n] += sum over k of a[m][k] (signed) * b[k / 4][4n + k % 4] (unsigned)
// With TILES_IN_C the same words are plain C, which checks what the processor checks: that shapes
// fit and that a tile has one. The tests run kern_amx.c that way on machines without AMX.
#pragma once
#include <stdint.h>
#include <string.h>

#define TILE_ROWS 16
#define TILE_BYTES 64 // of a row
#define TILES 8

// The shapes of all tiles, as LDTILECFG reads them. Rows of 0: the tile is not used.
typedef struct {
    uint8_t palette, from, none[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tile_shapes;
_Static_assert(sizeof(tile_shapes) == 64, "LDTILECFG reads 64 bytes");

#if !defined(TILES_IN_C)

// The compiler's own words for these do not say that they read memory, so it may move or drop the
// stores before them. The number of a tile is a part of the instruction.
#define TILE_NAME(t) "%%tmm" #t
#define TILE_LOAD(t, p, stride)                                                                    \
    __asm__ volatile("tileloadd (%0,%1,1), " TILE_NAME(t)::"r"(p), "r"(stride) : "memory")
#define TILE_STORE(t, p, stride)                                                                   \
    __asm__ volatile("tilestored " TILE_NAME(t) ", (%0,%1,1)" ::"r"(p), "r"(stride) : "memory")
#define TILE_ZERO(t) __asm__ volatile("tilezero " TILE_NAME(t)::: "memory")
#define TILE_DOT(sum, a, b)                                                                        \
    __asm__ volatile("tdpbsud " TILE_NAME(b) ", " TILE_NAME(a) ", " TILE_NAME(sum)::: "memory")

#define tile_load(t, p, stride) TILE_LOAD(t, (const void *)(p), (size_t)(stride))
#define tile_store(t, p, stride) TILE_STORE(t, (void *)(p), (size_t)(stride))
#define tile_zero(t) TILE_ZERO(t)
#define tile_dot(sum, a, b) TILE_DOT(sum, a, b)

// All tiles become 0.
static inline void tiles_shape(const tile_shapes *s) {
    __asm__ volatile("ldtilecfg %0" ::"m"(*s) : "memory");
}
static inline void tiles_end(void) {
    __asm__ volatile("tilerelease" ::: "memory");
}

#else
#include <stdlib.h>

typedef struct {
    int rows, bytes;
    uint8_t at[TILE_ROWS][TILE_BYTES];
} plain_tile;
static _Thread_local plain_tile plain_tiles[TILES];

// What the processor answers with a fault ends the test.
static inline plain_tile *tile_of(int t) {
    if (!plain_tiles[t].rows) abort();
    return &plain_tiles[t];
}

static inline void tiles_end(void) {
    memset(plain_tiles, 0, sizeof plain_tiles);
}

static inline void tiles_shape(const tile_shapes *s) {
    if (s->palette != 1) abort();
    tiles_end();
    for (int t = 0; t < TILES; t++) {
        if (s->rows[t] > TILE_ROWS || s->bytes[t] > TILE_BYTES) abort();
        if (!s->rows[t] != !s->bytes[t]) abort();
        plain_tiles[t].rows = s->rows[t], plain_tiles[t].bytes = s->bytes[t];
    }
}

static inline void tile_zero(int t) {
    memset(tile_of(t)->at, 0, sizeof plain_tiles[t].at);
}

static inline void tile_load(int t, const void *p, size_t stride) {
    plain_tile *to = tile_of(t);
    memset(to->at, 0, sizeof to->at);
    for (int r = 0; r < to->rows; r++)
        memcpy(to->at[r], (const uint8_t *)p + (size_t)r * stride, (size_t)to->bytes);
}

static inline void tile_store(int t, void *p, size_t stride) {
    const plain_tile *from = tile_of(t);
    for (int r = 0; r < from->rows; r++)
        memcpy((uint8_t *)p + (size_t)r * stride, from->at[r], (size_t)from->bytes);
}

static inline void tile_dot(int sum, int a, int b) {
    plain_tile *to = tile_of(sum), *x = tile_of(a), *w = tile_of(b);
    if (to->rows != x->rows || to->bytes != w->bytes || x->bytes != 4 * w->rows) abort();
    for (int m = 0; m < to->rows; m++) {
        for (int n = 0; n < to->bytes / 4; n++) {
            int32_t s;
            memcpy(&s, to->at[m] + 4 * n, 4);
            for (int k = 0; k < x->bytes; k++)
                s += (int8_t)x->at[m][k] * (int)w->at[k / 4][4 * n + k % 4];
            memcpy(to->at[m] + 4 * n, &s, 4);
        }
    }
}
#endif
