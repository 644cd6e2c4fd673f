"""Measures of a mono 32 kHz signal, most of them against what was asked for.  docs/MODEL_CARD.md says why."""

import numpy as np
from scipy import linalg, signal

import control

RATE = 32000
HOP = 160
ONSET_RATE = RATE / HOP
BANDS = np.geomspace(60, 14000, 25)


# Rhythm


def band_power(x):
    """[24, frames] power, 200 values a second."""
    f, _, z = signal.stft(x, RATE, nperseg=1024, noverlap=1024 - HOP, boundary="zeros", padded=True)
    power = np.abs(z) ** 2
    return np.stack([power[(f >= a) & (f < max(b, a + 32))].sum(0) for a, b in zip(BANDS, BANDS[1:])])


def onset_bands(x):
    """[24, frames] rise of log energy in each band, 200 values a second."""
    bands = band_power(x)
    level = np.log10(bands + 1e-7 * max(bands.max(), 1e-9) + 1e-12)
    return np.maximum(0, np.diff(level, axis=1, prepend=level[:, :1]))


def onsets(x):
    """Onset strength, 200 values a second: the mean over the bands."""
    return onset_bands(x).mean(0)


def repetition(env):
    """How well the curve repeats after each lag, 1 at lag 0, whatever the overlap; None when nothing happens."""
    env = env - env.mean()
    n = len(env)
    ac = np.fft.irfft(np.abs(np.fft.rfft(env, 2 * n)) ** 2)[:n]
    if ac[0] < 1e-9:
        return None
    ac = ac / ac[0] * n / np.maximum(n - np.arange(n), n // 4)
    return signal.fftconvolve(ac, np.hanning(9) / np.hanning(9).sum(), mode="same")


def _comb(ac, bpms, beats, share):
    """Mean repetition at those multiples of each tempo's beat that lie within a share of the curve."""
    lags = 60 * ONSET_RATE / np.asarray(bpms)[:, None] * np.asarray(beats)
    inside = lags < len(ac) * share
    return (np.interp(lags, np.arange(len(ac)), ac) * inside).sum(1) / inside.sum(1)


def tempo(x):
    """(estimated bpm, strength): the beat whose multiples repeat best, 55-190 bpm, those near 105 preferred."""
    ac = repetition(onsets(x))
    if ac is None:
        return 0.0, 0.0
    bpms = np.geomspace(55, 190, 1200)
    score = _comb(ac, bpms, [1, 2, 3, 4, 8], 0.999) * np.exp(-0.5 * (np.log2(bpms / 105) / 0.9) ** 2)
    best = int(np.argmax(score))
    return float(bpms[best]), float(score[best])


def tempo_near(ac, bpm, factor):
    """The tempo within a factor of bpm whose 1, 2, 4 and 8 beats repeat best."""
    bpms = bpm * np.geomspace(1 / factor, factor, 400)
    return float(bpms[int(np.argmax(_comb(ac, bpms, [1, 2, 4, 8], 0.85)))])


def tempo_fit(x, bpm):
    """Is the asked tempo's bar repeated?  (repetition after one bar of it, best tempo within a factor of 1.25)."""
    ac = repetition(onsets(x))
    if ac is None:
        return 0.0, 0.0
    return float(np.interp(240 / bpm * ONSET_RATE, np.arange(len(ac)), ac)), tempo_near(ac, bpm, 1.25)


def on_grid(x, bpm, start=0.0, window=0.025, per_beat=4):
    """Share of onset strength within `window` of the sixteenth grid, and what an even spread would give."""
    env = onsets(x)
    env = np.maximum(0, env - np.median(env))
    t = np.arange(len(env)) / ONSET_RATE + start
    step = 60 / bpm / per_beat
    near = np.abs((t / step + 0.5) % 1 - 0.5) * step <= window
    total = env.sum()
    return float(env[near].sum() / total) if total > 0 else 0.0, float(near.mean())


def onset_times(x):
    """Seconds at which notes begin: peaks of the rise over 20 ms of what lies within 30 dB of the loudest band.

    A peak reaches 45 % of the forty highest values' mean and is the highest within 40 ms.  Finer ears take the
    ripple of a codec's noise for notes: of the onsets they hear in coded renders half are not in the renders.
    """
    bands = band_power(x)
    level = np.log10(bands + 1e-3 * max(bands.max(), 1e-12))
    level = signal.fftconvolve(level, np.full((1, 3), 1 / 3), mode="same")
    rise = np.pad(np.maximum(0, level[:, 4:] - level[:, :-4]).mean(0), 2)
    high = 0.45 * np.sort(rise)[-40:].mean()
    if high < 1e-6:
        return np.zeros(0)
    at, _ = signal.find_peaks(rise, height=high, distance=8, prominence=high / 2)
    a, b, c = rise[at - 1], rise[at], rise[at + 1]
    return (at + 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-12)) / ONSET_RATE


