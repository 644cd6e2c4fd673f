// picture.c - see picture.h. The only file that includes png.h.
#include "audio/picture.h"

#include <math.h> // floor and sqrt: exact
#include <png.h>
#include <stdio.h>
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
static const colour tick = {90, 90, 104}, axis = {54, 54, 66}, label = {150, 150, 164};

typedef struct {
    colour *pixel; // [PICTURE_HEIGHT, PICTURE_WIDTH]
    float *mono;   // [n]
    int64_t n;
    int rate;
} canvas;

static void put(canvas *c, int x, int y, colour k) {
    if (x >= 0 && x < PICTURE_PLOT_WIDTH && y >= 0 && y < PICTURE_PLOT_HEIGHT)
        c->pixel[(y + PICTURE_TOP) * PICTURE_WIDTH + x + PICTURE_LEFT] = k;
}

// A pixel of the whole image, labels included.
static void put_any(canvas *c, int x, int y, colour k) {
    if (x >= 0 && x < PICTURE_WIDTH && y >= 0 && y < PICTURE_HEIGHT)
        c->pixel[y * PICTURE_WIDTH + x] = k;
}

// Samples of column x: from column_at(x) to column_at(x + 1).
static int64_t column_at(const canvas *c, int x) {
    return c->n * x / PICTURE_PLOT_WIDTH;
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
    for (int x = 0; x < PICTURE_PLOT_WIDTH; x++) put(c, x, PICTURE_WAVE / 2, axis);
    double seconds = (double)c->n / c->rate;
    double step = seconds <= 60 ? 1 : seconds <= 600 ? 10 : 60;
    for (double t = step; t < seconds; t += step) {
        int x = (int)(t / seconds * PICTURE_PLOT_WIDTH);
        for (int y = 0; y < PICTURE_WAVE; y++)
            put(c, x, y, y < 8 || y >= PICTURE_WAVE - 8 ? tick : axis);
    }
    for (int x = 0; x < PICTURE_PLOT_WIDTH; x++) draw_wave_column(c, x);
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
        put(c, x, PICTURE_PLOT_HEIGHT - 1 - y, heat((db - DB_LOW) / -DB_LOW));
    }
}

// --- labels

#define GLYPH_SCALE 2
#define GLYPH_STEP (4 * GLYPH_SCALE) // from one character to the next
#define GLYPH_HEIGHT (5 * GLYPH_SCALE)

// A glyph has five rows of three dots: an octal digit a row, the first row first.
static int glyph_of(char ch) {
    static const int digits[] = {075557, 026227, 071747, 071717, 055711,
                                 074717, 074757, 071111, 075757, 075717};
    static const int letters[] = {025755, 065656, 034443, 065556, 074647, 074644, 034553,
                                  055755, 072227, 011152, 055655, 044447, 057755, 065555,
                                  025552, 065644, 025563, 065655, 034216, 072222, 055557,
                                  055552, 055775, 055255, 055222, 071247};
    if (ch >= '0' && ch <= '9') return digits[ch - '0'];
    if (ch >= 'A' && ch <= 'Z') return letters[ch - 'A'];
    if (ch >= 'a' && ch <= 'z') return letters[ch - 'a'];
    switch (ch) {
    case '.': return 000002;
    case '-': return 000700;
    case '+': return 002720;
    case '_': return 000007;
    default: return 0;
    }
}

static void draw_glyph(canvas *c, int x, int y, int glyph, colour k) {
    for (int i = 0; i < 15 * GLYPH_SCALE * GLYPH_SCALE; i++) {
        int column = i % (3 * GLYPH_SCALE), row = i / (3 * GLYPH_SCALE);
        int bit = 14 - (row / GLYPH_SCALE * 3 + column / GLYPH_SCALE);
        if (glyph >> bit & 1) put_any(c, x + column, y + row, k);
    }
}

static void draw_text(canvas *c, int x, int y, const char *text, colour k) {
    for (; *text && x < PICTURE_WIDTH; text++, x += GLYPH_STEP)
        draw_glyph(c, x, y, glyph_of(*text), k);
}

static int text_width(const char *text) {
    return (int)strlen(text) * GLYPH_STEP;
}

// A number, its right end at x and its middle at row y.
static void draw_number_left_of(canvas *c, int x, int y, double v, const char *unit) {
    char text[32];
    snprintf(text, sizeof text, "%g%s", v, unit);
    draw_text(c, x - text_width(text), y - GLYPH_HEIGHT / 2, text, label);
}

