"""Contact sheets for the card: twenty generated stems beside true renders, and ten seeds of one request."""

import os

import matplotlib

matplotlib.use("Agg")
import numpy as np
import soundfile
from matplotlib import pyplot
from PIL import Image
from scipy import signal

import heldout
import measure
import music

SHEETS, ROWS = 2, 10
SEED_STEMS = ("drums", "piano")
COLOURS = 48  # of a sheet's palette: small files


def load(path):
    x, rate = soundfile.read(path, dtype="float32", always_2d=True)
    g = np.gcd(rate, measure.RATE)
    return signal.resample_poly(x.mean(1), measure.RATE // g, rate // g)


def spectrogram(x):
    """[96, 400] dB under the peak, log frequency from 50 Hz to 16 kHz."""
    f, _, z = signal.stft(x, measure.RATE, nperseg=2048, noverlap=2048 - 800)
    power = np.abs(z[:, :400]) ** 2
    edges = np.geomspace(50, 16000, 97)
    rows = [power[np.searchsorted(f, a) : max(np.searchsorted(f, b), np.searchsorted(f, a) + 1)].max(0) for a, b in zip(edges, edges[1:])]
    return 10 * np.log10(np.maximum(np.stack(rows) / power.max(), 1e-7))


def draw_sound(wave, spec, x, title):
    wave.fill_between(np.arange(500) / 50, *(f(x[:320000].reshape(500, -1), 1) for f in (np.min, np.max)), lw=0, color="#234")
    wave.set(xlim=(0, 10), ylim=(-0.85, 0.85))
    wave.set_title(title, fontsize=6, pad=1, loc="left")
    spec.imshow(spectrogram(x), origin="lower", aspect="auto", cmap="magma", vmin=-65, vmax=0, extent=(0, 10, 0, 1), interpolation="nearest")
    for axis in (wave, spec):
        axis.set(xticks=[], yticks=[])


def sheet(path, rows):
    """rows of [(samples, title), ...], each drawn as waveform and spectrogram."""
    columns = 2 * len(rows[0])
    figure, axes = pyplot.subplots(len(rows), columns, figsize=(3 * columns, 0.95 * len(rows)), dpi=80)
    for cells, row in zip(axes, rows):
        for i, (x, title) in enumerate(row):
            draw_sound(cells[2 * i], cells[2 * i + 1], x, title)
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.985, wspace=0.02, hspace=0.22)
    figure.savefig(path)
    pyplot.close(figure)
    Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def label(request, stem):
    song = request.song
    return f"{stem}, {song.style}, {song.bpm:g} bpm"


def choose():
    """The first requests that together have three stems of each type, one a request: twenty of them."""
    left = {stem: 3 for stem in music.STEMS}
    out = []
    for index in range(200):
        request = heldout.Request(heldout.REQUESTS, index)
        stem = next((s for s in request.stems if left[s]), None)
        if stem and len(out) < SHEETS * ROWS:
            left[stem] -= 1
            out.append((request, stem))
    return sorted(out, key=lambda c: music.STEMS.index(c[1]))


def draw(maker, folder):
    """generated-1.png, generated-2.png and seeds.png in that folder."""
    os.makedirs(folder, exist_ok=True)
    rows = []
    for request, stem in choose():
        made = maker.generate(request, os.path.join(maker.audio, f"{request.index:04d}"))[stem]
        rows.append([(load(made), label(request, stem) + ": generated"), (request.render(stem), "a true render")])
    for i in range(SHEETS):
        sheet(os.path.join(folder, f"generated-{i + 1}.png"), rows[i * ROWS : (i + 1) * ROWS])
    request = heldout.Request(heldout.REQUESTS, 0)
    rows = []
    for seed in range(10):
        out = os.path.join(maker.audio, "seeds", str(seed))
        files = maker.generate(request, out, list(SEED_STEMS), seed=1000 * (seed + 1))
        rows.append([(load(files[s]), f"{label(request, s)}, seed {seed + 1}") for s in SEED_STEMS])
    sheet(os.path.join(folder, "seeds.png"), rows)
