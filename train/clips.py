"""One training clip: song, notes, samples, light room and EQ, level."""

import numpy as np
from scipy import signal

import analog
import music
from synth import FONTS, RATE, Synth

SECONDS = 10
PEAK = 0.8
LEAD = 2.5

_synths = {}


def _shelf(x, tone):
    b, a = signal.butter(1, 1800, "low", fs=RATE)
    low = signal.lfilter(b, a, x)
    return low + 0.35 * (x - low) if tone == "dark" else x + 0.8 * (x - low)


def _room(rng, x, amount):
    n = int(0.35 * RATE)
    tail = rng.normal(0, 1, n) * np.exp(-np.arange(n) / (0.08 * RATE))
    tail[: RATE // 100] = 0
    tail = signal.lfilter(*signal.butter(1, 4000, "low", fs=RATE), tail)
    wet = signal.fftconvolve(x, tail / np.sqrt((tail ** 2).sum()))[: len(x)]
    return x + amount * wet


def render(song, rng, seconds=SECONDS):
    """Mono float32 samples of the song's window, its peak at PEAK; None when (almost) silent."""
    lead = min(LEAD, song.start)
    events = music.compose(rng, song, seconds)
    if song.preset[0] in (music.VOICE, music.DRUM_MACHINE):
        x = analog.render(rng, events, song.preset, seconds, lead)
    else:
        if song.font not in _synths:
            _synths[song.font] = Synth(FONTS[song.font])
        x = _synths[song.font].render(events, song.preset, seconds, lead)
    if song.tone:
        x = _shelf(x, song.tone)
    if song.room == "roomy":
        x = _room(rng, x, 0.5)
    elif song.room == "":
        x = _room(rng, x, 0.15)
    peak = np.abs(x).max()
    if peak < 1e-4:
        return None
    return (x * (PEAK / peak)).astype(np.float32)


def make(seed, index, kind=music.Song, **fixed):
    """(song, samples, rng) number `index` of the endless seeded series; kind: music.Song or parts.Piece."""
    for attempt in range(10):
        rng = np.random.default_rng([seed, index, attempt])
        song = kind(rng, **fixed)
        x = render(song, rng)
        if x is not None:
            return song, x, rng
    raise RuntimeError("ten silent clips in a row")
