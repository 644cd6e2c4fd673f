// midi.c - see midi.h.
#include "request/midi.h"

#include <math.h> // floor: exact
#include <string.h>

#include "request/chords.h"
#include "request/length.h"
#include "request/sections.h"

#define META_TEXT 0x01
#define META_NAME 0x03
#define META_END 0x2F
#define META_TEMPO 0x51
#define META_METER 0x58
#define NOTE_ON 0x90
#define NOTE_OFF 0x80
#define DRUMS 9 // channel 10
#define BLOCK_HIGH 76
#define BLOCK_LOW 77
#define BLOCK_TICKS 60
#define BASS_OCTAVE 36
#define CHORD_OCTAVE 60
#define VELOCITY 96

typedef struct {
    buf *out;
    size_t length_at; // of the track's length
    uint32_t now;     // ticks
} track;

static void add_byte(buf *out, unsigned v) {
    uint8_t b = (uint8_t)v;
    buf_add(out, &b, 1);
}

static void add_big(buf *out, uint32_t v, int n) {
    while (n--) add_byte(out, v >> 8 * n & 0xFF);
}

// Seven bits a byte, the high one on all but the last.
static void add_length(buf *out, uint32_t v) {
    for (int shift = 21; shift > 0; shift -= 7)
        if (v >> shift) add_byte(out, 0x80 | (v >> shift & 0x7F));
    add_byte(out, v & 0x7F);
}

static track begin_track(buf *out) {
    buf_add_str(out, "MTrk");
    track t = {.out = out, .length_at = out->n};
    add_big(out, 0, 4);
    return t;
}

static void go_to(track *t, uint32_t tick) {
    add_length(t->out, tick - t->now);
    t->now = tick;
}

static void add_meta(track *t, uint32_t tick, unsigned kind, const void *data, size_t n) {
    go_to(t, tick);
    add_byte(t->out, 0xFF);
    add_byte(t->out, kind);
    add_length(t->out, (uint32_t)n);
    buf_add(t->out, data, n);
}

static void add_note(track *t, uint32_t tick, unsigned kind, unsigned channel, unsigned note) {
    go_to(t, tick);
    add_byte(t->out, kind | channel);
    add_byte(t->out, note);
    add_byte(t->out, VELOCITY);
}

static void end_track(track *t, uint32_t tick) {
    add_meta(t, MAX(tick, t->now), META_END, "", 0);
    uint32_t size = (uint32_t)(t->out->n - t->length_at - 4);
    if (buf_status(t->out, NULL)) return; // bytes are missing
    for (int i = 0; i < 4; i++)
        t->out->p[t->length_at + (size_t)i] = (uint8_t)(size >> (24 - 8 * i));
}

static void add_head(buf *out, const stemforge_request *r, uint32_t end) {
    uint32_t us = (uint32_t)floor(60e6 / r->bpm + 0.5);
    const uint8_t tempo[] = {(uint8_t)(us >> 16), (uint8_t)(us >> 8), (uint8_t)us};
    const meter *m = meter_of(r->meter);
    // The unit as a power of two; clocks between clicks, 24 and 8 32nds in a quarter.
    const uint8_t signature[] = {(uint8_t)m->beats, m->unit == 8 ? 3 : 2, (uint8_t)(24 * m->pulse),
                                 8};
    track t = begin_track(out);
    add_meta(&t, 0, META_TEMPO, tempo, sizeof tempo);
    add_meta(&t, 0, META_METER, signature, sizeof signature);
    end_track(&t, end);
}

// All notes of a chord begin or end.
static void add_chord(track *t, uint32_t tick, unsigned kind, const chord *c) {
    add_note(t, tick, kind, 0, BASS_OCTAVE + (unsigned)c->bass);
    for (unsigned i = 0; i < 12; i++)
        if (c->mask >> (((unsigned)c->root + i) % 12) & 1)
            add_note(t, tick, kind, 0, CHORD_OCTAVE + (unsigned)c->root + i);
}

static void add_chords(buf *out, const stemforge_request *r, const progression *p, uint32_t end) {
    const timing time = timing_of(r, 0);
    track t = begin_track(out);
    add_meta(&t, 0, META_NAME, "chords", 6);
    for (uint32_t i = 0, from = 0, to; from < end; i++, from = to) {
        const chord *c = &p->bars[i % p->count];
        const char *name = r->chords[i % p->count];
        to = (uint32_t)(timing_chord_begin(&time, i + 1) * MIDI_TICKS);
        add_meta(&t, from, META_TEXT, name, strlen(name));
        if (c->none) continue;
        add_chord(&t, from, NOTE_ON, c);
        add_chord(&t, MIN(to, end), NOTE_OFF, c);
    }
    end_track(&t, end);
}

// The beats that are felt.
static void add_beats(buf *out, const meter *m, uint32_t end) {
    const uint32_t beat = (uint32_t)(m->pulse * MIDI_TICKS),
                   bar = (uint32_t)m->quarters * MIDI_TICKS;
    track t = begin_track(out);
    add_meta(&t, 0, META_NAME, "beats", 5);
    for (uint32_t at = 0; at < end; at += beat) {
        unsigned block = at % bar ? BLOCK_LOW : BLOCK_HIGH;
        add_note(&t, at, NOTE_ON, DRUMS, block);
        add_note(&t, at + BLOCK_TICKS, NOTE_OFF, DRUMS, block);
    }
    end_track(&t, end);
}

status midi_write(buf *out, const stemforge_request *asked, err *e) {
    progression p;
    section_chords laid;
    stemforge_request own = *asked, *r = &own;
    if (r->section_count || r->ending) {
        sections_chords(&laid, asked);
        r->chords = laid.name;
        r->chord_count = laid.named ? laid.n : 0;
    }
    status rc = r->chord_count ? chords_parse(&p, r->chords, r->chord_count, r->bpm, e) : OK;
    if (rc) return rc;
    uint32_t end = (uint32_t)floor(length_seconds(r) * r->bpm / 60 * MIDI_TICKS + 0.5);
    buf_add_str(out, "MThd");
    add_big(out, 6, 4);
    add_big(out, 1, 2);
    add_big(out, r->chord_count ? 3 : 2, 2);
    add_big(out, MIDI_TICKS, 2);
    add_head(out, r, end);
    if (r->chord_count) add_chords(out, r, &p, end);
    add_beats(out, meter_of(r->meter), end);
    return buf_status(out, e);
}