def gaps(a, b, reach):
    """Signed seconds from each of the times a to the nearest of b, those within reach."""
    if not len(a) or not len(b):
        return np.zeros(0)
    d = b[np.argmin(np.abs(a[:, None] - b), axis=1)] - a
    return d[np.abs(d) <= reach]


# Lines


def comb(x, spacing=400.0, low=1500.0, high=12000.0):
    """(share of the energy over `low` Hz within 1 Hz of multiples of `spacing`, dB of those lines over their neighbours).

    Spectra of 2 s.  The second is the median over the multiples up to `high` of a line (1 Hz wide) against the
    median of the bins 5 to 40 Hz from it.
    """
    f, _, z = signal.stft(x, RATE, nperseg=2 * RATE, noverlap=RATE, boundary=None)
    power = (np.abs(z) ** 2).mean(1) + 1e-20
    apart = np.abs(f - spacing * np.round(f / spacing))
    above = f > low
    over = []
    for line in np.arange(spacing * np.ceil(low / spacing), high, spacing):
        off = np.abs(f - line)
        over.append(10 * np.log10(power[off <= 0.5].mean() / np.median(power[(off >= 5) & (off <= 40)])))
    return float(power[above & (apart <= 1)].sum() / power[above].sum()), float(np.median(over))


# Harmony


def _peaks(x, size=8192, hop=1600):
    """(bin frequencies, frame times, magnitude of each spectral peak between 60 Hz and 2 kHz, its exact frequency)."""
    f, t, z = signal.stft(x, RATE, nperseg=size, noverlap=size - hop)
    low, high = np.searchsorted(f, [60, 2000])
    log = np.log(np.abs(z[low - 1 : high + 1]) + 1e-12)
    a, b, c = log[:-2], log[1:-1], log[2:]
    top = (b > a) & (b >= c)
    shift = 0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9)
    return f[low:high], t, np.where(top, np.exp(b), 0), f[low:high, None] + np.where(top, shift, 0) * f[1]


def pitch_class(f):
    return np.round(12 * np.log2(f / 440) + 9).astype(int) % 12


def asked(t, bpm, chords):
    """[12, frames] whether a pitch class belongs to the chord asked for at that time, and whether there is a chord."""
    at = [control.chord_at(chords, v * bpm / 240) for v in t]
    tones = np.zeros((12, len(t)), bool)
    for i, chord in enumerate(at):
        tones[control.pitch_classes(chord), i] = True
    return tones, np.array([chord is not None for chord in at])


def chord_agreement(x, bpm, chords, start=0.0):
    """Share of tonal energy that lies on the sounding chord's tones (chance is about a third)."""
    _, t, peak, f = _peaks(x)
    peak = np.where(peak > 0.01 * peak.max(0), peak, 0)
    loud = peak.sum(0)
    tones, harmonic = asked(t + start, bpm, chords)
    keep = (loud > 0.1 * loud.max()) & harmonic
    on = np.take_along_axis(tones, pitch_class(f), axis=0)
    total = peak[:, keep].sum()
    return float((peak * on)[:, keep].sum() / total) if total else 0.0


# Faults


