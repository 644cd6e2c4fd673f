// sections.h - a piece in parts: the bars of each, its chords, and the stems that play in it.
//
// A section is a text of three parts, "8; Am F C G; drums bass": bars, chords, stems. The last two
// may be empty or left out: then it has the request's chords, from its own first bar on, and all
// stems. Where a stem does not play it is silent.
#pragma once
#include "request/chords.h"

#define SECTIONS_MAX STEMFORGE_SECTIONS_MAX

typedef struct {
    int bars;
    bytes chords, stems; // names, borrowed from the text; none: as above
} section;

// ERR_ARG: the number of bars (1 to CHORDS_MAX), a chord or a stem is none.
status section_parse(section *out, const char *text, err *e);
// The next of a section's stems, a word of *names that it moves behind. False: there is none.
bool section_next_stem(bytes *names, bytes *word);
bool section_plays(const section *s, const char *stem);

// The sections of a request, one without any being one section. Returns how many; what is wrong in
// an unchecked request has no bars.
size_t sections_of(section out[SECTIONS_MAX], const stemforge_request *r);
// Bars of all sections. 0: the request has none.
int sections_bars(const stemforge_request *r);

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
