// picture.c - see picture.h. The only file that includes png.h.
#include "audio/picture.h"

#include <math.h> // floor and sqrt: exact
#include <png.h>
#include <string.h>

#include "audio/analyse.h"
#include "audio/spectrum.h"
#include "base/mem.h"
#include "base/num.h"

#define FREQ_LOW 40.0
#define FREQ_HIGH 16000.0
#define DB_LOW (-90.0)
#define WINDOW_SECONDS 0.09

typedef struct {
    uint8_t r, g, b;
} colour;

static const colour paper = {18, 18, 24}, ink = {86, 156, 214}, core = {156, 205, 240};
static const colour tick = {90, 90, 104}, axis = {54, 54, 66};

typedef struct {
    colour *pixel; // [PICTURE_HEIGHT, PICTURE_WIDTH]
    float *mono;   // [n]
    int64_t n;
    int rate;
} canvas;

static void put(canvas *c, int x, int y, colour k) {
    if (x >= 0 && x < PICTURE_WIDTH && y >= 0 && y < PICTURE_HEIGHT)
        c->pixel[y * PICTURE_WIDTH + x] = k;
}

// Samples of column x: from column_at(x) to column_at(x + 1).
static int64_t column_at(const canvas *c, int x) {
    return c->n * x / PICTURE_WIDTH;
}

static int wave_row(double v) {
    return (int)floor((1 - MAX(MIN(v, 1.0), -1.0)) / 2 * (PICTURE_WAVE - 1) + 0.5);
}

static void draw_wave_column(canvas *c, int x) {
    int64_t from = column_at(c, x), to = MAX(column_at(c, x + 1), from + 1);
    double lo = 1e9, hi = -1e9, squares = 0;
    for (int64_t i = from; i < to && i < c->n; i++) {
        double v = (double)c->mono[i];
        lo = MIN(lo, v);
        hi = MAX(hi, v);
        squares += v * v;
    }
    double rms = sqrt(squares / (double)(to - from));
    for (int y = wave_row(hi); y <= wave_row(lo); y++) put(c, x, y, ink);
    for (int y = wave_row(MIN(rms, hi)); y <= wave_row(MAX(-rms, lo)); y++) put(c, x, y, core);
}

static void draw_wave(canvas *c) {
    for (int x = 0; x < PICTURE_WIDTH; x++) put(c, x, PICTURE_WAVE / 2, axis);
    double seconds = (double)c->n / c->rate;
    double step = seconds <= 60 ? 1 : seconds <= 600 ? 10 : 60;
    for (double t = step; t < seconds; t += step) {
        int x = (int)(t / seconds * PICTURE_WIDTH);
        for (int y = 0; y < PICTURE_WAVE; y++)
            put(c, x, y, y < 8 || y >= PICTURE_WAVE - 8 ? tick : axis);
    }
    for (int x = 0; x < PICTURE_WIDTH; x++) draw_wave_column(c, x);
}

// From dark to bright, in even steps of lightness: night, violet, red, orange, pale yellow.
static colour heat(double v) {
    static const colour stops[] = {{6, 5, 20},     {52, 14, 92},   {122, 28, 109}, {190, 55, 82},
                                   {236, 105, 37}, {251, 180, 60}, {252, 250, 190}};
    double at = MAX(MIN(v, 1.0), 0.0) * (ARRAY_LEN(stops) - 1);
    size_t i = MIN((size_t)at, ARRAY_LEN(stops) - 2);
    double part = at - (double)i;
    colour a = stops[i], b = stops[i + 1];
    return (colour){(uint8_t)(a.r + (b.r - a.r) * part), (uint8_t)(a.g + (b.g - a.g) * part),
                    (uint8_t)(a.b + (b.b - a.b) * part)};
}

typedef struct {
    spectrum spectrum;
    double edge[PICTURE_SPECTRUM + 1]; // in bins, from the lowest row up
} rows;

static status rows_open(rows *r, int rate, err *e) {
    status rc = spectrum_open(&r->spectrum, 512, WINDOW_SECONDS, rate, e);
    double octaves = num_log2(MIN(FREQ_HIGH, rate / 2.0) / FREQ_LOW);
    for (int y = 0; y <= PICTURE_SPECTRUM; y++) {
        double hz = FREQ_LOW * num_exp(0.693147180559945 * octaves * y / PICTURE_SPECTRUM);
        r->edge[y] = hz * (double)r->spectrum.size / rate;
    }
    return rc;
}