def _runs(flags):
    """[(first, end)] of the stretches of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2)


def _clipped(x):
    """Flat tops: more than three runs of four or more samples at the peak."""
    runs = _runs(np.abs(x) >= np.abs(x).max() * (1 - 1 / 16384))
    return sum(end - first >= 4 for first, end in runs) > 3


def clicks(x):
    """How often the second difference tops 0.1 and 25 times its own rms within 5 ms, the nearest three samples left out."""
    d = np.diff(x.astype(np.float64), 2)
    total = np.concatenate([[0], np.cumsum(d * d)])

    def energy(at, reach):
        a, b = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(d))
        return total[b] - total[a], b - a

    at = np.flatnonzero(np.abs(d) > 0.1)
    wide, narrow = energy(at, RATE // 200), energy(at, 3)
    around = np.sqrt((wide[0] - narrow[0]) / np.maximum(wide[1] - narrow[1], 1))
    at = at[np.abs(d[at]) > 25 * around]
    return int((np.diff(at, prepend=-RATE) > RATE // 200).sum())


def stuck(x, bpm, chords):
    """Does a partial within 8 dB of the strongest sound on for 4 s, at least 2 s of them foreign to the chords?

    Only partials from 150 Hz count: below, a kick drum or two neighbouring notes fill one bin.  The third partials of
    chord tones are not foreign."""
    f, t, peak, _ = _peaks(x)
    strong = peak > 0.4 * np.maximum(peak.max(0), 0.03 * peak.max())
    strong = strong | np.roll(strong, 1, 0) | np.roll(strong, -1, 0)
    frames = int(4 / (t[1] - t[0]))
    tones, harmonic = asked(t, bpm, chords) if chords else (np.zeros((12, len(t)), bool), np.ones(len(t), bool))
    long = np.cumsum(np.pad(strong, ((0, 0), (1, 0))), axis=1)
    for i in np.flatnonzero((long[:, frames:] - long[:, :-frames] == frames).any(1) & (f >= 150)):
        note = pitch_class(f[i])
        against = harmonic & ~tones[note] & ~tones[(note - 7) % 12]
        if any(end - first >= frames and against[first:end].sum() >= frames / 2 for first, end in _runs(strong[i])):
            return True
    return False


def faults(x, bpm=120.0, chords=None):
    """Names of what is wrong with a stem: silence, clipping, clicks, stuck, collapse."""
    if np.abs(x).max() < 0.01 or np.sqrt((x**2).mean()) < 0.003:
        return ["silence"]
    block = x[: len(x) // 16000 * 16000].reshape(-1, 16000)
    rms = np.sqrt((block**2).mean(1))
    found = dict(clipping=_clipped(x), clicks=clicks(x) > 0, stuck=stuck(x, bpm, chords),
                 collapse=len(rms) > 8 and rms[-4:].max() < 0.02 * rms.max())  # fmt: skip
    return [name for name, there in found.items() if there]


# Sound


def mel_filters(size, bands):
    """[bands, bins] triangles, evenly spaced in mel."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    centre = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    f = np.linspace(0, RATE / 2, size // 2 + 1)
    up = (f - centre[:-2, None]) / np.diff(centre)[:-1, None]
    down = (centre[2:, None] - f) / np.diff(centre)[1:, None]
    return np.maximum(0, np.minimum(up, down)).astype(np.float32)


def mel(x, size, hop, bands):
    """[bands, frames] magnitudes."""
    _, _, z = signal.stft(x, RATE, nperseg=size, noverlap=size - hop)
    return mel_filters(size, bands) @ np.abs(z).astype(np.float32)


def features(x):
    """144 numbers: mean, spread and movement of 48 log-mel bands, deaf to what lies 40 dB below the peak."""
    m = mel(x, 1024, 512, 64)[:48]
    level = np.log10(m + 1e-2 * max(m.max(), 1e-6))
    return np.concatenate([level.mean(1), level.std(1), np.abs(np.diff(level, axis=1)).mean(1)]).astype(np.float32)


def frechet(a, b):
    """Distance of two sets of features as Gaussians (shrunk covariances)."""
    ca, cb = (np.cov(v, rowvar=False) + 1e-3 * np.eye(v.shape[1]) for v in (a, b))
    root = linalg.sqrtm(ca @ cb)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root.real))


def mel_distance(x, y):
    """Mean difference of 80 mel bands in dB, what lies 60 dB below the loudest left out."""
    a, b = (mel(v, 2048, 512, 80) for v in (x, y))
    floor = 1e-3 * max(a.max(), 1e-6)
    return float(20 * np.abs(np.log10(np.maximum(a, floor) / np.maximum(b, floor))).mean())


def si_sdr(x, y):
    """Scale-invariant signal to distortion of y against x, dB."""
    x, y = x - x.mean(), y - y.mean()
    target = (x @ y) / max(x @ x, 1e-8) * x
    return float(10 * np.log10((target @ target) / max((y - target) @ (y - target), 1e-12)))


def picture(x):
    """[48, 100] log-mel in dB of 10 s, ten columns a second, 60 dB deep: what two takes are compared by."""
    m = mel(x, 1024, 640, 48)[:, :500] ** 2
    m = m[:, : m.shape[1] // 5 * 5].reshape(48, -1, 5).mean(2)
    return 10 * np.log10(np.maximum(m / max(m.max(), 1e-12), 1e-6))
