// wav.c - see wav.h. Walks the chunks of a RIFF file; what is wrong is copied into a plain one.
#include "audio/wav.h"

#include <stdio.h>
#include <string.h>

#define DATA_CHUNKS_MAX 64
#define IMAGE_MAX ((size_t)UINT32_MAX - 64) // a plain WAV has sizes of 32 bits
#define CHAINS_MAX 100
#define SIZE_UNKNOWN UINT32_MAX
#define FORMAT_PCM 1
#define FORMAT_MP3 0x55
#define MP3_SEARCHED 8192 // bytes in which a frame must begin; the longest has 1441
#define FORMAT_EXTENSIBLE 0xfffe
#define BITS_AT 14                   // in the fmt chunk
#define SIZE_PLACEHOLDER 0x7f000000u // from here on a size is one that a pipe's writer made up

typedef struct {
    bytes file;
    bytes format;                // the fmt chunk's content; p NULL: none yet
    bool wide;                   // it says 24 bits, and has room for 32
    bytes data[DATA_CHUNKS_MAX]; // contents that are not empty
    size_t data_count;
    bool data_seen, to_the_end, data_empty; // data_empty: a data chunk was
    uint64_t long_size;                     // of the data chunk, from ds64; 0: not given
    const char *wrong;                      // the first thing that was, NULL: nothing
} walk;

static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool is(const uint8_t *p, const char *id) {
    return memcmp(p, id, 4) == 0;
}

// Whether a chunk may begin at `at`: a printable name and a size that fits; or nothing follows.
static bool chunk_at(bytes file, size_t at) {
    if (at >= file.n) return true;
    if (file.n - at < 8) return false;
    for (size_t i = 0; i < 4; i++) {
        if (file.p[at + i] < 0x20 || file.p[at + i] > 0x7e) return false;
    }
    return is(file.p + at, "data") || le32(file.p + at + 4) <= file.n - at - 8;
}

// Whether a chunk of a kind that editors write begins at `at`.
static bool known_at(bytes file, size_t at) {
    static const char *const ids[] = {"data", "fmt ", "LIST", "fact", "bext", "iXML",
                                      "cue ", "smpl", "acid", "JUNK", "PEAK", "id3 "};
    for (size_t i = 0; i < ARRAY_LEN(ids) && at < file.n && file.n - at >= 8; i++)
        if (is(file.p + at, ids[i])) return chunk_at(file, at);
    return false;
}

// Whether chunks lead from `at` to the file's end, to the byte.
static bool chain_at(bytes file, size_t at) {
    while (at < file.n && chunk_at(file, at)) {
        size_t size = le32(file.p + at + 4), have = file.n - at - 8;
        if (size > have) return false;
        at += 8 + MIN(have, size + (size & 1));
    }
    return at == file.n;
}

// Bytes from `at` to the chunks at the file's end, to the end where there are none.
static size_t before_chunks(bytes file, size_t at) {
    int tries = 0; // sound may look like chunks again and again
    for (size_t end = at; end < file.n && tries < CHAINS_MAX; end += 2) {
        bool known = known_at(file, end);
        if (known && chain_at(file, end)) return end - at;
        tries += known;
    }
    return file.n - at;
}

// Bytes of the data chunk whose content begins at `at`.
static status data_size(walk *w, size_t at, uint32_t said, size_t *size, err *e) {
    size_t have = w->file.n - at;
    *size = said;
    if (said == SIZE_UNKNOWN && w->long_size && w->long_size != UINT64_MAX) {
        *size = (size_t)w->long_size;
        if (w->long_size <= have) return OK;
        return err_set(e, ERR_FORMAT, "the WAV's data chunk claims %llu bytes, the file has %zu",
                       (unsigned long long)w->long_size, have);
    }
    bool unknown = said == SIZE_UNKNOWN || (said > have && said >= SIZE_PLACEHOLDER) ||
                   (said == 0 && have && !chunk_at(w->file, at));
    if (unknown) {
        *size = before_chunks(w->file, at);
        w->to_the_end = true;
        if (!w->wrong) w->wrong = "the size of its data was never written: read to the file's end";
    } else if (said > have) {
        return err_set(e, ERR_FORMAT, "the WAV's data chunk claims %u bytes, the file has %zu",
                       said, have);
    }
    return OK;
}

static status take_data(walk *w, size_t at, uint32_t said, size_t *size, err *e) {
    status rc = data_size(w, at, said, size, e);
    w->data_seen = true;
    w->data_empty |= !*size;
    if (rc || !*size) return rc;
    if (w->data_count == DATA_CHUNKS_MAX)
        return err_set(e, ERR_LIMIT, "a WAV of over %d data chunks", DATA_CHUNKS_MAX);
    w->data[w->data_count++] = (bytes){w->file.p + at, *size};
    if (w->data_count == 2 && !w->wrong) w->wrong = "several data chunks: read one after another";
    return OK;
}

// Where the chunk behind the one that ends at `end` begins.
static size_t next_chunk(walk *w, size_t end, size_t size) {
    if (!(size & 1) || end >= w->file.n) return end;
    if (!known_at(w->file, end) && (chunk_at(w->file, end + 1) || !chunk_at(w->file, end)))
        return end + 1;
    if (!w->wrong) w->wrong = "a chunk of odd length without its pad byte";
    return end;
}

