"""Phrases: from a seed to the notes of one stem, in one of twelve styles.

A pattern is one bar of sixteen steps.  In drums a letter is a hit (X loud, x soft, ? sometimes).
Elsewhere X and x are the whole chord, a digit is a chord tone counted upwards (0 the root), - holds
and . is silence.
"""

import numpy as np

import control

STEMS = ["drums", "bass", "guitar", "piano", "synth", "vocals", "other"]
STEPS = 16

# General MIDI percussion
KICK, RIM, SNARE, CLAP, CLOSED, PEDAL, OPEN = 36, 37, 38, 39, 42, 44, 46
TOM_LOW, TOM_MID, TOM_HIGH, CRASH, RIDE, TAMB, COWBELL, SHAKER, CONGA, CLAVE = 45, 47, 50, 49, 51, 54, 56, 70, 64, 75

# style: bpm centre, swing (share of a step), drum kit program, chord flavours, minor share
STYLES = {
    "rock": dict(bpm=120, kit=16, swing=0, sevenths=0.05, minor=0.4),
    "pop": dict(bpm=108, kit=0, swing=0, sevenths=0.1, minor=0.4),
    "funk": dict(bpm=104, kit=0, swing=0.12, sevenths=0.7, minor=0.6),
    "jazz": dict(bpm=140, kit=32, swing=0.66, sevenths=0.95, minor=0.4),
    "blues": dict(bpm=92, kit=0, swing=0.66, sevenths=0.8, minor=0.3),
    "hip hop": dict(machine=0.5, bpm=88, kit=25, swing=0.2, sevenths=0.4, minor=0.7),
    "house": dict(machine=0.6, bpm=124, kit=25, swing=0, sevenths=0.5, minor=0.6),
    "techno": dict(machine=0.7, bpm=132, kit=24, swing=0, sevenths=0.1, minor=0.9),
    "ambient": dict(machine=0.3, bpm=80, kit=24, swing=0, sevenths=0.5, minor=0.5),
    "folk": dict(bpm=100, kit=40, swing=0, sevenths=0.05, minor=0.3),
    "latin": dict(bpm=112, kit=0, swing=0, sevenths=0.5, minor=0.5),
    "classical": dict(bpm=96, kit=48, swing=0, sevenths=0.15, minor=0.4),
}

