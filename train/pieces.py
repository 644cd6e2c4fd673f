"""Pieces with known truth for judges to hear: a mix of stems of one song, and each of its stems.

Piece i is always the same, and nothing learned from it.  It has three to six stems of one style, tempo, key and progression, and
begins anywhere in a bar.  Pieces 12 to 23 of every 24 speed up and slow down by one per cent: a slow warp of time, so that their
pitch moves by 17 cents too.  Every second group of 24 is for development; what is reported comes from the others.
"""

import json
import os

import numpy as np
import soundfile

import clips
import control
import music
from synth import RATE

SERIES, SECONDS, ALONE = 791, 24, 12
DEPTH, TURN = 0.01, 12  # of the warp: how far, and how many seconds each turn takes
CHORDAL = ["guitar", "piano", "synth", "vocals", "other"]


def moves(index):
    return index // 12 % 2 == 1


def for_development(index):
    return index // 24 % 2 == 1


def _warp(rng):
    """(where to read at time t, and when what is read at time t is heard)"""
    turn, t = rng.uniform(0, 2 * np.pi), np.arange(SECONDS * RATE) / RATE
    at = t + DEPTH * TURN / (2 * np.pi) * (np.sin(2 * np.pi * t / TURN + turn) - np.sin(turn))
    return t, at


def make(index):
    """({name: samples}, truth); "mix" is the whole, the others are its stems."""
    rng = np.random.default_rng([SERIES, index])
    style = list(music.STYLES)[index % len(music.STYLES)]
    song = music.Song(rng, style=style)
    stems = ["drums", "bass"] if rng.random() < 0.85 else ["bass"]
    stems += map(str, rng.choice(CHORDAL, int(rng.integers(1, 4)), replace=False))
    sounds = {}
    for k, stem in enumerate(stems):
        own = np.random.default_rng([SERIES, index, k])
        part = music.Song(own, stem=stem, style=style, bpm=song.bpm, chords=song.chords, key=(song.root, song.minor))
        part.start = 0.0
        x = clips.render(part, own, SECONDS)
        if x is not None:
            sounds[stem] = x
    sounds["mix"] = sum(x * (0.6 if stem == "drums" else 0.4) for stem, x in sounds.items())
    skip, beats = float(rng.uniform(0, 240 / song.bpm)), np.arange(0, SECONDS, 60 / song.bpm)
    if moves(index):
        t, at = _warp(rng)
        sounds = {name: np.interp(at, t, x) for name, x in sounds.items()}
        beats = np.interp(beats, at, t)
    sounds = {name: x[int(skip * RATE) :] for name, x in sounds.items()}
    sounds = {name: (x * (0.8 / max(np.abs(x).max(), 1e-9))).astype(np.float32) for name, x in sounds.items()}
    return sounds, dict(
        index=index, style=style, bpm=song.bpm, chords=[control.spell(c) for c in song.chords], stems=list(sounds)[:-1],
        moves=moves(index), development=for_development(index), beats=[float(b) for b in beats - skip], seconds=len(sounds["mix"]) / RATE)  # fmt: skip


def rendered(index, folder):
    """The truth of piece index, whose sounds lie in the folder as WAV; made first where they are not there."""
    path = os.path.join(folder, "truth.json")
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        sounds, truth = make(index)
        for name, x in sounds.items():
            soundfile.write(os.path.join(folder, name + ".wav"), x if name == "mix" else x[: ALONE * RATE], RATE, subtype="PCM_16")
        with open(path + ".part", "w") as f:
            json.dump(truth, f)
        os.replace(path + ".part", path)
    with open(path) as f:
        return json.load(f)