// Every step of time, so that at most a dozen labels stand below.
static double time_step(double seconds) {
    static const double steps[] = {0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (seconds / steps[i] <= 12) return steps[i];
    return 600;
}

static void draw_seconds(canvas *c) {
    double seconds = (double)c->n / c->rate, step = time_step(seconds);
    for (int i = 0; i * step <= seconds; i++) {
        char text[32];
        int x = PICTURE_LEFT + (int)(i * step / seconds * (PICTURE_PLOT_WIDTH - 1));
        int y = PICTURE_TOP + PICTURE_PLOT_HEIGHT;
        for (int k = 0; k < 5; k++) put_any(c, x, y + k, tick);
        snprintf(text, sizeof text, "%g%s", i * step, i ? "" : " s");
        draw_text(c, x - GLYPH_STEP / 2, y + 9, text, label);
    }
}

// Bars are numbered from 1; of many only every second, fourth, ... has its number.
static void draw_bars(canvas *c, double bpm) {
    double seconds = (double)c->n / c->rate, bar = 240 / bpm;
    int every = 1;
    while (seconds / bar / every > 20) every *= 2;
    draw_text(c, 4, PICTURE_TOP - 14, "bar", label);
    for (int i = 0; i * bar < seconds; i++) {
        char text[16];
        int x = PICTURE_LEFT + (int)(i * bar / seconds * (PICTURE_PLOT_WIDTH - 1));
        for (int k = 0; k < (i % every ? 3 : 6); k++) put_any(c, x, PICTURE_TOP - 1 - k, tick);
        snprintf(text, sizeof text, "%d", i + 1);
        if (i % every == 0) draw_text(c, x + 3, PICTURE_TOP - 14, text, label);
    }
}

static void draw_hertz(canvas *c) {
    static const double hz[] = {50, 100, 200, 500, 1000, 2000, 5000, 10000};
    double octaves = num_log2(MIN(FREQ_HIGH, c->rate / 2.0) / FREQ_LOW);
    for (size_t i = 0; i < ARRAY_LEN(hz) && hz[i] < MIN(FREQ_HIGH, c->rate / 2.0); i++) {
        int up = (int)(num_log2(hz[i] / FREQ_LOW) / octaves * PICTURE_SPECTRUM);
        int y = PICTURE_TOP + PICTURE_PLOT_HEIGHT - 1 - up;
        for (int k = 0; k < 6; k++) put_any(c, PICTURE_LEFT - 1 - k, y, tick);
        bool kilo = hz[i] >= 1000;
        draw_number_left_of(c, PICTURE_LEFT - 8, y, kilo ? hz[i] / 1000 : hz[i], kilo ? "k" : "");
    }
    draw_text(c, 4, PICTURE_TOP + PICTURE_WAVE + PICTURE_GAP, "Hz", label);
}

static void draw_scale(canvas *c) {
    draw_number_left_of(c, PICTURE_LEFT - 8, PICTURE_TOP + 5, 1, "");
    draw_number_left_of(c, PICTURE_LEFT - 8, PICTURE_TOP + PICTURE_WAVE / 2, 0, "");
    draw_number_left_of(c, PICTURE_LEFT - 8, PICTURE_TOP + PICTURE_WAVE - 5, -1, "");
}

static void draw_legend(canvas *c) {
    int left = PICTURE_LEFT + PICTURE_PLOT_WIDTH + 10;
    int top = PICTURE_TOP + PICTURE_WAVE + PICTURE_GAP;
    draw_text(c, left, PICTURE_TOP + 4, "range", ink);
    draw_text(c, left, PICTURE_TOP + 22, "rms", core);
    for (int y = 0; y < PICTURE_SPECTRUM; y++) {
        for (int x = 0; x < 12; x++)
            put_any(c, left + x, top + y, heat(1 - (double)y / (PICTURE_SPECTRUM - 1)));
    }
    for (int db = 0; db >= (int)DB_LOW; db -= 30) {
        char text[16];
        int y = top + (int)(db / DB_LOW * (PICTURE_SPECTRUM - 1));
        snprintf(text, sizeof text, "%d%s", db, db ? "" : " dB");
        draw_text(c, left + 18, MAX(top, MIN(y - 5, top + PICTURE_SPECTRUM - GLYPH_HEIGHT)), text,
                  label);
    }
}

static void draw_labels(canvas *c, const picture *p) {
    if (p->name) draw_text(c, PICTURE_LEFT, 5, p->name, core);
    draw_seconds(c);
    if (p->bpm > 0) draw_bars(c, p->bpm);
    draw_hertz(c);
    draw_scale(c);
    draw_legend(c);
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

static status draw(canvas *c, const picture *p, err *e) {
    rows r;
    status rc = rows_open(&r, c->rate, e);
    if (!rc) {
        for (size_t i = 0; i < (size_t)PICTURE_WIDTH * PICTURE_HEIGHT; i++) c->pixel[i] = paper;
        draw_wave(c);
        for (int x = 0; x < PICTURE_PLOT_WIDTH; x++) draw_spectrum_column(c, &r, x);
        draw_labels(c, p);
    }
    spectrum_close(&r.spectrum);
    return rc;
}

status picture_draw(buf *png, const picture *p, err *e) {
    if (p->frames < 1 || p->channels < 1 || p->rate < 8000 || p->rate > 192000)
        return err_set(e, ERR_ARG, "%lld frames of %d channels at %d Hz cannot be drawn",
                       (long long)p->frames, p->channels, p->rate);
    canvas c = {.n = p->frames, .rate = p->rate};
    c.pixel = mem_alloc((size_t)PICTURE_WIDTH * PICTURE_HEIGHT * sizeof *c.pixel);
    c.mono = mem_alloc((size_t)p->frames * sizeof *c.mono);
    status rc = c.pixel && c.mono ? OK : err_set(e, ERR_OOM, "no memory for a picture");
    if (!rc) {
        analyse_mono(c.mono, p->x, p->frames, p->channels);
        rc = draw(&c, p, e);
    }
    if (!rc) rc = write_png(png, c.pixel, e);
    mem_free(c.mono);
    mem_free(c.pixel);
    return rc;
}