K, S, H, O, R, C, P, T = KICK, SNARE, CLOSED, OPEN, RIDE, CLAP, RIM, TAMB
DRUMS = {
    "rock": [
        {K: "X.......X.......", S: "....X.......X...", H: "X.x.X.x.X.x.X.x."},
        {K: "X.....?.X.x.....", S: "....X.......X...", H: "X.x.X.x.X.x.X.x."},
        {K: "X..x....X.X.....", S: "....X.......X..?", R: "X.x.X.x.X.x.X.x."}],
    "pop": [
        {K: "X.......X.x.....", S: "....X.......X...", H: "x.x.x.x.x.x.x.x."},
        {K: "X...X...X...X...", S: "....X.......X...", H: "..X...X...X...X."},
        {K: "X.....x...X.....", C: "....X.......X...", H: "x.x.x.x.x.x.x.x.", T: "....x.......x..."}],
    "funk": [
        {K: "X..x..X...x..x..", S: "....X..x.x..X..x", H: "X.xxX.xxX.xxX.xx"},
        {K: "X.X.......X..x..", S: "....X..x....X..?", H: "XxxxXxxxXxxxXxxx"},
        {K: "X.....X..xX.....", S: "....X..x.x..X...", H: "X.x.X.x.X.x.X...", O: "..............X."}],
    "jazz": [
        {R: "X...X.x.X...X.x.", PEDAL: "....X.......X...", K: "x.......x......."},
        {R: "X...X.x.X...X.x.", PEDAL: "....X.......X...", S: "......?...x....?"},
        {R: "X...X.x.X...X.x.", PEDAL: "....X.......X...", K: "x.........x.....", S: "....?.........x."}],
    "blues": [
        {K: "X.......X.......", S: "....X.......X...", H: "X.x.X.x.X.x.X.x."},
        {K: "X.....x.X.......", S: "....X.......X...", R: "X.x.X.x.X.x.X.x."},
        {K: "X.....x.X.....?.", S: "....X.......X...", H: "X...X...X...X..."}],
    "hip hop": [
        {K: "X.....x...X.....", S: "....X.......X...", H: "x.x.x.x.x.x.x.x."},
        {K: "X..x......X..?..", C: "....X.......X...", H: "x.x.x.xxx.x.x.x."},
        {K: "X......x..X.....", S: "........X.......", H: "x.x.xxx.x.x.x.xx"}],
    "house": [
        {K: "X...X...X...X...", C: "....X.......X...", O: "..X...X...X...X."},
        {K: "X...X...X...X...", C: "....X.......X...", O: "..X...X...X...X.", H: "x.x.x.x.x.x.x.x."},
        {K: "X...X...X...X..?", S: "....X.......X...", O: "..X...X...X...X.", SHAKER: "xxxxxxxxxxxxxxxx"}],
    "techno": [
        {K: "X...X...X...X...", H: "..X...X...X...X."},
        {K: "X...X...X...X...", O: "..X...X...X...X.", H: "xxxxxxxxxxxxxxxx", C: "....X.......X..."},
        {K: "X...X...X...X...", H: "x.Xxx.Xxx.Xxx.Xx", P: "...x..x....x..x."}],
    "ambient": [
        {K: "X...............", H: "....x.......x..."},
        {K: "X.........x.....", P: "........X......."},
        {K: "X.......x.......", SHAKER: "x.x.x.x.x.x.x.x."}],
    "folk": [
        {K: "X.......X.......", S: "....x.......x...", SHAKER: "x.x.x.x.x.x.x.x."},
        {K: "X.......X.......", T: "....X.......X..."},
        {K: "X.....x.X.......", S: "....x..x....x..x"}],
    "latin": [
        {K: "X.....X.X.....X.", CLAVE: "X..X..X...X.X...", SHAKER: "X.x.X.x.X.x.X.x."},
        {K: "X..x..X.X..x..X.", P: "X..X..X...X.X...", H: "X.x.X.x.X.x.X.x."},
        {K: "X.......X.......", CONGA: "..x...XX..x...XX", COWBELL: "X...X...X...X..."}],
    "classical": [
        {K: "X...............", S: "....x...x...x..."},
        {K: "X.......x.......", S: "....x.xx....x..."},
        {K: "X.......X.......", CRASH: "x..............."}],
}

BASS = {
    "rock": ["0-0-0-0-0-0-0-0-", "0---0-0-0---0-0-", "0-----0-0---2---"],
    "pop": ["0---0-0-0-------", "0-----0-0-----0-", "0-------2---0---"],
    "funk": ["0..0..3.0.2..3..", "0.30..0...2.3...", "0-.0..3-..0.2.3."],
    "jazz": ["0---1---2---3---", "0---2---1---2---", "0---1---2---1---"],
    "blues": ["0---1---2---1---", "0-0-2-2-0-0-2-2-", "0---2---3---2---"],
    "hip hop": ["0-----0...0-----", "0---------0-..0.", "0-......0--..3.."],
    "house": ["..0-..0-..0-..0-", "0..0..0.0..0..3.", "..0-..0-..3-..0-"],
    "techno": ["..0...0...0...0.", ".000.000.000.000", "0-0-0-0-0-0-0-0-"],
    "ambient": ["0---------------", "0-------2-------", "0-----------0---"],
    "folk": ["0-------2-------", "0---2---0---2---", "0-----2-0-------"],
    "latin": ["0-----2-----0---", "0-----2-3-----2-", "0..0--2-0..0--2-"],
    "classical": ["0-------2-------", "0---2---1---2---", "0---------------"],
}

