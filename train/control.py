"""The control track: twelve numbers per audio frame that say where the bar is and which chord sounds.

The decoder's chroma prefix carries it, one column a codec frame (50 a second), so that audio column p
always sits chroma_length + text_tokens positions after its own control column.  README.md has the
formula in words; the engine computes the same thing.
"""

import re

import numpy as np

FRAME_RATE = 50
FRAMES = 500
BEATS_PER_BAR = 4
METERS = {"4/4": (4, 1, 2), "3/4": (3, 1, 2), "6/8": (3, 1.5, 1.5)}  # quarter notes of a bar, of a felt beat, before the second of two chords
DIMS = 12

NOTE = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
NAMES = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"]

# quality -> semitones above the root
QUALITIES = {
    "": (0, 4, 7), "m": (0, 3, 7), "7": (0, 4, 7, 10), "maj7": (0, 4, 7, 11), "m7": (0, 3, 7, 10),
    "sus4": (0, 5, 7), "sus2": (0, 2, 7), "dim": (0, 3, 6), "m7b5": (0, 3, 6, 10), "dim7": (0, 3, 6, 9),
    "aug": (0, 4, 8), "6": (0, 4, 7, 9), "m6": (0, 3, 7, 9), "5": (0, 7),
}
THIRD = {4: 1.0, 3: -1.0, 5: 1 / 3, 2: -1 / 3}
SEVENTH = {10: 1.0, 11: -1.0, 9: 0.5}
FIFTH = {6: -0.3, 8: 0.3}


def parse(name):
    """"F#m7" -> (6, "m7"); "N" -> None."""
    if name == "N":
        return None
    got = re.fullmatch(r"([A-G])([#b]?)(.*?)(?:/[A-G][#b]?)?", name)
    if not got or got[3] not in QUALITIES:
        raise ValueError(f"unknown chord {name!r}")
    return (NOTE[got[1]] + {"#": 1, "b": -1, "": 0}[got[2]]) % 12, got[3]


def spell(chord):
    return "N" if chord is None else NAMES[chord[0]] + chord[1]


def pitch_classes(chord):
    return [] if chord is None else [(chord[0] + i) % 12 for i in QUALITIES[chord[1]]]


def chord_part(chord):
    """The six harmony values of one chord: root on two circles, third, seventh and fifth."""
    if chord is None:
        return np.zeros(6, np.float32)
    root, quality = chord
    tones = QUALITIES[quality]
    semitone, fifth = 2 * np.pi * root / 12, 2 * np.pi * 7 * root / 12
    third = next((THIRD[i] for i in tones if i in THIRD), 0.0)
    seventh = next((SEVENTH[i] for i in tones if i in SEVENTH), 0.0)
    altered = next((FIFTH[i] for i in tones if i in FIFTH and 7 not in tones), 0.0)
    return np.array([np.cos(semitone), np.sin(semitone), np.cos(fifth), np.sin(fifth),
                     third, seventh + altered], np.float32)


def chord_at(chords, bar):
    return chords[int(np.floor(bar + 1e-6)) % len(chords)] if chords else None


def chord_of(chords, beat, meter="4/4", per_bar=1):
    """The chord that sounds that many quarter notes into the piece; one or two a bar."""
    quarters, _, half = METERS[meter]
    bar = np.floor(beat / quarters + 1e-6)
    second = per_bar == 2 and beat - bar * quarters + 1e-6 * quarters >= half
    return chords[int(bar * per_bar + second) % len(chords)] if chords else None


def track(bpm, chords, start=0.0, frames=FRAMES, meter="4/4", per_bar=1):
    """[frames, 12] control of a window that begins `start` seconds into the piece."""
    t = start + (np.arange(frames) + 0.5) / FRAME_RATE
    beat = t * bpm / 60
    quarters, pulse, _ = METERS[meter]
    out = np.zeros((frames, DIMS), np.float32)
    for at, turns in ((0, beat / quarters), (2, beat / pulse), (4, 4 * beat)):
        out[:, at] = np.cos(2 * np.pi * turns)
        out[:, at + 1] = np.sin(2 * np.pi * turns)
    parts = {}
    for i in range(frames):
        chord = chord_of(chords, beat[i], meter, per_bar)
        if chord not in parts:
            parts[chord] = chord_part(chord)
        out[i, 6:] = parts[chord]
    return out


def null(frames=FRAMES):
    """What guidance compares with: a one on bin 0 of every column, as the melody models have it."""
    out = np.zeros((frames, DIMS), np.float32)
    out[:, 0] = 1
    return out
