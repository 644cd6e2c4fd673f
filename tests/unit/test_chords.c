// test_chords.c - chord names, keys, progressions and what models are given of them.
#include <criterion/criterion.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "engine/musicgen/control.h"
#include "request/chords.h"

static unsigned mask_of(int root, const char *tones) {
    unsigned mask = 0;
    for (const char *p = tones; *p; p++) {
        int tone = *p >= 'a' ? *p - 'a' + 10 : *p - '0';
        mask |= 1u << (root + tone) % 12;
    }
    return mask;
}

// tones: semitones above the root, 'a' is 10 and 'b' is 11.
typedef struct {
    const char *name;
    int root, bass;
    const char *tones;
} row;

static void check_rows(const row *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        err e = {0};
        chord c;
        cr_assert_eq(chords_parse_chord(&c, rows[i].name, &e), OK, "%s", e.text);
        unsigned want = mask_of(rows[i].root, rows[i].tones) | 1u << rows[i].bass;
        cr_assert(c.root == rows[i].root && c.bass == rows[i].bass && c.mask == want && !c.none,
                  "%s: root %d bass %d tones %03x, want %03x", rows[i].name, c.root, c.bass, c.mask,
                  want);
    }
}

Test(chords, lead_sheet_names_give_their_tones) {
    static const row rows[] = {
        {"C", 0, 0, "047"},          {"Am", 9, 9, "037"},
        {"F#m7", 6, 6, "037a"},      {"Bbmaj7", 10, 10, "047b"},
        {"Gsus4", 7, 7, "057"},      {"D/F#", 2, 6, "047"},
        {"Cdim", 0, 0, "036"},       {"C\u00b0", 0, 0, "036"},
        {"Ch7", 0, 0, "036a"},       {"Bm7b5", 11, 11, "036a"},
        {"B\u00f8", 11, 11, "036a"}, {"Eaug", 4, 4, "048"},
        {"E+", 4, 4, "048"},         {"E+7", 4, 4, "048a"},
        {"E7+", 4, 4, "048a"},       {"A7sus4", 9, 9, "057a"},
        {"G9", 7, 7, "0247a"},       {"G11", 7, 7, "02457a"},
        {"G13", 7, 7, "0479a"},      {"Cmaj9", 0, 0, "0247b"},
        {"Cm(maj7)", 0, 0, "037b"},  {"CmM7", 0, 0, "037b"},
        {"Cmmaj7", 0, 0, "037b"},    {"C-\u03947", 0, 0, "037b"},
        {"Csus", 0, 0, "057"},       {"C6", 0, 0, "0479"},
        {"Cm6", 0, 0, "0379"},       {"C69", 0, 0, "02479"},
        {"C6/9", 0, 0, "02479"},     {"Cm6/9/Eb", 0, 3, "02379"},
        {"C6/E", 0, 4, "0479"},      {"Cadd9", 0, 0, "0247"},
        {"Cm(add9)", 0, 0, "0237"},  {"C5", 0, 0, "07"},
        {"Cmin", 0, 0, "037"},       {"C-7", 0, 0, "037a"},
        {"CM7", 0, 0, "047b"},       {"CMaj7", 0, 0, "047b"},
        {"C\u25b3", 0, 0, "047b"},   {"C\u22067", 0, 0, "047b"},
        {"Cdim7", 0, 0, "0369"},     {"Co7", 0, 0, "0369"},
        {"Db", 1, 1, "047"},         {"Cb", 11, 11, "047"},
        {"B#", 0, 0, "047"},         {"F\u266f", 6, 6, "047"},
        {"B\u266dm", 10, 10, "037"}, {"Abb", 7, 7, "047"},
        {"F##", 7, 7, "047"},        {"G7#9", 7, 7, "0347a"},
        {"G7b9", 7, 7, "0147a"},     {"G7(b9,#11)", 7, 7, "01467a"},
        {"G7b5", 7, 7, "046a"},      {"G7-5", 7, 7, "046a"},
        {"G7#5", 7, 7, "048a"},      {"Cmaj7#11", 0, 0, "0467b"},
        {"Csus2", 0, 0, "027"},      {"Csus", 0, 0, "057"},
        {"C9sus4", 0, 0, "0257a"},   {"C7alt", 0, 0, "013468a"},
        {"C7no5", 0, 0, "04a"},      {"C(no3)", 0, 0, "07"},
        {"Cmaj7sus2", 0, 0, "027b"}, {"Am/G", 9, 7, "037"},
        {"Em7/B", 4, 11, "037a"},
    };
    check_rows(rows, ARRAY_LEN(rows));
}