CHORDAL = {
    "guitar": {
        "rock": ["X-x-x-x-X-x-x-x-", "X-------X---X---", "X-.x-.X-X-.x-.x-"],
        "pop": ["X---x-x---x-x-x-", "0-1-2-1-3-1-2-1-", "X-------X-----x-"],
        "funk": ["X..x..X...x.X...", "..X...X...X..x..", "X.x...x.X.x...xx"],
        "jazz": ["X---x---X---x---", "X-....X-........", "..X-......X-...."],
        "blues": ["X-x-X-x-X-x-X-x-", "X---X---X---X---", "0-1-2-1-3-2-1-0-"],
        "folk": ["X---x-x---x-x-x-", "0-2-1-2-3-2-1-2-", "0-3-2-3-1-3-2-3-"],
        "latin": ["X-.x-.X-..X-x-..", "0-..3-2-..1-3-..", "X---..X-X---..X-"],
        "ambient": ["0---1---2---3---", "X---------------", "0-------2-------"],
        "classical": ["0-2-3-2-1-2-3-2-", "0-1-2-3-2-1-2-1-", "0---2-3-2---1-2-"],
        "": ["X---....X---....", "..X-..X-..X-..X-", "0-1-2-3-0-1-2-3-"]},
    "piano": {
        "rock": ["X---X---X---X---", "X-x-x-x-X-x-x-x-", "X-----X-----X---"],
        "pop": ["X---X---X---X---", "X-----X-----X---", "0-2-3-2-0-2-3-2-"],
        "jazz": ["X-....X-........", "....X-......X-..", "X-......X-..X-.."],
        "blues": ["X---X---X---X---", "X-.x-.X-X-.x-.X-", "0-1-2-1-3-2-1-0-"],
        "funk": ["X..X..X...X..X..", "..X...X...X..x..", "X..x..X.....X..."],
        "house": ["X..X..X..X..X.X.", "..X-..X-..X-..X-", "X--X--X-..X--X--"],
        "latin": ["X-.X-.X-.X-X-.X-", "0-3-.3-2-.3-1-3-", "X-..X-X-..X-X-.."],
        "ambient": ["0---1---2---3---", "X---------------", "X-------3-------"],
        "classical": ["0-2-1-2-0-2-1-2-", "0-1-2-3-4-3-2-1-", "X-------X---X---"],
        "": ["X---X---X---X---", "X-------X-------", "0-1-2-3-2-1-2-1-"]},
    "synth": {
        "house": ["X..X..X..X..X.X.", "0.2.3.0.2.3.0.2.", "X-------........"],
        "techno": ["0.3.0.2.0.3.0.2.", "00.0.00.00.0.03.", "..X...X...X...X."],
        "ambient": ["X---------------", "X---------------", "0---2---3---4---"],
        "funk": ["X..x..X.....X...", "0..3..2.0..3.2..", "..X...X...X...X."],
        "": ["X---------------", "0-1-2-3-0-1-2-3-", "X-------X-------", "0-2-3-2-1-2-3-2-"]},
    "vocals": {"": ["X---------------", "X-------X-------", "4-------3---2---", "2-----3-4-------",
                    "X-----------X---", "3---4---3---2---"]},
    "other": {
        "funk": ["X.....X.......X.", "X..X....X..X....", "3-..4-3-2-......"],
        "jazz": ["4-3-2---..3-4---", "3---4-5-4---2---", "X-....X-........"],
        "classical": ["X---------------", "3---4---5---4---", "0-1-2-1-3-1-2-1-"],
        "latin": ["X-..X-X-..X-....", "3-4-..5-4-..3---", "X-X-....X-X-...."],
        "": ["X---------------", "X-------X-------", "3---4---3---2---", "4-----3-2-------"]},
}

