// file.c - see file.h. The only file that includes sndfile.h.
#include "audio/file.h"

#include <math.h> // lrint to nearest even, isfinite: exact
#include <sndfile.h>
#include <stdio.h>
#include <string.h>

#include "audio/fold.h"
#include "audio/ogg.h"
#include "audio/post.h"
#include "audio/resample.h"
#include "audio/wav.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/pretender.h"

#define BLOCK_FRAMES 4096
#define RATE_MIN 1000
#define RATE_MAX 768000

typedef struct {
    const char *name, *suffix;
    int sf; // libsndfile's container and encoding
} format_row;

static const format_row formats[] = {
    [FILE_WAV16] = {"wav", "wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16},
    [FILE_WAV24] = {"wav24", "wav", SF_FORMAT_WAV | SF_FORMAT_PCM_24},
    [FILE_WAV_F32] = {"wavf32", "wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT},
    [FILE_FLAC16] = {"flac", "flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16},
    [FILE_FLAC24] = {"flac24", "flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_24},
    [FILE_OGG] = {"ogg", "ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS},
};

status file_format_parse(file_format *out, const char *name, err *e) {
    static const struct {
        const char *name;
        file_format f;
    } also[] = {{"wav16", FILE_WAV16}, {"wav32", FILE_WAV_F32}, {"flac16", FILE_FLAC16}};
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (!strcmp(name, formats[i].name)) return *out = (file_format)i, OK;
    for (size_t i = 0; i < ARRAY_LEN(also); i++)
        if (!strcmp(name, also[i].name)) return *out = also[i].f, OK;
    return err_set(e, ERR_ARG, "format '%s', expected wav, wav24, wavf32, flac, flac24 or ogg",
                   name);
}

const char *file_format_suffix(file_format f) {
    return formats[f].suffix;
}

// A file in memory. Writing grows data; reading leaves it NULL and uses image.
typedef struct {
    uint8_t *data;
    size_t cap, max;
    bytes image;
    size_t n; // bytes in the file
    size_t at;
    status failed;
} memory_file;

static sf_count_t memory_length(void *user) {
    return (sf_count_t)((memory_file *)user)->n;
}

static sf_count_t memory_seek(sf_count_t offset, int whence, void *user) {
    memory_file *m = user;
    sf_count_t from = whence == SEEK_CUR   ? (sf_count_t)m->at
                      : whence == SEEK_END ? (sf_count_t)m->n
                                           : 0;
    sf_count_t to;
    if (__builtin_add_overflow(from, offset, &to) || to < 0) return -1;
    m->at = (size_t)to;
    return to;
}

static sf_count_t memory_tell(void *user) {
    return (sf_count_t)((memory_file *)user)->at;
}

static sf_count_t memory_read(void *out, sf_count_t count, void *user) {
    memory_file *m = user;
    const uint8_t *data = m->data ? m->data : m->image.p;
    if (count <= 0 || m->at >= m->n) return 0;
    size_t n = MIN((size_t)count, m->n - m->at);
    memcpy(out, data + m->at, n);
    m->at += n;
    return (sf_count_t)n;
}

static bool memory_grow(memory_file *m, size_t need) {
    if (need <= m->cap) return true;
    if (need > m->max) {
        m->failed = ERR_LIMIT;
        return false;
    }
    size_t cap = MIN(MAX(need, m->cap * 2), m->max);
    uint8_t *p = mem_realloc(m->data, cap);
    if (!p) {
        m->failed = ERR_OOM;
        return false;
    }
    m->data = p;
    m->cap = cap;
    return true;
}

static sf_count_t memory_write(const void *in, sf_count_t count, void *user) {
    memory_file *m = user;
    size_t end;
    if (count <= 0 || m->failed || !size_add(&end, m->at, (size_t)count)) return 0;
    if (!memory_grow(m, end)) return 0;
    if (m->at > m->n) memset(m->data + m->n, 0, m->at - m->n);
    memcpy(m->data + m->at, in, (size_t)count);
    m->at = end;
    m->n = MAX(m->n, end);
    return count;
}

static SF_VIRTUAL_IO memory_io = {memory_length, memory_seek, memory_read, memory_write,
                                  memory_tell};

static status memory_status(const memory_file *m, err *e) {
    if (m->failed == ERR_LIMIT) return err_set(e, ERR_LIMIT, "audio file over %zu bytes", m->max);
    if (m->failed) return err_set(e, ERR_OOM, "no memory for an audio file");
    return OK;
}

static void set_tag(SNDFILE *s, int which, const char *text) {
    if (!text || !*text) return;
    char cut[FILE_TAG_MAX + 1];
    size_t n = strlen(text);
    if (n > FILE_TAG_MAX) {
        n = FILE_TAG_MAX;
        while (n && ((uint8_t)text[n] & 0xC0) == 0x80) n--; // not inside a character
    }
    memcpy(cut, text, n);
    cut[n] = 0;
    sf_set_string(s, which, cut); // a container without tags keeps none
}

static bool has_comments(file_format f) {
    return f == FILE_FLAC16 || f == FILE_FLAC24 || f == FILE_OGG;
}

static void set_comments(SNDFILE *s, const file_tags *tags) {
    music_comment c[MUSIC_COMMENTS];
    music_comments(c, &tags->music);
    set_tag(s, SF_STR_DATE, c[0].filler);
    set_tag(s, SF_STR_GENRE, c[1].filler);
}

static void set_tags(SNDFILE *s, file_format f, const file_tags *tags) {
    if (!tags) return;
    if (has_comments(f)) set_comments(s, tags);
    set_tag(s, SF_STR_TITLE, tags->title);
    set_tag(s, SF_STR_ARTIST, tags->artist);
    set_tag(s, SF_STR_COMMENT, tags->comment);
    // libsndfile adds its name and version to a software tag that does not have its name.
    char software[256];
    if (!tags->software || !*tags->software) return;
    snprintf(software, sizeof software, "%.200s (libsndfile)", tags->software);
    set_tag(s, SF_STR_SOFTWARE, software);
}

// round(x 2^(bits-1)), halves to even, held within the range. Behind 2^52 a double has no places
// after the point, so adding as much and taking it away rounds.
static int to_int(float x, int bits) {
    const double full = (double)(1 << (bits - 1)), whole = 0x1.8p52;
    double v = (double)x * full;
    v = MAX(v, -full);
    return (int)(MIN(v, full - 1) + whole - whole);
}

// A block of samples as the library takes them: 16 bits as they are, 24 in the top bits of an int.
static bool write_block(SNDFILE *s, file_format f, const float *x, int64_t n) {
    union {
        short s[BLOCK_FRAMES];
        int i[BLOCK_FRAMES];
        float x[BLOCK_FRAMES];
    } block;
    switch (f) {
    case FILE_WAV_F32: return sf_write_float(s, x, n) == n;
    case FILE_WAV24:
    case FILE_FLAC24:
        for (int64_t i = 0; i < n; i++) block.i[i] = (int)((uint32_t)to_int(x[i], 24) << 8);
        return sf_write_int(s, block.i, n) == n;
    case FILE_OGG:
        for (int64_t i = 0; i < n; i++) block.x[i] = MIN(MAX(x[i], -1.0f), 1.0f);
        return sf_write_float(s, block.x, n) == n;
    default:
        for (int64_t i = 0; i < n; i++) block.s[i] = (short)to_int(x[i], 16);
        return sf_write_short(s, block.s, n) == n;
    }
}

// In pieces: an encoder's short-lived buffers want small ones.
static bool write_samples(SNDFILE *s, file_format f, const float *x, int64_t frames, int channels) {
    int64_t n = frames * channels, most = BLOCK_FRAMES / channels * channels;
    for (int64_t at = 0; at < n; at += most)
        if (!write_block(s, f, x + at, MIN(n - at, most))) return false;
    return true;
}

static status encode_into(memory_file *m, file_format f, const float *x, int64_t frames,
                          int channels, int rate, const file_tags *tags, err *e) {
    SF_INFO info = {.samplerate = rate, .channels = channels, .format = formats[f].sf};
    SNDFILE *s = sf_open_virtual(&memory_io, SFM_WRITE, &info, m);
    if (!s) {
        status rc = memory_status(m, e);
        return rc ? rc
                  : err_set(e, ERR_ARG, "cannot make a %s file: %s", formats[f].name,
                            sf_strerror(NULL));
    }
    double quality = 0.6;
    if (f == FILE_OGG) sf_command(s, SFC_SET_VBR_ENCODING_QUALITY, &quality, sizeof quality);
    sf_command(s, SFC_SET_ADD_PEAK_CHUNK, NULL, SF_FALSE); // it would carry the time of day
    set_tags(s, f, tags);
    bool wrote = write_samples(s, f, x, frames, channels);
    wrote = sf_close(s) == 0 && wrote;
    status rc = memory_status(m, e);
    if (!rc && !wrote) rc = err_set(e, ERR_IO, "cannot encode a %s file", formats[f].name);
    return rc;
}

static status check_shape(int64_t frames, int channels, int rate, err *e) {
    if (channels < 1 || channels > FILE_CHANNELS_MAX)
        return err_set(e, ERR_ARG, "%d channels, expected 1 to %d", channels, FILE_CHANNELS_MAX);
    if (rate < RATE_MIN || rate > RATE_MAX)
        return err_set(e, ERR_ARG, "sample rate %d, expected %d to %d", rate, RATE_MIN, RATE_MAX);
    if (frames < 0 || frames > (int64_t)(FILE_BYTES_MAX / 4) / channels)
        return err_set(e, ERR_LIMIT, "%lld frames are too many", (long long)frames);
    return OK;
}

status file_encode(buf *out, file_format f, const float *x, int64_t frames, int channels, int rate,
                   const file_tags *tags, err *e) {
    status rc = check_shape(frames, channels, rate, e);
    if (!rc) rc = post_check(x, frames * channels, e);
    if (rc) return rc;
    memory_file m = {.max = FILE_BYTES_MAX};
    size_t guess = (size_t)(frames * channels) * 4 + 65536;
    if (!memory_grow(&m, MIN(guess, m.max))) return memory_status(&m, e);
    rc = encode_into(&m, f, x, frames, channels, rate, tags, e);
    if (!rc && tags && has_comments(f)) {
        music_comment c[MUSIC_COMMENTS];
        music_comments(c, &tags->music);
        music_place_comments(m.data, m.n, c);
    }
    if (!rc && f == FILE_OGG) rc = ogg_set_serial(m.data, m.n, 1, e);
    static const music_facts unknown = {0};
    if (!rc && !has_comments(f))
        rc = music_add_wav(out, m.data, m.n, tags ? &tags->music : &unknown, frames, rate, e);
    else if (!rc)
        buf_add(out, m.data, m.n);
    if (!rc) rc = buf_status(out, e);
    mem_free(m.data);
    return rc;
}

status file_write(const char *path, file_format f, const float *x, int64_t frames, int channels,
                  int rate, const file_tags *tags, err *e) {
    buf image;
    buf_init(&image, FILE_BYTES_MAX);
    status rc = file_encode(&image, f, x, frames, channels, rate, tags, e);
    if (!rc) rc = os_write_atomic(path, buf_bytes(&image), e);
    buf_deinit(&image);
    return rc;
}

void file_clip_deinit(file_clip *c) {
    mem_free(c->x);
    *c = (file_clip){0};
}

file_limits file_limits_default(void) {
    return (file_limits){.seconds_max = POST_SECONDS_MAX, .channels_max = FILE_CHANNELS_MAX};
}

// libsndfile guesses from the first bytes among many formats, some of them old and little tested.
// We only hand it what people use.
static bool known_container(bytes image) {
    if (image.n < 4) return false;
    static const char *const magic[] = {"RIFF", "RIFX", "RF64", "BW64", "riff", "FORM",
                                        ".snd", "caff", "fLaC", "OggS", "ID3"};
    for (size_t i = 0; i < ARRAY_LEN(magic); i++)
        if (!memcmp(image.p, magic[i], strlen(magic[i]))) return true;
    return image.p[0] == 0xFF && (image.p[1] & 0xE0) == 0xE0; // an MPEG frame
}

static status refuse_container(bytes image, err *e) {
    static const uint8_t matroska[] = {0x1A, 0x45, 0xDF, 0xA3};
    char first[16] = "nothing";
    const char *found = first;
    if (image.n >= 8 && !memcmp(image.p + 4, "ftyp", 4))
        found = "M4A or MP4";
    else if (image.n >= 4 && !memcmp(image.p, matroska, 4))
        found = "WebM or Matroska";
    else if (image.n >= 4)
        snprintf(first, sizeof first, "%02x %02x %02x %02x", image.p[0], image.p[1], image.p[2],
                 image.p[3]);
    return err_set(e, ERR_FORMAT,
                   "expected a WAV, AIFF, AU, CAF, FLAC, Ogg or MP3 file, found %s%s; convert it "
                   "to WAV first",
                   found, found == first && image.n >= 4 ? " at its beginning" : "");
}

static status check_info(const SF_INFO *info, const file_limits *limits, err *e) {
    if (info->samplerate < RATE_MIN || info->samplerate > RATE_MAX)
        return err_set(e, ERR_FORMAT, "sample rate %d, expected %d to %d", info->samplerate,
                       RATE_MIN, RATE_MAX);
    int most = MIN(limits->channels_max, FILE_CHANNELS_MAX);
    if (info->channels < 1 || info->channels > most)
        return err_set(e, ERR_LIMIT, "%d channels, at most %d are read", info->channels, most);
    if ((double)info->frames > limits->seconds_max * info->samplerate)
        return err_set(e, ERR_LIMIT, "%.1f s of sound, at most %g s are read",
                       (double)info->frames / info->samplerate, limits->seconds_max);
    if (info->frames > FILE_VALUES_MAX / info->channels)
        return err_set(e, ERR_LIMIT, "%lld frames of %d channels, at most %lld values are read",
                       (long long)info->frames, info->channels, (long long)FILE_VALUES_MAX);
    if (info->frames <= 0) return err_set(e, ERR_FORMAT, "no samples");
    return OK;
}

// Reads to the end in blocks, so that memory follows what the file holds and not what it claims.
static status read_samples(file_clip *c, SNDFILE *s, int64_t frames_max, err *e) {
    int64_t cap = 0;
    for (;;) {
        if (c->frames == cap) {
            cap = MIN(MAX(cap * 2, BLOCK_FRAMES), frames_max + 1);
            size_t size = (size_t)cap * (size_t)c->channels * sizeof(float);
            float *x = mem_realloc(c->x, size);
            if (!x) return err_set(e, ERR_OOM, "no memory for %lld frames", (long long)cap);
            c->x = x;
        }
        sf_count_t want = MIN(cap - c->frames, BLOCK_FRAMES);
        sf_count_t got = sf_readf_float(s, c->x + c->frames * c->channels, want);
        if (got <= 0) return OK;
        c->frames += got;
        if (c->frames > frames_max)
            return err_set(e, ERR_LIMIT, "over %.1f s of sound", (double)frames_max / c->rate);
    }
}

static status read_clip(file_clip *c, SNDFILE *s, const SF_INFO *info, const file_limits *limits,
                        err *e) {
    status rc = check_info(info, limits, e);
    if (rc) return rc;
    c->rate = info->samplerate;
    c->channels = info->channels;
    double most = MIN(limits->seconds_max * c->rate, (double)FILE_VALUES_MAX / c->channels);
    rc = read_samples(c, s, (int64_t)most, e);
    if (rc) return rc;
    // An MP3's length is an estimate where it has no table, in a WAV too; everything else must keep
    // its word.
    int coding = info->format & SF_FORMAT_SUBMASK;
    bool exact = coding < SF_FORMAT_MPEG_LAYER_I || coding > SF_FORMAT_MPEG_LAYER_III;
    if (c->frames == 0 || (exact && c->frames < info->frames))
        return err_set(e, ERR_FORMAT, "the header claims %lld frames, %lld could be read",
                       (long long)info->frames, (long long)c->frames);
    return post_check(c->x, c->frames * c->channels, e);
}

// Where libsndfile says that the channels belong; 0 where it says nothing.
static void read_places(file_clip *c, SNDFILE *s) {
    int map[FILE_CHANNELS_MAX] = {0};
    int size = c->channels * (int)sizeof *map;
    if (!sf_command(s, SFC_GET_CHANNEL_MAP_INFO, map, size)) return;
    for (int k = 0; k < c->channels; k++) {
        switch (map[k]) {
        case SF_CHANNEL_MAP_LEFT:
        case SF_CHANNEL_MAP_FRONT_LEFT:
        case SF_CHANNEL_MAP_FRONT_LEFT_OF_CENTER: c->place[k] = FOLD_LEFT; break;
        case SF_CHANNEL_MAP_RIGHT:
        case SF_CHANNEL_MAP_FRONT_RIGHT:
        case SF_CHANNEL_MAP_FRONT_RIGHT_OF_CENTER: c->place[k] = FOLD_RIGHT; break;
        case SF_CHANNEL_MAP_MONO:
        case SF_CHANNEL_MAP_CENTER:
        case SF_CHANNEL_MAP_FRONT_CENTER: c->place[k] = FOLD_CENTRE; break;
        case SF_CHANNEL_MAP_REAR_CENTER: c->place[k] = FOLD_BACK; break;
        case SF_CHANNEL_MAP_REAR_LEFT:
        case SF_CHANNEL_MAP_SIDE_LEFT: c->place[k] = FOLD_SIDE_LEFT; break;
        case SF_CHANNEL_MAP_REAR_RIGHT:
        case SF_CHANNEL_MAP_SIDE_RIGHT: c->place[k] = FOLD_SIDE_RIGHT; break;
        case SF_CHANNEL_MAP_LFE: c->place[k] = FOLD_LFE; break;
        default: break;
        }
    }
}

static status decode_image(file_clip *out, bytes image, const file_limits *limits, err *e) {
    memory_file m = {.image = image, .n = image.n};
    SF_INFO info = {0};
    SNDFILE *s = sf_open_virtual(&memory_io, SFM_READ, &info, &m);
    if (!s) {
        // libsndfile's own word for a broken MPEG stream speaks of files that do not exist.
        bool system = sf_error(NULL) == SF_ERR_SYSTEM || strstr(sf_strerror(NULL), "not exist");
        return err_set(e, ERR_FORMAT, "not readable as audio: %s",
                       system ? "what it holds is damaged" : sf_strerror(NULL));
    }
    file_clip c = {0};
    status rc = read_clip(&c, s, &info, limits, e);
    if (!rc) read_places(&c, s);
    sf_close(s);
    if (rc)
        file_clip_deinit(&c);
    else
        *out = c;
    return rc;
}

status file_decode(file_clip *out, bytes image, const file_limits *limits, err *e) {
    *out = (file_clip){0};
    if (!known_container(image)) return refuse_container(image, e);
    wav_image w;
    status rc = wav_repair(&w, image, e);
    if (!rc && !memcmp(image.p, "OggS", 4)) rc = ogg_check(image, e);
    if (!rc) rc = decode_image(out, w.image, limits, e);
    if (!rc) memcpy(out->warning, w.warning, sizeof out->warning);
    wav_image_deinit(&w);
    return rc;
}

status file_read(file_clip *out, const char *path, const file_limits *limits, err *e) {
    *out = (file_clip){0};
    os_file_map m;
    status rc = os_map_open(&m, path, e);
    if (rc) return rc;
    rc = pretender_check(m.data, path, e);
    if (!rc) {
        rc = file_decode(out, m.data, limits, e);
        if (rc) err_within(e, rc, "%s", path);
    }
    if (!rc && out->warning[0]) log_warn("audio", "%s: %s", path, out->warning);
    os_map_close(&m);
    return rc;
}

// One channel of the clip at its own rate, or what the clip's channels give together.
static const float *plane_of(const file_clip *c, float *made, int channels, int k) {
    if (channels == 2 && c->channels <= 2) return c->x + MIN(k, c->channels - 1);
    if (channels == 1 && c->channels == 1) return c->x;
    fold_plane(made, c->x, c->frames, c->channels, c->place, channels == 1 ? FOLD_MONO : k);
    return made;
}

status file_clip_planes(float **planes, int64_t *frames, const file_clip *c, int rate, int channels,
                        err *e) {
    *planes = NULL;
    if (channels != 1 && channels != 2)
        return err_set(e, ERR_ARG, "%d channels, expected 1 or 2", channels);
    resampler *r;
    status rc = resample_open(&r, c->rate, rate, e);
    if (rc) return rc;
    int64_t n = resample_frames(r, c->frames);
    float *out = mem_alloc((size_t)(n * channels) * sizeof *out);
    float *made = mem_alloc((size_t)c->frames * sizeof *made);
    if (!out || !made) rc = err_set(e, ERR_OOM, "no memory for %lld frames", (long long)n);
    for (int k = 0; !rc && k < channels; k++) {
        const float *x = plane_of(c, made, channels, k);
        rc = resample_run(r, out + k * n, 1, x, x == made ? 1 : c->channels, c->frames, e);
    }
    if (!rc) {
        *planes = out;
        *frames = n;
        out = NULL;
    }
    mem_free(made);
    mem_free(out);
    resample_close(r);
    return rc;
}
