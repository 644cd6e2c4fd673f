"""Wider music than music.py's, to train on: the same stems and styles, but many more patterns, and notes that last.

A piece may be in 3/4 or 6/8, have two chords a bar and notes under its chords (C/E), at 60 to 200 bpm.  Its groove is a number
that captions may name: drums and bass with the same number play together, the bass on the kick.  Melodies are phrases
that come back; notes and common tones of chords are held over bar lines.  Held-out requests (heldout.py) stay music.py's.
"""

import numpy as np

import control
import music

GROOVES = 40  # of each style and meter
SLOW = 85  # bpm under which loud drums keep to the beats, so that nobody hears double the tempo
SUNG = (music.VOICE, 6, "sung vowels")
MELODIC = {"vocals": 0.7, "other": 0.6, "synth": 0.35, "guitar": 0.25, "piano": 0.25}  # how often a stem has a melody
TYING = {"vocals": 0.8, "other": 0.7, "synth": 0.7, "piano": 0.3, "bass": 0.4}  # how often it holds over bar lines what it can
CELLS = {16: [(4, 4, 4, 4), (6, 6, 4), (8, 4, 4), (4, 4, 8), (12, 4), (6, 2, 8), (2, 2, 4, 8), (16,), (3, 3, 2, 8)],
         12: [(4, 4, 4), (8, 4), (6, 6), (12,), (2, 2, 2, 6), (6, 2, 2, 2), (4, 2, 2, 4)]}  # fmt: skip


class Piece(music.Song):
    def __init__(self, rng, **fixed):
        super().__init__(rng, **fixed)
        if fixed.get("bpm") is None and rng.random() < 0.4:
            self.bpm = round(60 * (200 / 60) ** rng.random(), int(rng.random() < 0.3))
        self.meter = music.weighted(rng, {"4/4": 8, "3/4": 1, "6/8": 1})
        self.quarters, self.pulse, self.half = control.METERS[self.meter]
        self.steps, self.beat = 4 * self.quarters, int(4 * self.pulse)  # of a bar, of the beat that is felt
        self.per_bar = 2 if rng.random() < 0.2 else 1
        if self.per_bar == 2 and not fixed.get("chords"):
            self.chords = self.chords + music.draw_chords(rng, self.root, self.minor, self.style)
        self.lowest = [_under(rng, chord) for chord in self.chords]
        self.groove = int(rng.integers(GROOVES))

    def step_time(self, step):
        return step * 15 / self.bpm if self.meter == "6/8" else super().step_time(step)

    def presets(self):
        return [*super().presets(), SUNG, SUNG] if self.stem == "vocals" else super().presets()

    def asked(self):
        """The chords that the control track names: the bass is told its own."""
        return [on_bass(c, low) for c, low in zip(self.chords, self.lowest)] if self.stem == "bass" else self.chords

    def control(self):
        return control.track(self.bpm, self.asked(), self.start, meter=self.meter, per_bar=self.per_bar)

    def chord(self, step):
        return control.chord_of(self.asked(), step / 4, self.meter, self.per_bar)

    def whole(self, step):
        """The chord of all stems, whatever note the bass has under it."""
        return control.chord_of(self.chords, step / 4, self.meter, self.per_bar)

    def hits(self, rng, bars):
        return drum_bars(rng, self, bars)

    def notes(self, rng, bars):
        if self.stem == "bass":
            notes = bass_line(rng, self, bars)
        elif rng.random() < MELODIC[self.stem]:
            notes = melody(rng, self, bars)
        else:
            notes = chord_line(rng, self, bars)
        return tied(notes, self.steps) if rng.random() < TYING.get(self.stem, 0) else notes


def _under(rng, chord):
    """A chord tone other than the root as the lowest note, now and then; None: the root."""
    tones = control.pitch_classes(chord)[1:]
    return int(rng.choice(tones)) if rng.random() < 0.08 else None


def on_bass(chord, low):
    """What a bass plays under chord/low, as the program tells it: that note, with the chord's third over it."""
    if low is None:
        return chord
    tones = control.pitch_classes(chord)
    return low, "" if (low + 4) % 12 in tones else "m" if (low + 3) % 12 in tones else "5"


# Drums


def groove(song):
    """{note: line} of one bar: the pattern of that number of the style and meter, whoever asks."""
    rng = np.random.default_rng([list(music.STYLES).index(song.style), song.groove, song.steps, song.beat])
    kit = music.DRUMS[song.style][song.groove % len(music.DRUMS[song.style])]
    lines = dict(kit) if song.steps == 16 else _in_three(rng, kit, song.beat == 6)
    return {note: _changed(rng, line, note, song.beat) for note, line in lines.items()}