static unsigned le16(const uint8_t *p) {
    return (unsigned)(p[0] | p[1] << 8);
}

// Samples of 24 bits that lie in 32 are whole samples of 32.
static void take_format(walk *w, bytes content) {
    w->format = content;
    if (content.n < 16) return;
    unsigned tag = le16(content.p), channels = le16(content.p + 2);
    w->wide = (tag == FORMAT_PCM || tag == FORMAT_EXTENSIBLE) && channels &&
              le16(content.p + BITS_AT) == 24 && le16(content.p + 12) == 4 * channels;
    if (w->wide && !w->wrong) w->wrong = "24 bits in 32: read as 32";
}

static status walk_chunks(walk *w, err *e) {
    for (size_t at = 12; at < w->file.n && w->file.n - at >= 8 && !w->to_the_end;) {
        const uint8_t *id = w->file.p + at;
        uint32_t said = le32(id + 4);
        size_t body = at + 8, size = said, have = w->file.n - body;
        if (is(id, "data")) {
            status rc = take_data(w, body, said, &size, e);
            if (rc) return rc;
        } else if (size > have) {
            break;
        } else if (is(id, "fmt ") && !w->format.p) {
            take_format(w, (bytes){w->file.p + body, size});
        } else if (is(id, "ds64") && size >= 16) {
            w->long_size = le32(id + 16) | (uint64_t)le32(id + 20) << 32;
        }
        at = next_chunk(w, body + size, size);
    }
    return w->data_seen ? OK : err_set(e, ERR_FORMAT, "a WAV without a data chunk");
}

static void add_chunk(buf *to, const char *id, size_t size) {
    const uint8_t head[] = {(uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16),
                            (uint8_t)(size >> 24)};
    buf_add(to, id, 4);
    buf_add(to, head, sizeof head);
}

// Whole frames alone: what is left of one would shift all that follows.
static size_t whole_frames(const walk *w, size_t size) {
    size_t frame = w->format.n >= 14 ? w->format.p[12] | (size_t)w->format.p[13] << 8 : 1;
    return frame ? size - size % frame : size;
}

static status write_plain(buf *to, const walk *w, err *e) {
    size_t total = 0, format = w->format.n + (w->format.n & 1);
    for (size_t i = 0; i < w->data_count; i++) total += whole_frames(w, w->data[i].n);
    if (total > IMAGE_MAX - format) return err_set(e, ERR_LIMIT, "a WAV of over 4 GB");
    buf_init(to, IMAGE_MAX + 64);
    add_chunk(to, "RIFF", 4 + 8 + format + 8 + total);
    buf_add(to, "WAVE", 4);
    add_chunk(to, "fmt ", w->format.n);
    size_t at = to->n;
    buf_add(to, w->format.p, w->format.n);
    if (w->wide && !to->failed) to->p[at + BITS_AT] = 32;
    if (w->format.n & 1) buf_add(to, "", 1);
    add_chunk(to, "data", total);
    for (size_t i = 0; i < w->data_count; i++)
        buf_add(to, w->data[i].p, whole_frames(w, w->data[i].n));
    return buf_status(to, e);
}

// A frame of MPEG layer III begins with eleven bits and its layer. A decoder that finds none writes
// lines of its own.
static bool has_mp3(const walk *w) {
    bytes d = w->data_count ? w->data[0] : (bytes){0};
    for (size_t i = 0; i + 1 < MIN(d.n, (size_t)MP3_SEARCHED); i++)
        if (d.p[i] == 0xff && (d.p[i + 1] & 0xe6) == 0xe2) return true;
    return false;
}

static status check_format(const walk *w, err *e) {
    bool mp3 = w->format.n >= 2 && w->format.p[0] == FORMAT_MP3 && !w->format.p[1];
    if (!mp3 || has_mp3(w)) return OK;
    return err_set(e, ERR_FORMAT,
                   "its header says MP3: expected MP3 frames in it, found none; save it as a plain "
                   "WAV (PCM)");
}

status wav_repair(wav_image *out, bytes file, err *e) {
    *out = (wav_image){.image = file};
    if (file.n < 12 || !is(file.p + 8, "WAVE")) return OK;
    bool long_form = is(file.p, "BW64"); // as RF64, under a name that fewer readers know
    if (!is(file.p, "RIFF") && !is(file.p, "RF64") && !long_form) return OK;
    walk w = {.file = file};
    status rc = walk_chunks(&w, e);
    if (!rc && w.format.p) rc = check_format(&w, e);
    bool plain = !w.wrong && !long_form && !(w.data_empty && w.data_count);
    if (rc || !w.format.p || plain) return rc;
    rc = write_plain(&out->own, &w, e);
    if (rc) {
        wav_image_deinit(out);
        return rc;
    }
    out->image = buf_bytes(&out->own);
    if (w.wrong) snprintf(out->warning, sizeof out->warning, "%s", w.wrong);
    return OK;
}

void wav_image_deinit(wav_image *w) {
    buf_deinit(&w->own);
    *w = (wav_image){0};
}
