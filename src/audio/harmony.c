// harmony.c - see harmony.h.
#include "audio/harmony.h"

#include <math.h> // floor and sqrt: exact
#include <string.h>

#include "audio/spectrum.h"
#include "base/mem.h"
#include "base/num.h"

#define WINDOW_SECONDS 0.18
#define HOPS 2        // a window
#define PEAK_OVER 8.0 // the power of a peak over the noise around it
#define DEPTH 1e-5    // of the window's strongest peak: what is weaker does not count
#define PARTIALS 10
#define FADE 0.75 // of each partial to the next
#define ROUNDS 30
#define LEAD_HIGH 1500.0
#define LEAD_OVER 16.0 // the power of the strongest pitch over the noise around it
#define STILL 0.4      // semitones
#define SOUNDING 1e-3  // of the loudest window's power
#define TREBLE (40 - HARMONY_NOTE_LOW)
#define BASS (48 - HARMONY_NOTE_LOW)

typedef struct {
    spectrum s;
    const listened *l;
    double per_bin;
    double note[HARMONY_NOTES]; // of the stretch, amplitude by note
    double lead, before;        // the strongest pitch of this window and of the last one; 0: none
    double loudest;             // power of the loudest window so far
    int64_t sounding, still;    // windows
} hearing;

static const int partial_at[PARTIALS] = {0, 12, 19, 24, 28, 31, 34, 36, 38, 40};

// The frequency of the peak at bin k, in bins, by a parabola through the logarithms.
static double peak_bin(const float *p, size_t k) {
    double a = num_log2((double)p[k - 1] + 1e-30), b = num_log2((double)p[k] + 1e-30);
    double c = num_log2((double)p[k + 1] + 1e-30), bend = a - 2 * b + c;
    return (double)k + (bend < 0 ? (a - c) / (2 * bend) : 0);
}

// Mean power around bin k, the peak's own bins left out.
static double noise_at(const float *p, size_t k, size_t last) {
    double sum = 0;
    int count = 0;
    for (size_t d = 3; d <= 8; d++) {
        if (k >= d + 1) sum += sqrt((double)p[k - d]), count++;
        if (k + d <= last) sum += sqrt((double)p[k + d]), count++;
    }
    double mean = count ? sum / count : 0;
    return mean * mean;
}

// Whether the pitch of the window before is still there.
static void note_lead(hearing *h, double top) {
    h->loudest = MAX(h->loudest, top);
    if (top > SOUNDING * h->loudest && top > 0) {
        double moved = h->lead - h->before;
        h->sounding++;
        h->still += h->lead > 0 && h->before > 0 && moved < STILL && moved > -STILL;
    }
    h->before = h->lead;
}

static void add_peaks(hearing *h, int64_t from) {
    const float *p = h->s.power;
    double lead = 0; // power
    spectrum_at(&h->s, h->l->x, h->l->n, from);
    size_t first = (size_t)(38 / h->per_bin),
           last = MIN((size_t)(4000 / h->per_bin), h->s.size / 2 - 1);
    double top = 0;
    for (size_t k = first; k <= last; k++) top = MAX(top, (double)p[k]);
    h->lead = 0;
    for (size_t k = MAX(first, (size_t)1); k <= last; k++) {
        if (!(p[k] > p[k - 1] && p[k] >= p[k + 1]) || (double)p[k] < DEPTH * top) continue;
        double noise = noise_at(p, k, last);
        if ((double)p[k] < PEAK_OVER * noise) continue;
        double pitch = 12 * num_log2(peak_bin(p, k) * h->per_bin / 440) + 69 - HARMONY_NOTE_LOW;
        if ((double)p[k] > lead && (double)k * h->per_bin < LEAD_HIGH) {
            lead = (double)p[k];
            h->lead = lead > LEAD_OVER * noise ? pitch : 0;
        }
        int64_t note = (int64_t)floor(pitch + 0.5);
        if (note < 0 || note >= HARMONY_NOTES) continue;
        h->note[note] += sqrt((double)p[k]) - sqrt(noise);
    }
    note_lead(h, top);
}

// The strengths of notes whose partials add up to note: the least squares that are not negative,
// by multiplicative steps.
static void explain(double strength[HARMONY_NOTES], const double note[HARMONY_NOTES]) {
    double fade[PARTIALS], sum[HARMONY_NOTES];
    for (int h = 0; h < PARTIALS; h++) fade[h] = h ? fade[h - 1] * FADE : 1;
    for (int i = 0; i < HARMONY_NOTES; i++) strength[i] = note[i];
    for (int round = 0; round < ROUNDS; round++) {
        memset(sum, 0, sizeof sum);
        for (int i = 0; i < HARMONY_NOTES; i++)
            for (int h = 0; h < PARTIALS && i + partial_at[h] < HARMONY_NOTES; h++)
                sum[i + partial_at[h]] += strength[i] * fade[h];
        for (int i = 0; i < HARMONY_NOTES; i++) {
            double want = 0, have = 1e-12;
            for (int h = 0; h < PARTIALS && i + partial_at[h] < HARMONY_NOTES; h++) {
                want += note[i + partial_at[h]] * fade[h];
                have += sum[i + partial_at[h]] * fade[h];
            }
            strength[i] *= want / have;
        }
    }
}

static void fill_row(harmony_row *out, hearing *h, double from, double to) {
    int64_t size = (int64_t)h->s.size, a = (int64_t)(from * h->l->rate),
            b = (int64_t)(to * h->l->rate);
    memset(h->note, 0, sizeof h->note);
    // Windows inside the stretch, so that the neighbours' chords stay out; one if it is too short.
    for (int64_t at = a + size > b ? (a + b - size) / 2 : a; at + size <= b || at <= a;
         at += size / HOPS) {
        add_peaks(h, at);
        if (a + size > b) break;
    }
    double strength[HARMONY_NOTES];
    explain(strength, h->note);
    *out = (harmony_row){0};
    for (int i = 0; i < HARMONY_NOTES; i++) {
        int p = (i + HARMONY_NOTE_LOW) % 12;
        if (i < BASS) out->bass[p] += (float)strength[i];
        if (i >= TREBLE) out->treble[p] += (float)strength[i];
    }
}

status harmony_rows(harmony_row *out, const double *edge, size_t n, const listened *l, double *held,
                    err *e) {
    hearing h = {.l = l};
    status rc = spectrum_open(&h.s, 256, WINDOW_SECONDS, l->rate, e);
    h.per_bin = (double)l->rate / (double)h.s.size;
    for (size_t i = 0; !rc && i < n; i++) fill_row(&out[i], &h, edge[i], edge[i + 1]);
    spectrum_close(&h.s);
    if (held) *held = h.sounding ? (double)h.still / (double)h.sounding : 0;
    return rc;
}

status harmony_notes(float *note, size_t n, double hop, const listened *l, err *e) {
    hearing h = {.l = l};
    status rc = spectrum_open(&h.s, 256, WINDOW_SECONDS, l->rate, e);
    h.per_bin = (double)l->rate / (double)h.s.size;
    for (size_t i = 0; !rc && i < n; i++) {
        memset(h.note, 0, sizeof h.note);
        add_peaks(&h, (int64_t)((double)i * hop * l->rate) - (int64_t)h.s.size / 2);
        for (size_t k = 0; k < HARMONY_NOTES; k++) note[i * HARMONY_NOTES + k] = (float)h.note[k];
    }
    spectrum_close(&h.s);
    return rc;
}