# (bank, program, word): General MIDI presets of the sound fonts, or our own instruments (analog.py)
VOICE, DRUM_MACHINE = 1000, 1001
PRESETS = {
    "bass": {"jazz": [(0, 32, "upright bass")], "folk": [(0, 32, "upright bass")], "classical": [(0, 32, "double bass")],
             "blues": [(0, 33, "finger bass")], "funk": [(0, 33, "finger bass"), (0, 36, "slap bass")], "rock": [(0, 34, "picked bass")],
             "house": [(0, 38, "synth bass"), (VOICE, 4, "sub bass")], "techno": [(0, 38, "synth bass"), (VOICE, 3, "acid bass")],
             "hip hop": [(0, 38, "synth bass"), (VOICE, 4, "sub bass"), (0, 33, "finger bass")],
             "pop": [(0, 33, "finger bass"), (0, 34, "picked bass")], "": [(0, 33, "finger bass")]},
    "guitar": {"rock": [(0, 29, "overdriven guitar"), (0, 30, "distorted guitar"), (0, 27, "clean guitar")],
               "folk": [(0, 25, "steel string guitar")], "classical": [(0, 24, "nylon guitar")], "latin": [(0, 24, "nylon guitar")],
               "jazz": [(0, 26, "jazz guitar")], "blues": [(0, 27, "clean guitar"), (0, 29, "overdriven guitar")],
               "funk": [(0, 27, "clean guitar"), (0, 28, "muted guitar")], "house": [(0, 28, "muted guitar"), (0, 27, "clean guitar")],
               "": [(0, 27, "clean guitar"), (0, 25, "acoustic guitar")]},
    "piano": {"jazz": [(0, 0, "grand piano")], "funk": [(0, 4, "electric piano")], "hip hop": [(0, 4, "electric piano"), (0, 0, "grand piano")],
              "house": [(0, 1, "bright piano")], "pop": [(0, 0, "grand piano"), (0, 1, "bright piano")],
              "blues": [(0, 0, "grand piano"), (0, 3, "honky tonk piano")], "": [(0, 0, "grand piano")]},
    "synth": {"ambient": [(0, 89, "warm pad"), (VOICE, 2, "analog pad")], "techno": [(0, 81, "saw lead"), (VOICE, 0, "analog lead"), (VOICE, 5, "analog pluck")],
              "house": [(0, 81, "saw lead"), (0, 90, "polysynth"), (VOICE, 5, "analog pluck")],
              "hip hop": [(0, 89, "warm pad"), (VOICE, 1, "square lead"), (VOICE, 2, "analog pad")],
              "": [(0, 89, "warm pad"), (0, 81, "saw lead"), (VOICE, 0, "analog lead")]},
    "vocals": {"": [(0, 52, "choir aahs"), (0, 53, "voice oohs")]},
    "other": {"jazz": [(0, 66, "tenor sax"), (0, 56, "trumpet"), (0, 11, "vibraphone")], "funk": [(0, 61, "brass section")],
              "classical": [(0, 48, "strings"), (0, 73, "flute"), (0, 40, "violin")], "folk": [(0, 73, "flute"), (0, 40, "violin"), (0, 21, "accordion")],
              "latin": [(0, 56, "trumpet"), (0, 12, "marimba")], "blues": [(0, 16, "organ"), (0, 66, "tenor sax")],
              "rock": [(0, 16, "organ"), (0, 48, "strings")], "": [(0, 48, "strings"), (0, 61, "brass section")]},
}
POWER = (29, 30)    # guitars that play power chords
HIGH = (73, 56, 40, 11)     # programs that play an octave higher

# lowest pitch of the root, and how the sound behaves
RANGE = {"bass": 28, "guitar": 43, "piano": 53, "synth": 53, "vocals": 53, "other": 53}

MAJOR = [0, 2, 4, 5, 7, 9, 11]
MINOR = [0, 2, 3, 5, 7, 8, 10]
MAJOR_QUALITY = ["", "m", "m", "", "", "m", "dim"]
MINOR_QUALITY = ["m", "dim", "", "m", "m", "", ""]
PROGRESSIONS = {
    False: [[0, 4, 5, 3], [0, 5, 3, 4], [0, 3, 4, 0], [0, 0, 3, 4], [5, 3, 0, 4], [1, 4, 0, 0], [0, 2, 3, 4],
            [0, 3], [0, 4], [0, 3, 0, 4, 0, 3, 4, 0]],
    True: [[0, 5, 2, 6], [0, 3, 4, 0], [0, 6, 5, 4], [0, 5, 3, 4], [0, 0, 3, 4], [0, 6], [0, 3], [0, 2, 5, 6]],
}


def weighted(rng, odds):
    names = list(odds)
    p = np.array([odds[n] for n in names], float)
    return names[rng.choice(len(names), p=p / p.sum())]


def draw_chords(rng, root, minor, style):
    """One chord a bar: a common progression or a free walk, with the style's share of richer chords."""
    scale, quality = (MINOR, MINOR_QUALITY) if minor else (MAJOR, MAJOR_QUALITY)
    if rng.random() < 0.7:
        lines = PROGRESSIONS[minor]
        degrees = lines[rng.integers(len(lines))]
    else:
        degrees = [int(rng.choice(7, p=[.22, .13, .1, .18, .18, .15, .04])) for _ in range(rng.choice([2, 4, 4, 8]))]
    seventh = rng.random() < STYLES[style]["sevenths"]
    chords = []
    for d in degrees:
        q, r = quality[d], (root + scale[d]) % 12
        if seventh:
            dominant = (d == 4) or style in ("blues", "funk") and q == "" and not minor
            q = {"m": "m7", "dim": "m7b5", "": "7" if dominant else "maj7"}[q]
        elif rng.random() < 0.1 and q in ("", "m"):
            q = str(rng.choice(["sus4", "sus2", "7" if q == "" else "m7"]))
        elif rng.random() < 0.15:
            r, q = int(rng.integers(12)), str(rng.choice(["", "m", "7", "m7", "maj7", "dim"]))
        chords.append((r, q))
    return chords


