// peaks.c - see peaks.h.
#include "audio/peaks.h"

#include <string.h>

#define HEAD_MAX 65536 // bytes in which the sound must begin
#define PIECE ((int64_t)1 << 20)
#define CHANNELS_MAX 8
#define PCM 1
#define EXTENSIBLE 0xfffe

typedef struct {
    int rate, channels, bytes; // bytes of a sample
    int64_t at, size;          // where the samples lie in the file
} layout;

static uint32_t little(const uint8_t *p, int n) {
    uint32_t v = 0;
    while (n--) v = v << 8 | p[n];
    return v;
}

static status take_format(layout *w, const uint8_t *p, size_t n, err *e) {
    if (n < 16) return err_set(e, ERR_FORMAT, "expected a fmt chunk of 16 bytes, found %zu", n);
    uint32_t kind = little(p, 2), bits = little(p + 14, 2), channels = little(p + 2, 2);
    if ((kind != PCM && kind != EXTENSIBLE) || (bits != 16 && bits != 24))
        return err_set(e, ERR_FORMAT, "expected PCM of 16 or 24 bits, found kind %u of %u", kind,
                       bits);
    if (channels < 1 || channels > CHANNELS_MAX)
        return err_set(e, ERR_FORMAT, "expected 1 to %d channels, found %u", CHANNELS_MAX,
                       channels);
    w->rate = (int)little(p + 4, 4);
    w->channels = (int)channels;
    w->bytes = (int)bits / 8;
    if (w->rate > 0) return OK;
    return err_set(e, ERR_FORMAT, "expected a rate above 0, found %d", w->rate);
}

static status find_sound(layout *w, bytes head, err *e) {
    if (head.n < 12 || memcmp(head.p, "RIFF", 4) != 0 || memcmp(head.p + 8, "WAVE", 4) != 0)
        return err_set(e, ERR_FORMAT, "expected a WAV file, found something else");
    for (size_t at = 12; at + 8 <= head.n;) {
        const uint8_t *chunk = head.p + at;
        size_t size = little(chunk + 4, 4), left = head.n - at - 8;
        if (memcmp(chunk, "data", 4) == 0) {
            w->at = (int64_t)at + 8;
            w->size = (int64_t)size;
            break;
        }
        if (size > left) break;
        status rc = memcmp(chunk, "fmt ", 4) == 0 ? take_format(w, chunk + 8, size, e) : OK;
        if (rc) return rc;
        at += 8 + size + size % 2;
    }
    if (w->at && w->channels) return OK;
    return err_set(e, ERR_FORMAT, "expected fmt and data in the first %d bytes of a WAV, found %s",
                   HEAD_MAX, w->at ? "no fmt" : "no data");
}

// Widens the pair of each span by the frames of a piece, the first of which is frame number first.
static void widen(peaks *k, const layout *w, const uint8_t *p, int64_t first, int64_t frames) {
    for (int64_t i = 0; i < frames; i++) {
        size_t at = (size_t)((first + i) / k->span);
        for (int c = 0; c < w->channels; c++, p += w->bytes) {
            int8_t v = (int8_t)p[w->bytes - 1]; // the highest eight bits
            k->pair[at].low = MIN(k->pair[at].low, v);
            k->pair[at].high = MAX(k->pair[at].high, v);
        }
    }
}

static status read_sound(peaks *k, const layout *w, peaks_read read, void *arg, err *e) {
    int64_t size = (int64_t)w->channels * w->bytes, step = PIECE / size;
    for (int64_t done = 0; done < k->frames;) {
        int64_t n = MIN(step, k->frames - done);
        buf piece;
        buf_init(&piece, (size_t)(n * size));
        status rc = read(arg, w->at + done * size, n * size, &piece, e);
        if (!rc && (int64_t)piece.n < n * size)
            rc = err_set(e, ERR_FORMAT, "the file ends before its sound does");
        if (!rc) widen(k, w, (const uint8_t *)piece.p, done, n);
        buf_deinit(&piece);
        if (rc) return rc;
        done += n;
    }
    return OK;
}

status peaks_of_wav(peaks *out, peaks_read read, void *arg, size_t most, err *e) {
    layout w = {0};
    buf head;
    *out = (peaks){0};
    buf_init(&head, HEAD_MAX);
    status rc = read(arg, 0, HEAD_MAX, &head, e);
    if (!rc) rc = find_sound(&w, buf_bytes(&head), e);
    buf_deinit(&head);
    if (rc) return rc;
    most = MIN(MAX(most, 1u), (size_t)PEAKS_MAX);
    out->rate = w.rate;
    out->frames = w.size / (w.channels * w.bytes);
    out->span = MAX((out->frames + (int64_t)most - 1) / (int64_t)most, 1);
    out->count = (size_t)((out->frames + out->span - 1) / out->span);
    for (size_t i = 0; i < out->count; i++) {
        out->pair[i].low = INT8_MAX;
        out->pair[i].high = INT8_MIN;
    }
    return read_sound(out, &w, read, arg, e);
}