def _in_three(rng, kit, compound):
    """The kit's drums in a bar of three quarters, or of two dotted ones."""
    backbeat = "......X....." if compound else str(rng.choice(["....x...x...", "....X.......", "........X..."]))
    pulse = "X.x.x.X.x.x." if compound else str(rng.choice(["X.x.X.x.X.x.", "X...x...x..."]))
    named = {music.KICK: "X...........", music.SNARE: backbeat, music.CLAP: backbeat, music.RIM: backbeat}
    return {note: named.get(note, pulse) for note in kit}


def _changed(rng, line, note, beat):
    """A line of the style's with a few of its softer hits added or left out; what is loud or on the beat stays."""
    out = list(line.replace("?", "."))
    free = [i for i in range(1, len(out)) if i % beat and out[i] != "X"]
    for _ in range(rng.integers(0, 4)):
        i = int(rng.choice(free))
        if note in (music.KICK, music.SNARE, music.CLAP, music.RIM):
            out[i] = "x" if out[i] == "." and (note == music.KICK and i % 2 == 0 or note == music.SNARE) else "."
        else:
            out[i] = "x" if out[i] == "." else "."
    return "".join(out)


def _kept_slow(line, beat):
    return "".join("." if c == "." else c if i % beat == 0 else "x" for i, c in enumerate(line))


def drum_bars(rng, song, bars):
    """{bar: [(step, note, velocity)]}: the groove, its answer every other bar, a fill every fourth or eighth."""
    lines = {n: music.vary(rng, line, song.density) for n, line in groove(song).items()}
    soft = 74
    if song.bpm < SLOW:
        lines, soft = {n: _kept_slow(line, song.beat) for n, line in lines.items()}, 48
    answer = {n: _changed(rng, line, n, song.beat) if n == music.KICK and rng.random() < 0.4 else line for n, line in lines.items()}
    every, filled = int(rng.choice([4, 8])), rng.random() < 0.6
    out = {}
    for bar in bars:
        hits = [(i, note, 112 if c == "X" else soft) for note, line in (answer if bar % 2 else lines).items() for i, c in enumerate(line) if c in "Xx"]
        if filled and bar % every == every - 1:
            hits = [h for h in hits if h[0] < song.steps - 4] + _fill(rng, song.steps)
        if filled and bar and bar % every == 0:
            hits.append((0, music.CRASH, 96))
        out[bar] = hits
    return out


def _fill(rng, steps):
    """The bar's last beat: snare and toms, downwards."""
    drums = [music.SNARE, music.TOM_HIGH, music.TOM_MID, music.TOM_LOW]
    return [(steps - 4 + i, drums[i], 88 + 6 * i) for i in range(4) if i == 0 or rng.random() < 0.8]


# Bass


def bass_line(rng, song, bars):
    """On the groove's kick, with what the groove adds between; every note lasts to the next, or is cut short."""
    own = np.random.default_rng([song.groove, song.steps, 7])
    kick = groove(song).get(music.KICK, "X").ljust(song.steps, ".")
    begins = sorted({0} | {i for i, c in enumerate(kick) if c in "Xx"} | {i for i in range(2, song.steps, 2) if own.random() < 0.25})
    changes = {int(4 * song.half)} if song.per_bar == 2 else set()
    begins = sorted(set(begins) | changes)
    moves = {i: "root" if i == 0 or i in changes or kick[i] in "Xx" and own.random() < 0.7 else str(own.choice(["fifth", "octave", "third", "next"]))
             for i in begins}  # fmt: skip
    cut = own.choice([1.0, 1.0, 0.5])
    out = []
    for bar in bars:
        for i, end in zip(begins, begins[1:] + [song.steps]):
            step = bar * song.steps + i
            pitch = _bass_note(song, step, moves[i], bar * song.steps + end)
            out.append((step, max(1, round((end - i) * cut)), [pitch], 100 if i % song.beat == 0 else 86))
    return out


