// test_file.c - sound files there and back, and files that lie.
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "audio/file.h"
#include "audio/ogg.h"
#include "base/mem.h"
#include "base/os.h"

enum { FRAMES = 5000 };
static float tone[FRAMES * 2];

static void make_tone(void) {
    for (int i = 0; i < FRAMES; i++) {
        tone[2 * i] = (float)(0.7 * sin(i * 0.05));
        tone[2 * i + 1] = (float)(0.4 * cos(i * 0.031));
    }
}

static const file_tags tags = {
    .title = "drums", .comment = "seed 42; f\u00fcr \u266f", .software = "stemforge"};

static buf encode(file_format f) {
    buf b;
    err e = {0};
    make_tone();
    buf_init(&b, FILE_BYTES_MAX);
    cr_assert_eq(file_encode(&b, f, tone, FRAMES, 2, 44100, &tags, &e), OK, "%s", e.text);
    return b;
}

static const file_format every[] = {FILE_WAV16,  FILE_WAV24,  FILE_WAV_F32,
                                    FILE_FLAC16, FILE_FLAC24, FILE_OGG};

Test(file, each_format_comes_back_within_its_precision) {
    const double step[] = {0x1p-16, 0x1p-24, 0,
                           0x1p-16, 0x1p-24, 0.05}; // half a step of the integers
    for (size_t f = 0; f < ARRAY_LEN(every); f++) {
        buf b = encode(every[f]);
        file_clip c;
        err e = {0};
        file_limits limits = file_limits_default();
        cr_assert_eq(file_decode(&c, buf_bytes(&b), &limits, &e), OK, "%s", e.text);
        cr_assert(c.frames == FRAMES && c.channels == 2 && c.rate == 44100, "%zu", f);
        double worst = 0;
        for (int i = 0; i < 2 * FRAMES; i++)
            worst = MAX(worst, fabs((double)c.x[i] - (double)tone[i]));
        cr_assert_leq(worst, step[f] * (1 + 1e-6), "%zu: %g", f, worst);
        file_clip_deinit(&c);
        buf_deinit(&b);
    }
}

Test(file, the_same_sound_is_the_same_bytes) {
    for (size_t f = 0; f < ARRAY_LEN(every); f++) {
        buf a = encode(every[f]);
        sleep(f == 0 || every[f] == FILE_WAV_F32 ? 1 : 0); // time of day must not show
        buf b = encode(every[f]);
        cr_assert(a.n == b.n && memcmp(a.p, b.p, a.n) == 0, "format %zu", f);
        buf_deinit(&a), buf_deinit(&b);
    }
}

// Canonical WAV: RFC 2361 and the RIFF specification. 16-bit samples follow the data header.
Test(file, wav_samples_are_rounded_to_nearest_and_held_at_full_scale) {
    const float x[] = {0, 0.5f, 1, -1, 2, -2, 0x1p-16f, 0x1.8p-15f, -0x1p-16f, 0.8f};
    const int want[] = {0, 16384, 32767, -32768, 32767, -32768, 0, 2, 0, 26214};
    buf b;
    buf_init(&b, 10000);
    cr_assert_eq(file_encode(&b, FILE_WAV16, x, 10, 1, 44100, NULL, NULL), OK);
    cr_assert(!memcmp(b.p, "RIFF", 4) && !memcmp(b.p + 8, "WAVEfmt ", 8) &&
              !memcmp(b.p + 36, "data", 4));
    for (int i = 0; i < 10; i++) {
        int16_t v;
        memcpy(&v, b.p + 44 + 2 * i, 2);
        cr_assert_eq(v, want[i], "sample %d: %d, want %d", i, v, want[i]);
    }
    buf_deinit(&b);
}

static bool holds(const buf *b, const char *text) {
    size_t n = strlen(text);
    for (size_t i = 0; i + n <= b->n; i++)
        if (!memcmp(b->p + i, text, n)) return true;
    return false;
}

Test(file, tags_are_inside) {
    for (size_t f = 0; f < ARRAY_LEN(every); f++) {
        buf b = encode(every[f]);
        cr_assert(holds(&b, "drums") && holds(&b, "seed 42; f\u00fcr \u266f") &&
                      holds(&b, "stemforge"),
                  "%zu", f);
        buf_deinit(&b);
    }
}

Test(file, a_long_tag_is_cut_between_characters) {
    char *text = mem_alloc(FILE_TAG_MAX + 100);
    memset(text, 'a', FILE_TAG_MAX + 99);
    text[FILE_TAG_MAX + 99] = 0;
    memcpy(text + FILE_TAG_MAX - 1, "\u20ac", 3); // the euro sign would straddle the limit
    buf b;
    buf_init(&b, 100000);
    file_tags t = {.comment = text};
    cr_assert_eq(file_encode(&b, FILE_WAV16, tone, 10, 1, 44100, &t, NULL), OK);
    cr_assert(!holds(&b, "\u20ac") && !holds(&b, "a\xe2"));
    buf_deinit(&b), mem_free(text);
}

