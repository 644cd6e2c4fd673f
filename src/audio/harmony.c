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

// --- chords

#define KINDS 24   // 12 major, 12 minor
#define THIRD 0.03 // of the louder of root and fifth: a weaker third is not heard

// How well a row fits a chord, about 0 to 1.
static double fit_of(const harmony_row *r, int root, int third) {
    double in = 0, all = 0, low = 0, deep = 0;
    for (int p = 0; p < 12; p++) {
        double v = sqrt((double)r->treble[p]), b = (double)r->bass[p];
        int from = (p - root + 12) % 12;
        all += v * v;
        if (from == 0 || from == third) in += v;
        if (from == 7) in += v;
        deep += b;
        if (from == 0) low += b;
    }
    double treble = all > 0 ? in / sqrt(3 * all) : 0;
    double bass = deep > 0 ? low / deep : 0;
    return treble + 0.25 * bass;
}

static bool silent(const harmony_row *r) {
    double sum = 0;
    for (int p = 0; p < 12; p++) sum += (double)r->treble[p] + (double)r->bass[p];
    return !(sum > 0);
}

// Whether one of the two thirds over the root sounds.
static bool has_third(const harmony_row *r, int root) {
    double v[12];
    for (int i = 0; i < 12; i++) {
        int p = (root + i) % 12;
        v[i] = (double)r->treble[p] + (double)r->bass[p];
    }
    return MAX(v[3], v[4]) > THIRD * MAX(v[0], v[7]);
}

static harmony_chord chord_of(const harmony_row *r, const double fit[KINDS], int k) {
    double next = -1;
    for (int i = 0; i < KINDS; i++)
        if (i != k) next = MAX(next, fit[i]);
    int third = k < 12 ? 4 : 3;
    return (harmony_chord){k % 12, has_third(r, k % 12) ? third : 0, fit[k] - next};
}

status harmony_chords(harmony_chord *out, const harmony_row *rows, size_t n, double stay, err *e) {
    double(*fit)[KINDS] = mem_alloc((n + 1) * sizeof *fit);
    uint8_t(*from)[KINDS] = mem_alloc((n + 1) * sizeof *from);
    if (!fit || !from) {
        mem_free(fit);
        mem_free(from);
        return err_set(e, ERR_OOM, "no memory for %zu chords", n);
    }
    double score[KINDS] = {0}, last[KINDS];
    for (size_t t = 0; t < n; t++) {
        memcpy(last, score, sizeof last);
        int top = 0;
        for (int k = 1; k < KINDS; k++)
            if (last[k] > last[top]) top = k;
        for (int k = 0; k < KINDS; k++) {
            fit[t][k] = fit_of(&rows[t], k % 12, k < 12 ? 4 : 3);
            bool move = last[top] - stay > last[k];
            from[t][k] = (uint8_t)(move ? top : k);
            score[k] = fit[t][k] + (move ? last[top] - stay : last[k]);
        }
    }
    int k = 0;
    for (int i = 1; i < KINDS; i++)
        if (score[i] > score[k]) k = i;
    for (size_t t = n; t-- > 0; k = from[t][k])
        out[t] = silent(&rows[t]) ? (harmony_chord){.root = -1} : chord_of(&rows[t], fit[t], k);
    mem_free(fit);
    mem_free(from);
    return OK;
}