def _bass_note(song, step, move, after):
    low = music.voicing(song.chord(step), music.RANGE["bass"])[0]
    if move == "next":  # a semitone or a tone below where the next note begins, an octave over that where it is too low
        near = music.voicing(song.chord(after), music.RANGE["bass"])[0] - 1 - (step // 2) % 2
        return near if near >= music.RANGE["bass"] else near + 12
    tones = control.pitch_classes(song.whole(step))
    above = [low + 1 + (pc - low - 1) % 12 for pc in tones]  # the chord's tones over the lowest note
    return {"root": low, "third": above[1], "fifth": above[min(2, len(tones) - 1)], "octave": low + 12}[move]


# Chords


def chord_line(rng, song, bars):
    """Chords and broken chords in a rhythm of the style's, changed a little; two bars long."""
    lines = []
    for _ in range(2):
        line = music.pick(music.CHORDAL[song.stem], song.style, rng)
        lines.append(_shifted(rng, line[: song.steps]))
    if rng.random() < 0.5:
        lines[1] = lines[0]
    low = music.RANGE[song.stem] + (12 if song.preset[:2] in [(0, p) for p in music.HIGH] else 0)
    out = []
    for bar in bars:
        for step, held, sign in _spans(lines[bar % 2], song):
            at = bar * song.steps + step
            out.append((at, held, _pitches(song, sign, song.chord(at), low), 100 if sign == "X" or step % song.beat == 0 else 84))
    return out


def _shifted(rng, line):
    """The line with up to two of its later hits a sixteenth or an eighth earlier."""
    out = list(line)
    for _ in range(rng.integers(0, 3)):
        hits = [i for i, c in enumerate(out) if c not in "-." and i >= 4]
        if hits:
            i = int(rng.choice(hits))
            to = i - int(rng.choice([1, 2]))
            if out[to] in "-.":
                out[to], out[i] = out[i], "-"
    return "".join(out)


def _spans(line, song):
    """[(step, steps held, sign)]; what sounds where the chord changes within the bar begins anew there."""
    change = int(4 * song.half) if song.per_bar == 2 else song.steps
    out, step = [], 0
    while step < len(line):
        held = 1
        while step + held < len(line) and line[step + held] == "-" and line[step] not in "-.":
            held += 1
        if line[step] not in "-.":
            parts = [(step, change), (change, step + held)] if step < change < step + held else [(step, step + held)]
            out += [(a, b - a, line[step]) for a, b in parts]
        step += held
    return out


def _pitches(song, sign, chord, low):
    if sign not in "Xx":
        return [music.voicing(chord, low)[int(sign)]]
    if song.stem == "guitar":
        power = song.preset[1] in music.POWER
        root = music.voicing(chord, low)[0]
        return [root, root + 7, root + 12] if power else music.open_chord(chord, low)
    left = [music.voicing(chord, 36)[0]] if song.stem == "piano" and sign == "X" else []
    return left + music.close_chord(chord, low)


def tied(notes, steps):
    """One note for two that meet at a bar line with the same pitch: melodies and common tones are held across it."""
    out, open_ = [], {}
    for step, held, pitches, velocity in sorted((s, h, [p], v) for s, h, many, v in notes for p in many):
        before = open_.get(pitches[0])
        if before and step % steps == 0 and before[0] + before[1] == step and before[1] < 2 * steps:
            before[1] += held
        else:
            open_[pitches[0]] = note = [step, held, pitches, velocity]
            out.append(note)
    return [tuple(note) for note in out]


# Melodies


def melody(rng, song, bars):
    """Phrases of two bars, A A B A: a rhythm that crosses its bar line, a line of steps in the key, chord tones on the beats."""
    phrases = [_phrase(rng, song), _phrase(rng, song)]
    low = music.RANGE[song.stem] + (12 if song.preset[:2] in [(0, p) for p in music.HIGH] else 7)
    keys = [p for p in range(low, low + 24) if (p - song.root) % 12 in (music.MINOR if song.minor else music.MAJOR)]
    out = []
    for pair in range(bars[0] // 2, bars[-1] // 2 + 1):
        at, place = 2 * pair * song.steps, len(keys) // 2
        for length, move in phrases[(0, 0, 1, 0)[pair % 4]]:
            if move is not None:
                place = int(np.clip(place + move, 0, len(keys) - 1))
                out.append((at, length, [_sung_note(song, at, length, keys[place])], 100 if at % song.beat == 0 else 88))
            at += length
    return [note for note in out if bars[0] * song.steps <= note[0] < (bars[-1] + 1) * song.steps]


def _phrase(rng, song):
    """[(steps, move in the key; None: a rest)] of two bars; with luck one note is held over the bar line between."""
    cells = [CELLS[song.steps][i] for i in rng.integers(0, len(CELLS[song.steps]), 2)]
    lengths = [*cells[0], *cells[1]]
    if rng.random() < 0.6:
        k = len(cells[0])
        lengths[k - 1 : k + 1] = [lengths[k - 1] + lengths[k]]
    moves = [int(m) for m in rng.choice([-2, -1, -1, 0, 1, 1, 2, 3], len(lengths))]
    return [(n, None if n <= 4 and rng.random() < 0.15 else m) for n, m in zip(lengths, moves)]


def _sung_note(song, at, length, pitch):
    """The pitch, or the chord tone nearest to it where the note is on a beat or long."""
    if at % song.beat and length < 6:
        return pitch
    tones = control.pitch_classes(song.chord(at))
    return min((p for p in range(pitch - 6, pitch + 7) if p % 12 in tones), key=lambda p: abs(p - pitch))
