"""Held-out requests: what is asked, and what true renders of it sound like.

Request i of a series is always the same.  It asks for one to four stems (40, 30, 20 and 10 % of the requests) of
one style, tempo, key and progression, drums more often than others, as in training.  No word about density,
tone or room is asked for, so the renders have them as often as clips whose caption names none.
"""

import numpy as np

import clips
import control
import music

REQUESTS, REFERENCE, JUDGES, PROOF = 771, 774, 772, 773  # series; training draws from none of them
SIZES = (0.4, 0.3, 0.2, 0.1)
DRUMS = 0.3
UNNAMED = 0.4  # how often captions.words leaves a trait out
FADE = 3200  # the engine fades stems in and out over 100 ms
PEAK = 0.8


class Request:
    def __init__(self, series, index):
        self.series, self.index = series, index
        self.song = music.Song(np.random.default_rng([series, index]))
        rng = np.random.default_rng([series, index, 0])  # its own: more sounds in music.Song change no request
        count = 1 + rng.choice(len(SIZES), p=SIZES)
        odds = [DRUMS] + [(1 - DRUMS) / (len(music.STEMS) - 1)] * (len(music.STEMS) - 1)
        drawn = set(rng.choice(music.STEMS, count, replace=False, p=odds))
        self.stems = [stem for stem in music.STEMS if stem in drawn]
        self.moved = [((c[0] + int(rng.choice([1, 2, 4, 6]))) % 12, c[1]) for c in self.song.chords]

    @property
    def tonal(self):
        return [stem for stem in self.stems if stem != "drums"]

    def arguments(self, chords, stems):
        """The request as options of `stemforge generate`."""
        song = self.song
        out = ["--bpm", f"{song.bpm:g}", "--style", song.style, "--duration", str(clips.SECONDS)]
        if chords:
            key = control.NAMES[song.root] + (" minor" if song.minor else " major")
            out += ["--key", key, "--chords", " ".join(map(control.spell, chords))]
        return out + [word for stem in stems for word in ("--stem", stem)]

    def render(self, stem, take=0):
        """A true render of one stem, finished as the engine finishes its own."""
        for attempt in range(10):
            rng = np.random.default_rng([self.series, self.index, 1 + music.STEMS.index(stem), take, attempt])
            x = clips.render(self._song(rng, stem), rng)
            if x is not None:
                return finish(x)
        raise RuntimeError("ten silent renders in a row")

    def _song(self, rng, stem):
        like = self.song
        while True:
            song = music.Song(rng, stem=stem, style=like.style, bpm=like.bpm, chords=like.chords, key=(like.root, like.minor))
            if rng.random() < UNNAMED ** sum(map(bool, (song.density, song.tone, song.room))):
                song.start = 0.0
                return song


def finish(x):
    """Fades and peak as src/audio/post.h has them."""
    x = x.copy()
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(FADE) + 0.5) / FADE)).astype(np.float32)
    x[:FADE] *= ramp
    x[-FADE:] *= ramp[::-1]
    return x * (PEAK / max(np.abs(x).max(), 1e-9))