class Song:
    """What all stems of one request share."""

    quarters = control.BEATS_PER_BAR  # of a bar

    def __init__(self, rng, stem=None, style=None, bpm=None, chords=None, key=None):
        self.style = style or str(rng.choice(list(STYLES)))
        self.stem = stem or weighted(rng, {"drums": 30, "bass": 14, "guitar": 13, "piano": 13, "synth": 11,
                                           "vocals": 8, "other": 11})
        about = STYLES[self.style]
        if bpm is None:
            centre = about["bpm"]
            bpm = centre * 2 ** rng.normal(0, 0.25) if rng.random() < 0.6 else 60 * 3 ** rng.random()
            bpm = float(np.clip(bpm, 60, 180))
            bpm = round(bpm) if rng.random() < 0.7 else round(bpm, 1)
        self.bpm = bpm
        self.minor = bool(rng.random() < about["minor"])
        self.root = int(rng.integers(12))
        if key is not None:
            self.root, self.minor = key
        self.chords = chords or draw_chords(rng, self.root, self.minor, self.style)
        self.start = 0.0 if rng.random() < 0.5 else float(rng.uniform(0, 45))
        self.density = str(rng.choice(["sparse", "", "", "busy"]))
        self.tone = str(rng.choice(["dark", "", "", "", "bright"]))
        self.font = int(rng.random() < 0.35)
        self.room = str(rng.choice(["dry", "", "", "roomy"]))

    def step_time(self, step):
        """Seconds of a sixteenth step counted from bar 1, with the style's swing."""
        swing = STYLES[self.style]["swing"]
        step_s = 15 / self.bpm
        at = step * step_s
        if swing > 0.5 and step % 4 == 2:
            at += step_s * 2 * (swing - 0.5)
        elif 0 < swing < 0.5 and step % 2 == 1:
            at += step_s * swing
        return at

    def hits(self, rng, bars):
        return drum_bars(rng, self, bars)

    def notes(self, rng, bars):
        return tone_notes(rng, self, bars)

    def control(self):
        return control.track(self.bpm, self.chords, self.start)

    def presets(self):
        return PRESETS[self.stem].get(self.style) or PRESETS[self.stem][""]


def vary(rng, pattern, density):
    """One realisation of a pattern: thinned when sparse, filled when busy."""
    out = []
    for i, c in enumerate(pattern):
        if c == "?":
            c = "x" if rng.random() < 0.5 else "."
        if density == "sparse" and c in "x" and i % 4:
            c = "." if rng.random() < 0.6 else c
        out.append(c)
    return "".join(out)


def drum_bars(rng, song, bars):
    """{bar: [(step, note, velocity)]}: a two-bar groove, a fill every fourth or eighth bar."""
    kit = DRUMS[song.style][rng.integers(len(DRUMS[song.style]))]
    base = {n: vary(rng, p, song.density) for n, p in kit.items()}
    if song.density == "busy" and CLOSED in base and song.bpm < 130:
        base[CLOSED] = "".join(c if c != "." else "x" for c in base[CLOSED])
    answer = dict(base)
    if KICK in base and rng.random() < 0.3 and song.style not in ("house", "techno"):
        line = list(base[KICK])
        line[int(rng.choice([6, 10, 14]))] = "x"
        answer[KICK] = "".join(line)
    every = int(rng.choice([4, 8]))
    fill = rng.random() < 0.6
    toms = [SNARE, TOM_HIGH, TOM_MID, TOM_LOW] if song.style not in ("hip hop",) else [SNARE]
    out = {}
    for bar in bars:
        hits = []
        for note, line in (base if bar % 2 == 0 else answer).items():
            for step, c in enumerate(line):
                if c in "Xx":
                    hits.append((step, note, 112 if c == "X" else 74))
        if fill and bar % every == every - 1:
            hits = [h for h in hits if h[0] < 12 or h[1] in (KICK, CLOSED, RIDE, OPEN)]
            for i in range(4):
                hits.append((12 + i, toms[min(i, len(toms) - 1)], 90 + 6 * i))
        if fill and bar % every == 0 and bar > 0 and song.style not in ("ambient", "house"):
            hits.append((0, CRASH, 96))
        out[bar] = hits
    return out


