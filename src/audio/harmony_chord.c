// harmony_chord.c - see harmony.h: the chord of each bar, by a small network.
//
// It is given the notes of the bar and of the whole piece as seen from a root, and says how well a
// major and a minor triad on it fit. train/chords.py made its weights, and says how good it is.
#include <math.h> // sqrt: exact
#include <string.h>

#include "audio/harmony.h"
#include "audio/harmony_chord_tab.h"
#include "base/mem.h"
#include "base/num.h"

#define KINDS 24   // 12 major, 12 minor
#define INPUTS 36  // treble, bass, and all of the piece
#define THIRD 0.03 // of the louder of root and fifth: a weaker third is not heard

// Roots of the shares of 12 strengths; of nothing they are 0.
static void to_shares(double out[12], const double v[12]) {
    double sum = 0;
    for (int p = 0; p < 12; p++) sum += v[p];
    for (int p = 0; p < 12; p++) out[p] = sum > 0 ? sqrt(v[p] / sum) : 0;
}

static void fill_inputs(double in[INPUTS], const harmony_row *r, const double whole[12]) {
    double treble[12], bass[12];
    for (int p = 0; p < 12; p++) treble[p] = (double)r->treble[p], bass[p] = (double)r->bass[p];
    to_shares(in, treble);
    to_shares(in + 12, bass);
    memcpy(in + 24, whole, 12 * sizeof *whole);
}

static void fill_whole(double whole[12], const harmony_row *rows, size_t n) {
    double sum[12] = {0};
    for (size_t i = 0; i < n; i++)
        for (int p = 0; p < 12; p++) sum[p] += (double)rows[i].treble[p] + (double)rows[i].bass[p];
    to_shares(whole, sum);
}

// The scores of the two triads on a root.
static void score_root(double score[KINDS], const double in[INPUTS], int root) {
    score[root] = score[12 + root] = 0;
    for (int h = 0; h < CHORD_HIDDEN; h++) {
        double sum = (double)hidden_bias[h];
        for (int i = 0; i < INPUTS; i++)
            sum += (double)hidden_weight[h * INPUTS + i] * in[i / 12 * 12 + (i + root) % 12];
        if (sum <= 0) continue;
        score[root] += (double)out_weight[h] * sum;
        score[12 + root] += (double)out_weight[CHORD_HIDDEN + h] * sum;
    }
}

static void to_chances(double *score) {
    double top = score[0], sum = 0;
    for (int k = 1; k < KINDS; k++) top = MAX(top, score[k]);
    for (int k = 0; k < KINDS; k++) {
        score[k] = num_exp(MAX(score[k] - top, -60.0));
        sum += score[k];
    }
    for (int k = 0; k < KINDS; k++) score[k] /= sum;
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

static harmony_chord likeliest(const harmony_row *r, const double chance[KINDS]) {
    int k = 0;
    for (int i = 1; i < KINDS; i++)
        if (chance[i] > chance[k]) k = i;
    harmony_chord c = {.root = k % 12, .third = k < 12 ? 4 : 3, .sure = chance[k]};
    if (has_third(r, c.root)) return c;
    return (harmony_chord){.root = c.root, .sure = chance[c.root] + chance[12 + c.root]};
}

void harmony_chords(harmony_chord *out, const harmony_row *rows, size_t n) {
    double whole[12], in[INPUTS], chance[KINDS];
    fill_whole(whole, rows, n);
    for (size_t t = 0; t < n; t++) {
        fill_inputs(in, &rows[t], whole);
        for (int root = 0; root < 12; root++) score_root(chance, in, root);
        to_chances(chance);
        out[t] = silent(&rows[t]) ? (harmony_chord){.root = -1} : likeliest(&rows[t], chance);
    }
}
