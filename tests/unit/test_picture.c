// test_picture.c - the picture is a PNG that shows what sounds, where it sounds.
#include <criterion/criterion.h>
#include <math.h>
#include <png.h>
#include <string.h>

#include "audio/picture.h"
#include "base/mem.h"

enum { RATE = 32000, N = 4 * RATE };

static uint8_t *drawn(const float *x) { // [PICTURE_HEIGHT, PICTURE_WIDTH, 3], decoded by libpng
    buf b;
    err e = {0};
    buf_init(&b, (size_t)16 << 20);
    cr_assert_eq(picture_draw(&b, &(picture){.x = x, .frames = N, .channels = 1, .rate = RATE}, &e),
                 OK, "%s", e.text);
    png_image image = {.version = PNG_IMAGE_VERSION};
    cr_assert(png_image_begin_read_from_memory(&image, b.p, b.n));
    cr_assert(image.width == PICTURE_WIDTH && image.height == PICTURE_HEIGHT);
    image.format = PNG_FORMAT_RGB;
    uint8_t *rgb = mem_alloc(PNG_IMAGE_SIZE(image));
    cr_assert(png_image_finish_read(&image, NULL, rgb, 0, NULL));
    buf_deinit(&b);
    return rgb;
}

static int light(const uint8_t *rgb, int x, int y) {
    const uint8_t *p = rgb + 3 * ((y + PICTURE_TOP) * PICTURE_WIDTH + x + PICTURE_LEFT);
    return p[0] + p[1] + p[2];
}

Test(picture, a_tone_is_a_line_at_its_height_while_it_sounds) {
    float *x = mem_calloc(N, sizeof *x);
    for (int i = N / 2; i < N; i++) x[i] = (float)(0.5 * sin(2 * acos(-1) * 800 * i / RATE));
    uint8_t *rgb = drawn(x);
    // 40 Hz to 16 kHz over the spectrogram's rows, logarithmic: 800 Hz lies exactly in the middle.
    int row = PICTURE_PLOT_HEIGHT - 1 - PICTURE_SPECTRUM / 2, left = PICTURE_PLOT_WIDTH / 4,
        right = 3 * left;
    int best = 0, top = 0;
    for (int y = PICTURE_WAVE + PICTURE_GAP; y < PICTURE_PLOT_HEIGHT; y++)
        if (light(rgb, right, y) > top) top = light(rgb, right, y), best = y;
    cr_assert_leq(abs(best - row), 4, "row %d, want %d", best, row);
    cr_assert_gt(light(rgb, right, row), 3 * light(rgb, left, row));
    // The waveform: a quarter above the middle there is ink on the right only.
    int y = PICTURE_WAVE / 2 - PICTURE_WAVE / 5;
    cr_assert_gt(light(rgb, right + 7, y), 2 * light(rgb, left + 7, y));
    mem_free(rgb), mem_free(x);
}

Test(picture, the_same_sound_is_the_same_picture_and_memory_may_run_out) {
    float x[20000];
    for (int i = 0; i < 20000; i++) x[i] = (float)sin(i * 0.001 * i);
    buf a, b;
    const picture two = {.x = x, .frames = 10000, .channels = 2, .rate = 44100};
    buf_init(&a, (size_t)16 << 20), buf_init(&b, (size_t)16 << 20);
    cr_assert_eq(picture_draw(&a, &two, NULL), OK);
    for (int n = 0;; n++) {
        mem_fail_after(n);
        status rc = picture_draw(&b, &two, NULL);
        mem_fail_after(-1);
        if (rc == OK) break;
        cr_assert(rc == ERR_OOM && b.n == 0);
        buf_deinit(&b);
    }
    cr_assert(a.n == b.n && memcmp(a.p, b.p, a.n) == 0);
    buf_deinit(&a), buf_deinit(&b);
    cr_assert_eq(picture_draw(&a, &(picture){.x = x, .channels = 1, .rate = 44100}, NULL), ERR_ARG);
}

// Rows in which the left margin, the columns from `from` to the plot, shows a label.
static int labelled_rows(const uint8_t *rgb, int from, int to, int top, int end) {
    int rows = 0;
    for (int y = top; y < end; y++) {
        int lit = 0;
        for (int x = from; x < to; x++) lit |= light(rgb, x, y) > 300;
        rows += lit;
    }
    return rows;
}

Test(picture, axes_legend_and_title_stand_around_the_plots) {
    float *x = mem_calloc(N, sizeof *x);
    uint8_t *rgb = drawn(x);
    int spectrum = PICTURE_WAVE + PICTURE_GAP, bottom = PICTURE_PLOT_HEIGHT;
    // Eight frequencies of ten rows each, less what a label of the neighbour covers.
    cr_assert_geq(labelled_rows(rgb, -PICTURE_LEFT, -1, spectrum, bottom), 60);
    cr_assert_geq(labelled_rows(rgb, -PICTURE_LEFT, -1, 0, PICTURE_WAVE), 25); // 1, 0, -1
    cr_assert_geq(labelled_rows(rgb, 0, PICTURE_PLOT_WIDTH, bottom + 6, bottom + 22), 10);
    cr_assert_geq(
        labelled_rows(rgb, PICTURE_PLOT_WIDTH + 24, PICTURE_PLOT_WIDTH + 70, spectrum, bottom),
        30); // four levels
    cr_assert_eq(labelled_rows(rgb, 0, PICTURE_PLOT_WIDTH, -PICTURE_TOP, -1),
                 0); // no name, no bars
    mem_free(rgb), mem_free(x);
}
