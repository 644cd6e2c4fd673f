// test_peaks.c - the peaks of a WAV are its extremes span by span; what is no WAV is refused.
#include <criterion/criterion.h>
#include <string.h>

#include "audio/peaks.h"

#define FMT(kind, channels, bits)                                                                  \
    "fmt \x10\0\0\0" kind "\0" channels "\0\x40\x1f\0\0\0\x7d\0\0\4\0" bits "\0"
#define STEREO16 FMT("\1", "\2", "\x10")
#define IMAGE(chunks) ((bytes){(const uint8_t *)"RIFF\0\0\0\0WAVE" chunks, sizeof(chunks) + 11})

static status read_image(void *arg, int64_t offset, int64_t n, buf *out, err *e) {
    const bytes *image = arg;
    int64_t left = MAX((int64_t)image->n - offset, 0);
    if (left) buf_add(out, image->p + offset, (size_t)MIN(n, left));
    return buf_status(out, e);
}

static status draw(peaks *k, bytes image, size_t most) {
    return peaks_of_wav(k, read_image, &image, most, NULL);
}

Test(peaks, are_the_extremes_of_both_channels) {
    static peaks k;
    bytes image = IMAGE(STEREO16 "LIST\3\0\0\0abc\0data\x14\0\0\0" // an odd chunk and its pad byte
                                 "\0\1\0\xff\0\2\0\3"              // 1 -1, 2 3
                                 "\0\x7f\0\x80\0\0\0\0"            // 127 -128, 0 0
                                 "\0\5\0\5");                      // 5 5
    cr_assert_eq(draw(&k, image, 3), OK);
    cr_assert(k.rate == 8000 && k.frames == 5 && k.span == 2 && k.count == 3);
    cr_assert(k.pair[0].low == -1 && k.pair[0].high == 3);
    cr_assert(k.pair[1].low == -128 && k.pair[1].high == 127);
    cr_assert(k.pair[2].low == 5 && k.pair[2].high == 5);
    cr_assert_eq(draw(&k, image, 8000), OK);
    cr_assert(k.span == 1 && k.count == 5);
}

Test(peaks, take_24_bits_and_files_without_sound) {
    static peaks k;
    cr_assert_eq(draw(&k, IMAGE(FMT("\1", "\1", "\x18") "data\6\0\0\0\1\2\3\4\5\xf0"), 1), OK);
    cr_assert(k.frames == 2 && k.pair[0].low == -16 && k.pair[0].high == 3);
    cr_assert_eq(draw(&k, IMAGE(STEREO16 "data\0\0\0\0"), 9), OK);
    cr_assert(k.frames == 0 && k.count == 0);
}

Test(peaks, refuse_what_is_no_wav_or_is_cut) {
    static peaks k;
    const bytes bad[] = {
        {NULL, 0},
        {(const uint8_t *)"OggS", 4},
        IMAGE(""),
        IMAGE(STEREO16),
        IMAGE("data\4\0\0\0\0\0\0\0"),                         // no fmt
        IMAGE("fmt \4\0\0\0\1\0\2\0data\0\0\0\0"),             // a short one
        IMAGE(FMT("\3", "\2", "\x20") "data\4\0\0\0\0\0\0\0"), // floats
        IMAGE(FMT("\1", "\0", "\x10") "data\4\0\0\0\0\0\0\0"), // no channels
        IMAGE("\0\0\0\0\xff\xff\xff\xff"),                     // a chunk past the end
        IMAGE(STEREO16 "data\xff\xff\xff\xff\0\0\0\0"),        // less sound than it says
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_eq(draw(&k, bad[i], 100), ERR_FORMAT, "image %zu", i);
}