def voicing(chord, lowest, tones=6):
    """Chord tones upwards from the lowest root at or above `lowest`."""
    root, quality = chord
    base = lowest + (root - lowest) % 12
    steps = control.QUALITIES[quality]
    return [base + steps[i % len(steps)] + 12 * (i // len(steps)) for i in range(tones)]


def close_chord(chord, lowest):
    """The chord's tones packed inside the octave that begins at `lowest`, so that chords lead smoothly."""
    return sorted(lowest + (c - lowest) % 12 for c in control.pitch_classes(chord))


def open_chord(chord, lowest):
    """A guitar's: root, fifth, then the other tones above the octave."""
    root = voicing(chord, lowest)[0]
    steps = control.QUALITIES[chord[1]]
    fifth = next((s for s in steps if 6 <= s <= 8), 7)
    return [root, root + fifth] + [root + 12 + s for s in steps if s != fifth] + [root + 12 + fifth]


def pick(table, style, rng):
    lines = table.get(style) or table[""]
    return lines[rng.integers(len(lines))]


def tone_notes(rng, song, bars):
    """[(start step, steps held, [pitches], velocity)] of a pitched stem."""
    stem = song.stem
    table = BASS if stem == "bass" else CHORDAL[stem]
    line = pick(table, song.style, rng)
    power = stem == "guitar" and song.preset[1] in POWER
    low = RANGE[stem] - (3 if power else 0) + (12 if song.preset[:2] in [(0, p) for p in HIGH] else 0)
    if song.density == "sparse" and rng.random() < 0.5:
        line = line[:8] + ("-" if line[7] not in "." else ".") * 8
    out = []
    for bar in bars:
        step = 0
        while step < STEPS:
            c = line[step]
            if c in ".-":
                step += 1
                continue
            held = 1
            while step + held < STEPS and line[step + held] == "-":
                held += 1
            chord = control.chord_at(song.chords, bar)
            if chord is not None:
                ladder = voicing(chord, low)
                if c in "Xx":
                    if power:
                        pitches = [ladder[0], ladder[0] + 7, ladder[0] + 12]
                    else:
                        pitches = close_chord(chord, low)
                        if stem == "piano" and c == "X":
                            pitches = [voicing(chord, 36)[0]] + pitches
                        if stem == "guitar":
                            pitches = open_chord(chord, low)
                else:
                    pitches = [ladder[int(c)]]
                    if stem == "bass":
                        tones = control.QUALITIES[chord[1]]
                        move = {0: 0, 1: tones[1], 2: tones[2] if len(tones) > 2 else 7, 3: 12}[int(c)]
                        pitches = [ladder[0] + move]
                accent = 100 if c == "X" or step % 4 == 0 else 84
                out.append((bar * STEPS + step, held, pitches, accent))
            step += held
    return out


def compose(rng, song, seconds):
    """Events [(seconds from the window's start, on?, channel, pitch, velocity)], sorted, and the preset."""
    lead = 2.5
    bar_s = 60 * song.quarters / song.bpm
    first = max(0, int((song.start - lead) // bar_s))
    last = int((song.start + seconds) // bar_s) + 1
    bars = range(first, last + 1)
    jitter = 0.003
    events = []

    def add(at, held, pitch, velocity):
        at = max(at, 0.0) - song.start
        velocity = int(np.clip(velocity + rng.normal(0, 4), 20, 127))
        events.append((at, 1, pitch, velocity))
        events.append((at + held, 0, pitch, 0))

    if song.stem == "drums":
        machine = rng.random() < STYLES[song.style].get("machine", 0)
        song.preset = (DRUM_MACHINE, 0, "drum machine") if machine else (128, STYLES[song.style]["kit"], "drum kit")
        for bar, hits in song.hits(rng, bars).items():
            for step, note, velocity in hits:
                add(song.step_time(bar * 4 * song.quarters + step) + rng.normal(0, jitter), 0.2, note, velocity)
    else:
        presets = song.presets()
        song.preset = presets[rng.integers(len(presets))]
        stroke = rng.uniform(0.006, 0.014)
        for step, held, pitches, velocity in song.notes(rng, bars):
            at = song.step_time(step)
            length = (song.step_time(step + held) - at) * (0.92 if held > 1 else 0.8)
            strum = stroke if song.stem == "guitar" and len(pitches) > 1 else 0.0
            moved = rng.normal(0, jitter)
            up = step % 4 == 2 and rng.random() < 0.6
            for i, pitch in enumerate(reversed(pitches) if up else pitches):
                add(at + moved + strum * i, length - strum * i, pitch, velocity)
    return sorted(events)
