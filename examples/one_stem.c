// one_stem.c - opens a model, makes the drums of a request, and writes them as a WAV file.
//
//     one_stem MODEL FILE.wav
//
// The same program says how to follow progress and how an error is told. Build it with the Makefile
// beside it, or:  cc one_stem.c $(pkg-config --cflags --libs stemforge)
#include <stdint.h>
#include <stdio.h>
#include <stemforge.h>

static void put(FILE *f, uint32_t v, int bytes) {
    for (int i = 0; i < bytes; i++) fputc((int)(v >> 8 * i & 255), f);
}

// Samples are floats from -1 to 1, channels interleaved; a WAV of 16 bits wants integers.
static bool write_wav(const char *path, const stemforge_stem *s) {
    FILE *f = fopen(path, "wb");
    if (!f) return false;
    uint32_t n = (uint32_t)s->frames * (uint32_t)s->channels, rate = (uint32_t)s->sample_rate;
    uint32_t frame = 2 * (uint32_t)s->channels;
    fputs("RIFF", f), put(f, 36 + 2 * n, 4), fputs("WAVEfmt ", f), put(f, 16, 4);
    put(f, 1, 2), put(f, (uint32_t)s->channels, 2), put(f, rate, 4), put(f, rate * frame, 4);
    put(f, frame, 2), put(f, 16, 2), fputs("data", f), put(f, 2 * n, 4);
    for (uint32_t i = 0; i < n; i++) put(f, (uint32_t)(int32_t)(s->samples[i] * 32767), 2);
    return fclose(f) == 0;
}

// The stem is valid during this call only. Anything but STEMFORGE_OK ends the request.
static stemforge_status on_stem(void *path, size_t index, const stemforge_stem *s,
                                stemforge_error *e) {
    (void)index;
    if (!write_wav(path, s)) {
        snprintf(e->text, sizeof e->text, "cannot write %s", (const char *)path);
        return STEMFORGE_ERR_IO;
    }
    printf("%s: %s, %.1f s of audio in %.1f s\n", (const char *)path, s->name,
           (double)s->frames / s->sample_rate, s->seconds_spent);
    return STEMFORGE_OK;
}

static void on_progress(void *path, size_t index, int64_t done, int64_t total) {
    (void)path, (void)index;
    fprintf(stderr, "\r%3d%%", (int)(100 * done / total));
}

static int fail(const stemforge_error *e) {
    fprintf(stderr, "\none_stem: %s\n", e->text);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: one_stem MODEL FILE.wav\n");
        return 2;
    }
    stemforge_error e;
    stemforge_engine *g;
    stemforge_options o = stemforge_options_default();
    o.model = argv[1];
    if (stemforge_open(&g, &o, &e)) return fail(&e);

    const char *stems[] = {"drums"}, *chords[] = {"Am", "F", "C", "G"};
    stemforge_request r = stemforge_request_default();
    r.stems = stems, r.stem_count = 1;
    r.chords = chords, r.chord_count = 4;
    r.style = "rock", r.bpm = 120, r.seconds = 2, r.seed = 42;
    const stemforge_events ev = {.arg = argv[2], .stem_done = on_stem, .progress = on_progress};
    stemforge_status rc = stemforge_generate(g, &r, &ev, &e);
    stemforge_close(g);
    return rc ? fail(&e) : 0;
}
