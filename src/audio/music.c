// music.c - see music.h.
#include "audio/music.h"

#include <math.h> // floor: exact
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BARS_MAX 2048
#define CUE_BYTES 24
#define RIFF_HEAD 12
#define ACID_ONE_SHOT 1u
#define ACID_ROOT 2u
#define ACID_STRETCH 4u
#define MIDDLE_C 60
#define HEADER_MAX ((size_t)65536) // comments lie before that

// --- chunks

static void add16(buf *b, uint32_t v) {
    const uint8_t le[] = {(uint8_t)v, (uint8_t)(v >> 8)};
    buf_add(b, le, sizeof le);
}

static void add32(buf *b, uint32_t v) {
    add16(b, v & 0xFFFF);
    add16(b, v >> 16);
}

static void add_float(buf *b, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    add32(b, bits);
}

static void begin_chunk(buf *b, const char name[4], size_t size) {
    buf_add(b, name, 4);
    add32(b, (uint32_t)size);
}

static void add_acid(buf *b, const music_facts *m, int64_t frames, int rate) {
    double beats = floor((double)frames / rate * m->bpm / 60 + 0.5);
    begin_chunk(b, "acid", 24);
    add32(b, (m->whole ? ACID_STRETCH : ACID_ONE_SHOT) | (m->root ? ACID_ROOT : 0));
    add16(b, (uint32_t)(m->root ? m->root : MIDDLE_C));
    add16(b, 0x8000); // these two are the same in every file that is known
    add32(b, 0);
    add32(b, (uint32_t)beats);
    add16(b, 4); // a beat is a quarter
    add16(b, (uint32_t)m->beats_per_bar);
    add_float(b, (float)m->bpm);
}

// One loop from the first frame to the last, for ever.
static void add_smpl(buf *b, const music_facts *m, int64_t frames, int rate) {
    const uint32_t head[] = {
        0, 0, 1000000000u / (uint32_t)rate, (uint32_t)(m->root ? m->root : MIDDLE_C), 0, 0, 0,
        1, 0};
    const uint32_t loop[] = {0, 0, 0, (uint32_t)(frames - 1), 0, 0};
    begin_chunk(b, "smpl", sizeof head + sizeof loop);
    for (size_t i = 0; i < ARRAY_LEN(head); i++) add32(b, head[i]);
    for (size_t i = 0; i < ARRAY_LEN(loop); i++) add32(b, loop[i]);
}

static int64_t bar_line(const music_facts *m, int64_t bar, int rate) {
    return (int64_t)floor((double)(bar * m->beats_per_bar) * 60 * rate / m->bpm + 0.5);
}

static void add_cues(buf *b, const music_facts *m, int64_t frames, int rate) {
    uint32_t n = 0;
    while (n < BARS_MAX && bar_line(m, n, rate) < frames) n++;
    begin_chunk(b, "cue ", 4 + n * CUE_BYTES);
    add32(b, n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)bar_line(m, i, rate);
        add32(b, i + 1);
        add32(b, at);
        buf_add_str(b, "data");
        add32(b, 0);
        add32(b, 0);
        add32(b, at);
    }
}

// Where the chunk of the samples begins in a WAV that libsndfile wrote.
static size_t find_samples(const uint8_t *wav, size_t n) {
    size_t at = RIFF_HEAD;
    while (at + 8 <= n && memcmp(wav + at, "data", 4) != 0) {
        uint32_t size;
        memcpy(&size, wav + at + 4, sizeof size);
        at += 8 + size + size % 2;
    }
    return MIN(at, n);
}

status music_add_wav(buf *out, const uint8_t *wav, size_t n, const music_facts *m, int64_t frames,
                     int rate, err *e) {
    bool known = m->bpm > 0 && frames > 0;
    size_t from = out->n, samples = known ? find_samples(wav, n) : n;
    buf_add(out, wav, samples);
    if (known) add_acid(out, m, frames, rate);
    if (known) add_cues(out, m, frames, rate);
    if (known && m->loop) add_smpl(out, m, frames, rate);
    buf_add(out, wav + samples, n - samples);
    status rc = buf_status(out, e);
    if (rc || !known) return rc;
    uint32_t size = (uint32_t)(out->n - from - 8);
    for (int i = 0; i < 4; i++) out->p[from + 4 + (size_t)i] = (uint8_t)(size >> 8 * i);
    return OK;
}

// --- comments

static void set_comment(music_comment *c, const char *stand_in, const char *name,
                        const char *value) {
    *c = (music_comment){.stand_in = stand_in};
    int n = snprintf(c->text, sizeof c->text, "%s=%s", name, value);
    int rest = n - (int)strlen(stand_in) - 1;
    // Too short to stand in for, which no tempo and no key is.
    if (n >= MUSIC_COMMENT_MAX || rest < 1) c->text[0] = 0;
    if (c->text[0]) memset(c->filler, '-', (size_t)rest);
}

void music_comments(music_comment out[MUSIC_COMMENTS], const music_facts *m) {
    char bpm[24];
    memset(out, 0, MUSIC_COMMENTS * sizeof *out);
    snprintf(bpm, sizeof bpm, "%g", m->bpm);
    if (m->bpm > 0) set_comment(&out[0], "DATE", "BPM", bpm);
    if (m->key) set_comment(&out[1], "GENRE", "KEY", m->key);
}

// A comment is its length in four bytes, which no text has before it, and then name=value.
static bool is_at(const uint8_t *p, const music_comment *c, size_t n) {
    const uint8_t length[] = {(uint8_t)n, 0, 0, 0};
    size_t name = strlen(c->stand_in);
    const char *text = (const char *)p + 4;
    return memcmp(p, length, 4) == 0 && strncasecmp(text, c->stand_in, name) == 0 &&
           text[name] == '=' && memcmp(text + name + 1, c->filler, n - name - 1) == 0;
}

void music_place_comments(uint8_t *image, size_t n, const music_comment c[MUSIC_COMMENTS]) {
    for (int k = 0; k < MUSIC_COMMENTS; k++) {
        size_t size = strlen(c[k].text);
        for (size_t i = 0; size && i + 4 + size <= MIN(n, HEADER_MAX); i++) {
            if (!is_at(image + i, &c[k], size)) continue;
            memcpy(image + i + 4, c[k].text, size);
            break;
        }
    }
}
