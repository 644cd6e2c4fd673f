// sections.h - a piece in parts: the bars of each, its chords, the stems that play in it, and how
// densely they do.
//
// A section is a text of four parts, "8; Am F C G; drums bass; sparse": bars, chords, stems,
// density. The last three may be empty or left out: then it has the request's chords, from its own
// first bar on, all stems, and normal density. Where a stem does not play it is silent.
#pragma once
#include "request/chords.h"

#define SECTIONS_MAX STEMFORGE_SECTIONS_MAX

// How many notes there are to be. A model is told by a word.
typedef enum { DENSITY_NORMAL, DENSITY_SPARSE, DENSITY_DENSE, DENSITIES } density;
extern const char *const density_names[DENSITIES]; // "normal", "sparse", "dense"

typedef struct {
    int bars;
    bytes chords, stems; // names, borrowed from the text; none: as above
    density density;
} section;

// ERR_ARG: the number of bars (1 to CHORDS_MAX), a chord, a stem or the density is none.
status section_parse(section *out, const char *text, err *e);
// The next of a section's stems, a word of *names that it moves behind. False: there is none.
bool section_next_stem(bytes *names, bytes *word);
bool section_plays(const section *s, const char *stem);

// The sections of a request, one without any being one section. Returns how many; what is wrong in
// an unchecked request has no bars.
size_t sections_of(section out[SECTIONS_MAX], const stemforge_request *r);
// Bars of all sections. 0: the request has none.
int sections_bars(const stemforge_request *r);

// A part of the piece with one density: it begins at that bar.
typedef struct {
    int bar;
    density density;
} density_part;
// The parts of a checked request, each of another density than the one before; at least one.
size_t sections_densities(density_part out[SECTIONS_MAX], const stemforge_request *r);

// The chords of a piece with sections or an ending, as many a bar as the request says, to its last
// bar. An ending's last bar has the key's tonic, else the first chord of the piece.
typedef struct {
    bool named; // the request or a section names chords; else they are those of the key
    size_t n;
    const char *name[CHORDS_MAX];
    char text[CHORDS_MAX][CHORDS_NAME_MAX + 1];
} section_chords;
// Of a checked request.
void sections_chords(section_chords *out, const stemforge_request *r);