static void expect(buf *b, status code, const char *text) {
    file_clip c;
    err e = {0};
    file_limits limits = {.seconds_max = 1, .channels_max = 2};
    cr_assert_eq(file_decode(&c, buf_bytes(b), &limits, &e), code, "%s: %s", text, e.text);
    cr_assert(strstr(e.text, text), "'%s' lacks '%s'", e.text, text);
    cr_assert_null(c.x);
}

Test(file, a_wav_that_lies_about_its_length_is_refused) {
    buf b = encode(FILE_WAV16);
    b.n -= 1000; // cut short
    expect(&b, ERR_FORMAT, "data chunk claims");
    b.n = 44;
    expect(&b, ERR_FORMAT, "");
    b.n = 20;
    expect(&b, ERR_FORMAT, "without a data chunk");
    buf_deinit(&b);
}

Test(file, a_flac_that_lies_about_its_length_is_refused) {
    buf b = encode(FILE_FLAC16);
    b.n = b.n * 2 / 3;
    expect(&b, ERR_FORMAT, "");
    buf_deinit(&b);
    b = encode(FILE_FLAC16);
    b.p[22] = (char)0xFF; // total samples, RFC 9639 section 8.2: bytes 21 (low half) to 25
    b.p[21] |= 0x0F;
    expect(&b, ERR_LIMIT, "s of sound");
    file_clip c;
    err e;
    file_limits loose = {.seconds_max = 1e9, .channels_max = 2};
    cr_assert_eq(file_decode(&c, buf_bytes(&b), &loose, &e), ERR_LIMIT);
    cr_assert(strstr(e.text, "at most 268435456 values"), "%s", e.text);
    buf_deinit(&b);
}

Test(file, a_damaged_ogg_is_refused) {
    buf b = encode(FILE_OGG);
    cr_assert_eq(ogg_check(buf_bytes(&b), NULL), OK); // though the serial number was replaced
    err e;
    cr_assert_eq(ogg_set_serial((uint8_t *)b.p, b.n - 1, 1, &e), ERR_FORMAT);
    cr_assert(strstr(e.text, "no Ogg page at byte"));
    b.p[b.n / 2] ^= 1;
    expect(&b, ERR_FORMAT, "damaged Ogg page");
    b.n /= 2;
    expect(&b, ERR_FORMAT, "Ogg page at byte");
    buf_deinit(&b);
}

Test(file, limits_are_kept) {
    static float x[44101 * 3];
    buf b;
    buf_init(&b, FILE_BYTES_MAX);
    cr_assert_eq(file_encode(&b, FILE_WAV16, x, 44101, 1, 44100, NULL, NULL), OK);
    expect(&b, ERR_LIMIT, "at most 1 s");
    buf_clear(&b);
    cr_assert_eq(file_encode(&b, FILE_WAV16, x, 100, 3, 44100, NULL, NULL), OK);
    expect(&b, ERR_LIMIT, "3 channels, at most 2");
    buf_clear(&b);
    cr_assert_eq(file_encode(&b, FILE_WAV16, x, 0, 1, 44100, NULL, NULL), OK);
    expect(&b, ERR_FORMAT, "");
    buf_deinit(&b);
    buf_init(&b, 100);
    cr_assert_eq(file_encode(&b, FILE_WAV16, x, 100, 1, 44100, NULL, NULL), ERR_LIMIT);
    buf_deinit(&b);
}

Test(file, samples_that_are_no_numbers_are_refused_both_ways) {
    float x[] = {0, 1, NAN, 0};
    buf b;
    err e;
    buf_init(&b, 10000);
    cr_assert_eq(file_encode(&b, FILE_WAV_F32, x, 4, 1, 44100, NULL, &e), ERR_FORMAT);
    cr_assert_str_eq(e.text, "sample 2 is not a number, expected a finite number");
    x[2] = 0.25f;
    cr_assert_eq(file_encode(&b, FILE_WAV_F32, x, 4, 1, 44100, NULL, &e), OK);
    const uint8_t infinity[] = {0, 0, 0x80, 0x7F};
    for (size_t i = 0; i + 4 <= b.n; i++)
        if (!memcmp(b.p + i, &x[2], 4)) memcpy(b.p + i, infinity, 4);
    expect(&b, ERR_FORMAT, "infinite");
    buf_deinit(&b);
}

Test(file, other_bytes_are_no_audio) {
    buf b;
    buf_init(&b, 1000);
    expect(&b, ERR_FORMAT, "expected a WAV");
    buf_add_str(&b, "hello, world, this is a text");
    expect(&b, ERR_FORMAT, "expected a WAV");
    buf_clear(&b);
    buf_add(&b, "RIFF\x24\0\0\0WAVEdata\0\0\0\0", 20);
    expect(&b, ERR_FORMAT, "");
    buf_deinit(&b);
}