Test(chords, spellings_that_musicians_use) {
    static const row rows[] = {
        // Signs of music wherever # and b go.
        {"Cm7\u266d5", 0, 0, "036a"},
        {"C7\u266d9", 0, 0, "0147a"},
        {"Cmaj7\u266f11", 0, 0, "0467b"},
        {"D/F\u266f", 2, 6, "047"},
        {"A7(\u266d9,\u266f11)", 9, 9, "01467a"},
        {"Cadd\u266f11", 0, 0, "0467"},
        {"B\U0001D12B", 9, 9, "047"},
        {"C:(3,\u266d7)", 0, 0, "04a"},
        // add after any spelling of minor and major.
        {"Cmadd9", 0, 0, "0237"},
        {"Cminadd9", 0, 0, "0237"},
        {"C-add9", 0, 0, "0237"},
        {"Cmiadd9", 0, 0, "0237"},
        {"CMadd9", 0, 0, "0247"},
        {"Cmadd11", 0, 0, "0357"},
        {"Cmaj7add13", 0, 0, "0479b"},
        {"Cmaadd9", 0, 0, "0247"},
        // The major seventh behind its number, or as a caret.
        {"C7M", 0, 0, "047b"},
        {"Cm7M", 0, 0, "037b"},
        {"C9M", 0, 0, "0247b"},
        {"C^7", 0, 0, "047b"},
        {"C^", 0, 0, "047b"},
        {"C^9", 0, 0, "0247b"},
        {"C7maj", 0, 0, "047b"},
        {"Cm^7", 0, 0, "037b"},
        {"C\u22057", 0, 0, "036a"},
        {"C\u2205", 0, 0, "036a"},
        {"C\u23007", 0, 0, "036a"},
        {"C2", 0, 0, "0247"},
        {"C4", 0, 0, "0457"},
        {"Am2", 9, 9, "0237"},
        {"C2/E", 0, 4, "0247"},
        {"Calt", 0, 0, "013468a"},
        {"F#alt", 6, 6, "013468a"},
        {" Am ", 9, 9, "037"},
        {"C7(b9, #11)", 0, 0, "01467a"},
    };
    check_rows(rows, ARRAY_LEN(rows));
}

Test(chords, names_are_apart_by_blanks_bars_and_commas) {
    static const char *const texts[] = {"C7(b9,#11) F",      " C7(b9, #11),F\n",
                                        "|C7(b9,#11)|F|",    "C7(b9,#11)\r\n\tF",
                                        "C7(b9,#11)\u00a0F", "C7(b9,#11) | F ,"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        progression p;
        err e = {0};
        cr_assert_eq(chords_parse_text(&p, texts[i], 120, &e), OK, "%s: %s", texts[i], e.text);
        cr_assert(p.count == 2 && p.bars[1].root == 5, "%s", texts[i]);
        cr_assert_eq(p.bars[0].mask, 1 << 0 | 1 << 1 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10);
    }
}