// The strongest bin of a row, or where a row is narrower than a bin, between its two neighbours.
static double row_power(const rows *r, int y) {
    const float *power = r->spectrum.power;
    size_t last = r->spectrum.size / 2, lo = (size_t)r->edge[y], hi = (size_t)r->edge[y + 1];
    double middle = (r->edge[y] + r->edge[y + 1]) / 2, top = 0;
    if (hi <= lo + 1) {
        size_t k = MIN((size_t)middle, last - 1);
        double part = middle - (double)k;
        return (double)power[k] * (1 - part) + (double)power[k + 1] * part;
    }
    for (size_t k = lo; k <= MIN(hi, last); k++) top = MAX(top, (double)power[k]);
    return top;
}

static void draw_spectrum_column(canvas *c, rows *r, int x) {
    int64_t centre = (column_at(c, x) + column_at(c, x + 1)) / 2;
    spectrum_at(&r->spectrum, c->mono, c->n, centre - (int64_t)r->spectrum.size / 2);
    double full = spectrum_full(&r->spectrum);
    for (int y = 0; y < PICTURE_SPECTRUM; y++) {
        double db = 3.0102999566398 * num_log2(row_power(r, y) / full + 1e-12);
        put(c, x, PICTURE_HEIGHT - 1 - y, heat((db - DB_LOW) / -DB_LOW));
    }
}

static void draw_octaves(canvas *c) {
    double octaves = num_log2(MIN(FREQ_HIGH, c->rate / 2.0) / FREQ_LOW);
    for (double hz = 55; hz < MIN(FREQ_HIGH, c->rate / 2.0); hz *= 2) {
        int y = (int)(num_log2(hz / FREQ_LOW) / octaves * PICTURE_SPECTRUM);
        for (int x = 0; x < 10; x++) {
            put(c, x, PICTURE_HEIGHT - 1 - y, tick);
            put(c, PICTURE_WIDTH - 1 - x, PICTURE_HEIGHT - 1 - y, tick);
        }
    }
}

static status write_png(buf *out, const colour *pixel, err *e) {
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = PICTURE_WIDTH,
                       .height = PICTURE_HEIGHT,
                       .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    uint8_t *file = mem_alloc(size);
    if (!file) return err_set(e, ERR_OOM, "no memory for a picture");
    status rc = OK;
    if (png_image_write_to_memory(&image, file, &size, 0, pixel, 0, NULL))
        buf_add(out, file, size);
    else
        rc = err_set(e, ERR_IO, "cannot make a PNG: %s", image.message);
    mem_free(file);
    return rc ? rc : buf_status(out, e);
}

static status draw(canvas *c, err *e) {
    rows r;
    status rc = rows_open(&r, c->rate, e);
    if (!rc) {
        for (size_t i = 0; i < (size_t)PICTURE_WIDTH * PICTURE_HEIGHT; i++) c->pixel[i] = paper;
        draw_wave(c);
        for (int x = 0; x < PICTURE_WIDTH; x++) draw_spectrum_column(c, &r, x);
        draw_octaves(c);
    }
    spectrum_close(&r.spectrum);
    return rc;
}

status picture_draw(buf *png, const float *x, int64_t frames, int channels, int rate, err *e) {
    if (frames < 1 || channels < 1 || rate < 8000 || rate > 192000)
        return err_set(e, ERR_ARG, "%lld frames of %d channels at %d Hz cannot be drawn",
                       (long long)frames, channels, rate);
    canvas c = {.n = frames, .rate = rate};
    c.pixel = mem_alloc((size_t)PICTURE_WIDTH * PICTURE_HEIGHT * sizeof *c.pixel);
    c.mono = mem_alloc((size_t)frames * sizeof *c.mono);
    status rc = c.pixel && c.mono ? OK : err_set(e, ERR_OOM, "no memory for a picture");
    if (!rc) {
        analyse_mono(c.mono, x, frames, channels);
        rc = draw(&c, e);
    }
    if (!rc) rc = write_png(png, c.pixel, e);
    mem_free(c.mono);
    mem_free(c.pixel);
    return rc;
}
