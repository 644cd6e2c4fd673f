// test_wav.c - WAV files as recorders and editors leave them: what is there is read, with a
// warning.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "audio/file.h"

#define FMT_16_MONO "fmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0"
#define FMT_16_STEREO "fmt \x10\0\0\0\1\0\2\0\x40\x1f\0\0\0\x7d\0\0\4\0\x10\0"
#define FMT_MP3                                                                                    \
    "fmt \x1e\0\0\0\x55\0\1\0\x40\x1f\0\0\xe8\3\0\0\1\0\0\0\xc\0\1\0\2\0\0\0\x20\1\1\0\x71\5"
#define DS64(data) "ds64\x1c\0\0\0\0\0\0\0\0\0\0\0" data "\0\0\0\0\0\0\0\0\0\0\0\0"
#define FMT_24_IN_32 "fmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\0\x7d\0\0\4\0\x18\0"
#define SOUND_32 "\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4"
#define PAD_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
// The samples 256, 512, 768, 1024: 2^-7 and its multiples.
#define SOUND "\0\1\0\2\0\3\0\4"

typedef struct {
    const char *magic, *chunks;
    size_t n;
    const char *warning; // what it must say; NULL: nothing
    int frames;
} sample;
#define CHUNKS(s) (s), sizeof(s) - 1

static status decode(file_clip *c, const sample *x, err *e) {
    uint8_t image[512];
    memcpy(image, x->magic, 8); // with its size
    memcpy(image + 8, "WAVE", 4);
    memcpy(image + 12, x->chunks, x->n);
    const file_limits limits = file_limits_default();
    return file_decode(c, (bytes){image, 12 + x->n}, &limits, e);
}