// The table of docs/MODELS.md for MusicGen-Chord, in Harte's syntax.
Test(chords, harte_names_give_the_rows_chord_models_were_trained_with) {
    static const row rows[] = {
        {"D:maj", 2, 2, "047"},      {"D:min", 2, 2, "037"},       {"D:dim", 2, 2, "036"},
        {"D:aug", 2, 2, "048"},      {"D:sus2", 2, 2, "027"},      {"D:sus4", 2, 2, "057"},
        {"D:maj7", 2, 2, "047b"},    {"D:min7", 2, 2, "037a"},     {"D:7", 2, 2, "047a"},
        {"D:dim7", 2, 2, "0369"},    {"D:hdim7", 2, 2, "036a"},    {"D:minmaj7", 2, 2, "037b"},
        {"D:maj6", 2, 2, "0479"},    {"D:min6", 2, 2, "0379"},     {"D:9", 2, 2, "0247a"},
        {"D:maj9", 2, 2, "0247b"},   {"D:min9", 2, 2, "0237a"},    {"D:11", 2, 2, "02457a"},
        {"D:min11", 2, 2, "02357a"}, {"D:13", 2, 2, "0479a"},      {"D:maj13", 2, 2, "0479b"},
        {"D:min13", 2, 2, "0379a"},  {"D:5", 2, 2, "07"},          {"D:1", 2, 2, "0"},
        {"D:maj/3", 2, 6, "047"},    {"D:min/b3", 2, 5, "037"},    {"D:maj(9)", 2, 2, "0247"},
        {"D:7(#9)", 2, 2, "0347a"},  {"D:(1,5)", 2, 2, "07"},      {"D:(1,b3,5,7)", 2, 2, "037b"},
        {"D:maj(*3)", 2, 2, "07"},   {"D:sus4(b7)", 2, 2, "057a"},
    };
    check_rows(rows, ARRAY_LEN(rows));
}

Test(chords, no_chord_has_no_tones) {
    const char *const names[] = {"N", "NC", "N.C."};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        chord c;
        cr_assert_eq(chords_parse_chord(&c, names[i], NULL), OK);
        cr_assert(c.none && c.mask == 0);
    }
}

Test(chords, names_of_other_hands_give_their_tones) {
    static const row rows[] = {
        {"Csus24", 0, 0, "0257"},      {"C7sus2sus4", 0, 0, "0257a"}, {"Cj7", 0, 0, "047b"},
        {"C7(#9b13)", 0, 0, "03478a"}, {"C7(b9#11)", 0, 0, "01467a"},
    };
    check_rows(rows, ARRAY_LEN(rows));
}