Test(file, a_file_is_written_whole_or_not_at_all) {
    char dir[] = "/tmp/sf-file-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.wav", dir);
    make_tone();
    cr_assert_eq(file_write(path, FILE_WAV16, tone, FRAMES, 2, 44100, &tags, NULL), OK);
    file_clip c;
    file_limits limits = file_limits_default();
    cr_assert_eq(file_read(&c, path, &limits, NULL), OK);
    cr_assert_eq(c.frames, FRAMES);
    file_clip_deinit(&c);
    unlink(path);
    tone[5] = INFINITY;
    cr_assert_eq(file_write(path, FILE_WAV16, tone, FRAMES, 2, 44100, &tags, NULL), ERR_FORMAT);
    cr_assert(!os_exists(path));
    err e;
    cr_assert_eq(file_read(&c, path, &limits, &e), ERR_NOT_FOUND);
    cr_assert_eq(rmdir(dir), 0);
}

Test(file, a_full_disk_gives_an_error_and_no_file) {
    char dir[] = "/tmp/sf-file-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.wav", dir);
    make_tone();
    struct rlimit old, tight;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = old;
    tight.rlim_cur = 1000; // the file needs 20 kB; a write beyond fails as on a full disk
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &tight), 0);
    err e = {0};
    status rc = file_write(path, FILE_WAV16, tone, FRAMES, 2, 44100, &tags, &e);
    setrlimit(RLIMIT_FSIZE, &old);
    cr_assert_eq(rc, ERR_IO);
    cr_assert(strstr(e.text, "cannot write"), "%s", e.text);
    cr_assert(!os_exists(path));
    cr_assert_eq(rmdir(dir), 0, "a temporary file was left behind");
}

Test(file, a_clip_becomes_planes_at_another_rate) {
    float x[300], *planes;
    for (int i = 0; i < 100; i++) x[3 * i] = 1, x[3 * i + 1] = 0.5f, x[3 * i + 2] = 0;
    file_clip c = {.x = x, .frames = 100, .channels = 3, .rate = 44100};
    int64_t n;
    cr_assert_eq(file_clip_planes(&planes, &n, &c, 44100, 1, NULL), OK);
    cr_assert(n == 100 && planes[50] == 0.75f); // the third is the centre
    mem_free(planes);
    cr_assert_eq(file_clip_planes(&planes, &n, &c, 44100, 2, NULL), OK);
    cr_assert(planes[50] == 1 && planes[150] == 0.5f);
    mem_free(planes);
    c.channels = 1;
    c.frames = 300;
    cr_assert_eq(file_clip_planes(&planes, &n, &c, 32000, 2, NULL), OK);
    cr_assert_eq(n, 218); // 300 * 32000 / 44100 = 217.7
    cr_assert_eq(memcmp(planes, planes + n, (size_t)n * sizeof *planes), 0);
    mem_free(planes);
}

Test(file, encode_and_decode_survive_each_failed_allocation) {
    for (size_t f = 0; f < ARRAY_LEN(every); f++) {
        bool encoded = false;
        for (int n = 0; !encoded; n++) {
            buf b;
            make_tone();
            buf_init(&b, FILE_BYTES_MAX);
            mem_fail_after(n);
            status rc = file_encode(&b, every[f], tone, FRAMES, 2, 44100, &tags, NULL);
            mem_fail_after(-1);
            cr_assert(rc == OK || rc == ERR_OOM);
            encoded = rc == OK;
            buf_deinit(&b);
        }
        buf b = encode(every[f]);
        bool decoded = false;
        for (int n = 0; !decoded; n++) {
            file_clip c;
            file_limits limits = file_limits_default();
            mem_fail_after(n);
            status rc = file_decode(&c, buf_bytes(&b), &limits, NULL);
            mem_fail_after(-1);
            cr_assert(rc == OK || (rc == ERR_OOM && c.x == NULL));
            decoded = rc == OK;
            file_clip_deinit(&c);
        }
        buf_deinit(&b);
    }
}

Test(file, format_names_are_read) {
    file_format f;
    err e;
    cr_assert_eq(file_format_parse(&f, "wav24", NULL), OK);
    cr_assert(f == FILE_WAV24 && !strcmp(file_format_suffix(f), "wav"));
    cr_assert_eq(file_format_parse(&f, "wav16", NULL), OK);
    cr_assert_eq(f, FILE_WAV16);
    cr_assert_eq(file_format_parse(&f, "mp3", &e), ERR_ARG);
    cr_assert_str_eq(e.text, "format 'mp3', expected wav, wav24, wavf32, flac, flac24 or ogg");
}