Test(wav, what_is_there_is_read_with_a_warning) {
    static const char never[] = "never written", pad[] = "pad byte", several[] = "several";
    static const sample samples[] = {
        {"RIFF\x2c\0\0\0", CHUNKS(FMT_16_MONO "data\x8\0\0\0" SOUND), NULL, 4},
        {"RIFF\0\0\0\0", CHUNKS(FMT_16_MONO "data\x8\0\0\0" SOUND), NULL, 4},
        {"RIFF\xff\xff\xff\xff", CHUNKS(FMT_16_MONO "data\xff\xff\xff\xff" SOUND), never, 4},
        {"RIFF\0\0\0\0", CHUNKS(FMT_16_MONO "data\0\0\0\0" SOUND), never, 4},
        {"RIFF\0\0\0\0", CHUNKS(FMT_16_MONO "data\0\0\0\0" SOUND "\x7f"), never, 4}, // half a frame
        {"RIFF\x24\xf0\xff\x7f", CHUNKS(FMT_16_MONO "data\0\xf0\xff\x7f" SOUND), never, 4},
        {"RIFF\0\0\0\0", CHUNKS("LIST\5\0\0\0INFOa" FMT_16_MONO "data\x8\0\0\0" SOUND), pad, 4},
        {"RIFF\0\0\0\0", CHUNKS("LIST\5\0\0\0INFOa\0" FMT_16_MONO "data\x8\0\0\0" SOUND), NULL, 4},
        {"RIFF\0\0\0\0", CHUNKS("abcd\1\0\0\0!efgh\3\0\0\0xyz" FMT_16_MONO "data\x8\0\0\0" SOUND),
         pad, 4},
        {"RIFF\0\0\0\0", CHUNKS(FMT_16_MONO "data\4\0\0\0\0\1\0\2data\4\0\0\0\0\3\0\4"), several,
         4},
        {"RIFF\0\0\0\0", CHUNKS(FMT_16_MONO "data\0\0\0\0LIST\4\0\0\0INFOdata\x8\0\0\0" SOUND),
         NULL, 4},
        {"BW64\xff\xff\xff\xff",
         CHUNKS(DS64("\x8\0\0\0\0\0\0\0") FMT_16_MONO "data\xff\xff\xff\xff" SOUND), NULL, 4},
        {"BW64\xff\xff\xff\xff",
         CHUNKS(DS64("\x8\0\0\0\0\0\0\0") FMT_16_MONO "data\xff\xff\xff\xff" SOUND
                                                      "LIST\4\0\0\0INFO"),
         NULL, 4},
        {"BW64\x2c\0\0\0", CHUNKS(FMT_16_MONO "data\x8\0\0\0" SOUND), NULL, 4},
        {"RF64\xff\xff\xff\xff",
         CHUNKS(DS64("\0\0\0\0\0\0\0\0") FMT_16_MONO "data\xff\xff\xff\xff" SOUND), never, 4},
        {"RIFF\0\0\0\0", CHUNKS(FMT_16_STEREO "data\0\0\0\0" SOUND "\7\7"), never, 2},
        {"RIFF\0\0\0\0", CHUNKS(FMT_16_MONO "data\0\0\0\0" SOUND "LIST\4\0\0\0INFOid3 \1\0\0\0a"),
         never, 4},
        {"RIFF\0\0\0\0", CHUNKS(FMT_16_MONO "data\xff\xff\xff\xff" SOUND "cue \4\0\0\0abcd"), never,
         4},
        // The second chunk's size reads as a letter, so that one byte on looks like a chunk too.
        {"RIFF\0\0\0\0",
         CHUNKS("bext\3\0\0\0xyziXML\1\0\0\0!LIST\x44\0\0\0" PAD_64 "abcd" FMT_16_MONO
                "data\x8\0\0\0" SOUND),
         pad, 4},
        {"RIFF\0\0\0\0", CHUNKS(FMT_24_IN_32 "data\x10\0\0\0" SOUND_32), "24 bits in 32", 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const sample *x = &samples[i];
        file_clip c;
        err e = {0};
        cr_assert_eq(decode(&c, x, &e), OK, "sample %zu: %s", i, e.text);
        cr_assert_eq(c.frames, x->frames, "sample %zu: %d frames", i, (int)c.frames);
        for (int k = 0; k < 4; k++)
            cr_assert_eq(c.x[k], (float)(k + 1) / 128, "sample %zu value %d", i, k);
        if (x->warning)
            cr_assert(strstr(c.warning, x->warning), "sample %zu: '%s'", i, c.warning);
        else
            cr_assert_eq(c.warning[0], 0, "sample %zu: '%s'", i, c.warning);
        file_clip_deinit(&c);
    }
}

Test(wav, what_was_cut_or_is_no_sound_is_refused) {
    static const sample samples[] = {
        {"RIFF\x2c\0\0\0", CHUNKS(FMT_16_MONO "data\xa\0\0\0" SOUND),
         "claims 10 bytes, the file has 8", 0},
        {"BW64\xff\xff\xff\xff",
         CHUNKS(DS64("\xa\0\0\0\0\0\0\0") FMT_16_MONO "data\xff\xff\xff\xff" SOUND), "claims 10",
         0},
        {"RIFF\0\0\0\0", CHUNKS(FMT_16_MONO "LIST\4\0\0\0INFO"), "without a data chunk", 0},
        {"RIFF\0\0\0\0", CHUNKS(FMT_16_MONO "data\0\0\0\0"), "", 0},
        {"RIFF\0\0\0\0", CHUNKS("data\xff\xff\xff\xff" SOUND), "", 0},
        {"RIFF\0\0\0\0", CHUNKS(FMT_MP3 "data\x8\0\0\0" SOUND), "expected MP3 frames", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        file_clip c;
        err e = {0};
        cr_assert_neq(decode(&c, &samples[i], &e), OK, "sample %zu", i);
        cr_assert(strstr(e.text, samples[i].warning), "sample %zu: %s", i, e.text);
    }
}

// Frames of 128 kbit/s whose granules are empty: silence.
Test(wav, mp3_in_a_wav_is_read_where_there_is_some) {
    enum { FRAME = 417, FRAME_COUNT = 4, HEAD = 12 + 38 + 8 };
    static uint8_t file[HEAD + FRAME_COUNT * FRAME];
    memcpy(file, "RIFF\xb6\6\0\0WAVE" FMT_MP3 "data\x84\6\0\0", HEAD);
    for (int i = 0; i < FRAME_COUNT; i++) memcpy(file + HEAD + i * FRAME, "\xff\xfb\x90\xc4", 4);
    const file_limits limits = file_limits_default();
    file_clip c;
    err e = {0};
    cr_assert_eq(file_decode(&c, (bytes){file, sizeof file}, &limits, &e), OK, "%s", e.text);
    cr_assert_gt(c.frames, 0);
    for (int64_t i = 0; i < c.frames; i++) cr_assert_eq(c.x[i * c.channels], 0);
    file_clip_deinit(&c);
}