Test(chords, a_wrong_name_is_refused_with_its_place) {
    static const char *const bad[][2] = {
        {"", "empty chord name, expected one such as Am or N"},
        {"H7",
         "'H7': expected a note A to G, or N at character 1, found 'H7' (write B for the German "
         "H, and Bb for the German B)"},
        {"am", "'am': expected a note A to G, or N at character 1, found 'am' (write the root as a "
               "capital)"},
        {"CGAmF",
         "'CGAmF': expected a chord quality at character 2, found 'GAmF' (put blanks between "
         "chords)"},
        {"Am-F-C", "'Am-F-C': expected a chord quality at character 3, found '-F-C' (put blanks "
                   "between chords)"},
        {"Sol",
         "'Sol': expected a note A to G, or N at character 1, found 'Sol' (write C D E F G A B "
         "for the notes Do to Si)"},
        {"Fa",
         "'Fa': expected a chord quality at character 2, found 'a' (write C D E F G A B for the "
         "notes Do to Si)"},
        {"Am;", "'Am;': expected a chord quality at character 3, found ';' (put blanks between "
                "chords)"},
        {"Am\u2192F", "'Am\u2192F': expected a chord quality at character 3, found '\u2192F' (put "
                      "blanks between chords)"},
        {"%", "'%': expected a note A to G, or N at character 1, found '%' (write the chord "
              "again)"},
        {"sus4",
         "'sus4': expected a note A to G, or N at character 1, found 'sus4' (write it behind "
         "its note without a blank)"},
        {"add9",
         "'add9': expected a note A to G, or N at character 1, found 'add9' (write it behind "
         "its note without a blank)"},
        {"[Am", "'[Am': expected a note A to G, or N at character 1, found '[Am' (leave out "
                "brackets)"},
        {"Do", "'Do' can mean two things: write Ddim or D\u00b0, or C for the note Do"},
        {"Do7", "'Do7' can mean two things: write Ddim or D\u00b0, or C for the note Do"},
        {"C24", "'C24': expected a chord quality at character 3, found '4'"},
        {"C7M7", "'C7M7': expected a chord quality at character 4, found '7'"},
        {" ", "empty chord name, expected one such as Am or N"},
        {"Cfoo", "'Cfoo': expected a chord quality at character 2, found 'foo'"},
        {"F\u266fmoo", "'F#moo': expected a chord quality at character 4, found 'oo'"},
        {"C7m", "'C7m': expected a chord quality at character 3, found 'm'"},
        {"C79", "'C79': expected a chord quality at character 3, found '9'"},
        {"C/", "'C/': expected a bass note or degree at its end"},
        {"C/E/G", "'C/E/G': expected nothing after the bass at character 4, found '/G'"},
        {"C/H", "'C/H': expected a bass note or degree at character 3, found 'H'"},
        {"C7(b9", "'C7(b9': expected ',' or ')' at its end"},
        {"C7(zz)", "'C7(zz)': expected a degree or an addition at character 4, found 'zz)'"},
        {"C:", "'C:': expected a chord quality at its end"},
        {"Cmmaj", "'Cmmaj': expected 7, 9, 11 or 13 after maj at its end"},
        {"C(*1)", "'C(*1)': expected a degree at character 5, found ')'"},
        {"Caaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "chord name of 38 bytes, expected at most 32"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        err e = {0};
        chord c = {.root = 77};
        cr_assert_eq(chords_parse_chord(&c, bad[i][0], &e), ERR_ARG, "%s", bad[i][0]);
        cr_assert_str_eq(e.text, bad[i][1]);
        cr_assert_eq(c.root, 77); // untouched
    }
}

static progression pop(double bpm) {
    progression p;
    err e = {0};
    cr_assert_eq(chords_parse_text(&p, "C G A:min F", bpm, &e), OK, "%s", e.text);
    return p;
}

Test(chords, a_progression_gives_each_bar_its_chord_and_repeats) {
    progression p = pop(120); // a bar lasts 2 s
    const int roots[] = {0, 7, 9, 5};
    for (int bar = -5; bar < 20; bar++) {
        int want = roots[((bar % 4) + 4) % 4];
        cr_assert_eq(chords_at(&p, bar * 2.0)->root, want, "start of bar %d", bar);
        cr_assert_eq(chords_at(&p, bar * 2.0 + 1.99)->root, want, "end of bar %d", bar);
    }
    // At 97.3 bpm bar boundaries are not exact numbers: each must still begin its own bar.
    p = pop(97.3);
    for (int bar = 0; bar < 1000; bar++)
        cr_assert_eq(chords_at(&p, bar * 240 / 97.3)->root, roots[bar % 4], "bar %d", bar);
}

Test(chords, a_text_and_a_list_of_names_give_the_same) {
    const char *const names[] = {"Am7", "G7(b9,#11)", "N", "D/F#"};
    progression a, b;
    cr_assert_eq(chords_parse(&a, names, 4, 90, NULL), OK);
    cr_assert_eq(chords_parse_text(&b, " | Am7, G7(b9,#11) |N  D/F# |", 90, NULL), OK);
    cr_assert_eq(b.count, 4);
    for (size_t i = 0; i < 4; i++) cr_assert_eq(a.bars[i].mask, b.bars[i].mask);
}

Test(chords, a_progression_names_the_wrong_chord) {
    const char *const names[] = {"Am", "Xm", "C"};
    progression p;
    err e;
    cr_assert_eq(chords_parse(&p, names, 3, 120, &e), ERR_ARG);
    cr_assert_str_eq(e.text,
                     "chord 2 of 3: 'Xm': expected a note A to G, or N at character 1, found 'Xm'");
    cr_assert_eq(chords_parse_text(&p, "Am C Cq", 120, &e), ERR_ARG);
    cr_assert_str_eq(e.text, "chord 3: 'Cq': expected a chord quality at character 2, found 'q'");
    cr_assert_eq(chords_parse_text(&p, " | , ", 120, &e), ERR_ARG);
    cr_assert_str_eq(e.text, "0 chords, expected 1 to 256");
    cr_assert_eq(chords_parse(&p, names, 1, NAN, &e), ERR_ARG);
    cr_assert_eq(chords_parse(&p, names, 1, 0, &e), ERR_ARG);
}

// By the clean rule a bar of 2 s holds the rows whose centre, 0.128 s apart, lies in it: 16, then
// 16 (rows 16 to 31: 2.048 to 3.968), 15, 16, 16, 15 ...: never more than a row from the 15.625 of
// a bar.
Test(chords, chroma_rows_carry_the_chord_at_their_centre) {
    progression p = pop(120);
    float rows[235 * 12];
    chords_fill_chroma(rows, &p, 235, 0, 4096, 32000);
    const char *const tones[] = {"047", "7b2", "904", "590"}; // pitch classes of C G Am F
    for (int f = 0; f < 235; f++) {
        int bar = (f * 128) / 2000; // whole numbers: 0.128 s a row, 2 s a bar
        unsigned want = mask_of(0, tones[bar % 4]);
        for (int i = 0; i < 12; i++)
            cr_assert_eq(rows[f * 12 + i], (want >> i & 1) ? 1.0f : 0.0f, "row %d class %d", f, i);
    }
    float later[12];
    chords_fill_chroma(later, &p, 1, 100, 4096, 32000);
    cr_assert_eq(memcmp(later, rows + 1200, sizeof later), 0);
}

Test(chords, keys_are_read_and_written) {
    static const struct {
        const char *text;
        int tonic;
        bool minor;
        const char *name;
    } rows[] = {{"C major", 0, false, "C major"},
                {"F# minor", 6, true, "F# minor"},
                {"Am", 9, true, "A minor"},
                {"bb", 10, false, "Bb major"},
                {"E flat major", 3, false, "Eb major"},
                {"c# min", 1, true, "C# minor"},
                {"D\u266d", 1, false, "C# major"},
                {"AM", 9, false, "A major"},
                {"G#m", 8, true, "Ab minor"},
                {" g Minor", 7, true, "G minor"},
                {"B", 11, false, "B major"},
                {"C:min", 0, true, "C minor"},
                {"D dorian", 2, true, "D minor"},
                {"A-flat minor", 8, true, "Ab minor"},
                {"A harmonic minor", 9, true, "A minor"},
                {"a melodic minor scale", 9, true, "A minor"},
                {"A natural minor", 9, true, "A minor"},
                {"B locrian", 11, true, "B minor"},
                {"E phrygian mode", 4, true, "E minor"},
                {"G mixolydian", 7, false, "G major"},
                {"F\u266f lydian", 6, false, "F# major"},
                {"E\u266d-Dur", 3, false, "Eb major"},
                {"C-Dur", 0, false, "C major"},
                {"c-Moll", 0, true, "C minor"},
                {"fis-Moll", 6, true, "F# minor"},
                {"Es-Dur", 3, false, "Eb major"},
                {"as-moll", 8, true, "Ab minor"},
                {"Des-Dur", 1, false, "C# major"},
                {"Bb-Dur", 10, false, "Bb major"},
                {"A\nminor", 9, true, "A minor"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        key k;
        char name[CHORDS_KEY_TEXT];
        cr_assert_eq(chords_parse_key(&k, rows[i].text, NULL), OK, "%s", rows[i].text);
        cr_assert(k.tonic == rows[i].tonic && k.minor == rows[i].minor, "%s", rows[i].text);
        chords_key_text(name, k);
        cr_assert_str_eq(name, rows[i].name);
    }
    const char *const bad[] = {"",        " ",      "H major",   "C majoor", "C major minor",
                               "7",       "C-",     "C -",       "C:",       "C flat sharp",
                               "H-Dur",   "B-Moll", "A natural", "C scale",  "A harmonic",
                               "Es minor"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        key k;
        err e;
        cr_assert_eq(chords_parse_key(&k, bad[i], &e), ERR_ARG, "%s", bad[i]);
        cr_assert(strstr(e.text, "expected one such as 'C major'"));
    }
}

Test(chords, the_default_progression_lies_in_its_key) {
    static const char *const want[][4] = {{"D", "A", "Bm", "G"}, {"Dm", "Bb", "F", "C"}};
    for (int minor = 0; minor < 2; minor++) {
        progression p;
        chords_default(&p, (key){.tonic = 2, .minor = minor == 1}, 100);
        cr_assert_eq(p.count, 4);
        for (size_t i = 0; i < 4; i++) {
            chord c;
            cr_assert_eq(chords_parse_chord(&c, want[minor][i], NULL), OK);
            cr_assert(p.bars[i].mask == c.mask && p.bars[i].root == c.root &&
                      p.bars[i].third == c.third);
        }
    }
}

static const control_grid grid = {.columns_per_second = 50, .columns = 500};

Test(control, columns_follow_bar_and_beat) {
    static float out[500 * CONTROL_WIDTH];
    const double bpm = 93.5, start = 5, pi = acos(-1);
    const timing time = timing_even(bpm);
    control_fill(out, &grid, NULL, &time, start);
    for (int i = 0; i < 500; i++) {
        double beat = (start + (i + 0.5) / 50) * bpm / 60;
        const double a[] = {2 * pi * beat / 4, 2 * pi * beat, 8 * pi * beat};
        for (int k = 0; k < 3; k++) {
            cr_assert_float_eq(out[i * 12 + 2 * k], cos(a[k]), 1e-6);
            cr_assert_float_eq(out[i * 12 + 2 * k + 1], sin(a[k]), 1e-6);
        }
        for (int k = 6; k < 12; k++) cr_assert_eq(out[i * 12 + k], 0);
    }
}

Test(control, columns_tell_root_and_quality) {
    static float out[500 * CONTROL_WIDTH];
    static const struct {
        const char *name;
        double third, colour;
    } rows[] = {
        {"C", 1, 0},        {"F#m", -1, 0},     {"Gsus4", 1.0 / 3, 0}, {"Asus2", -1.0 / 3, 0},
        {"D5", 0, 0},       {"E7", 1, 1},       {"Bbmaj7", 1, -1},     {"Cm6", -1, 0.5},
        {"Cdim7", -1, 0.2}, {"Bm7b5", -1, 0.7}, {"Caug", 1, 0.3},      {"Cdim", -1, -0.3},
        {"G13", 1, 1},      {"Cadd9/E", 1, 0},  {"A7sus4", 1.0 / 3, 1}};
    const double pi = acos(-1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        progression p;
        cr_assert_eq(chords_parse_text(&p, rows[i].name, 120, NULL), OK);
        int r = p.bars[0].root;
        control_fill(out, &grid, &p, &p.time, 0);
        const float *v = out + 77 * 12;
        cr_assert_float_eq(v[6], cos(2 * pi * r / 12), 1e-6);
        cr_assert_float_eq(v[7], sin(2 * pi * r / 12), 1e-6);
        cr_assert_float_eq(v[8], cos(2 * pi * 7 * r / 12), 1e-6);
        cr_assert_float_eq(v[9], sin(2 * pi * 7 * r / 12), 1e-6);
        cr_assert_float_eq(v[10], rows[i].third, 1e-6, "%s", rows[i].name);
        cr_assert_float_eq(v[11], rows[i].colour, 1e-6, "%s", rows[i].name);
    }
}

Test(control, chords_change_with_the_bar_and_n_is_silent) {
    static float out[500 * CONTROL_WIDTH];
    progression p;
    cr_assert_eq(chords_parse_text(&p, "Am N", 120, NULL), OK);
    control_fill(out, &grid, &p, &p.time, 0); // 100 columns a bar
    for (int i = 0; i < 500; i++)
        cr_assert_eq(out[i * 12 + 10], (i / 100) % 2 ? 0.0f : -1.0f, "column %d", i);
}
