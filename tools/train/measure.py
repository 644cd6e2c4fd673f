"""Musical measures of a mono 32 kHz signal against what was asked for."""

import numpy as np
from scipy import signal

import control

RATE = 32000
HOP = 160
ONSET_RATE = RATE / HOP


def onsets(x):
    """Onset strength, 200 values a second: rise of log band energy, averaged over 24 bands."""
    f, _, z = signal.stft(x, RATE, nperseg=1024, noverlap=1024 - HOP, boundary="zeros", padded=True)
    edges = np.geomspace(60, 14000, 25)
    power = np.abs(z) ** 2
    bands = np.stack([power[(f >= a) & (f < max(b, a + 32))].sum(0) for a, b in zip(edges, edges[1:])])
    level = np.log10(bands + 1e-7 * max(bands.max(), 1e-9) + 1e-12)
    return np.maximum(0, np.diff(level, axis=1, prepend=level[:, :1])).mean(0)


def _phase_power(env, bpm, per_beat):
    t = np.arange(len(env)) / ONSET_RATE
    return np.abs((env * np.exp(-2j * np.pi * t * bpm / 60 * per_beat)).sum())


def tempo(x):
    """(estimated bpm, strength): the lag whose multiples repeat best, accents included, 55-190 bpm."""
    env = onsets(x)
    env = env - env.mean()
    if env.std() < 1e-9:
        return 0.0, 0.0
    n = len(env)
    spectrum = np.fft.rfft(env, 2 * n)
    ac = np.fft.irfft(np.abs(spectrum) ** 2)[:n]
    ac = ac / ac[0] * n / np.maximum(n - np.arange(n), n // 4)
    ac = signal.fftconvolve(ac, np.hanning(9) / np.hanning(9).sum(), mode="same")
    bpms = 55 * (190 / 55) ** np.linspace(0, 1, 1200)
    best, top = 0.0, -1.0
    for bpm in bpms:
        lags = 60 / bpm * ONSET_RATE * np.array([1, 2, 3, 4, 8])
        lags = lags[lags < n - 2]
        score = np.interp(lags, np.arange(n), ac).mean() * np.exp(-0.5 * (np.log2(bpm / 105) / 0.9) ** 2)
        if score > top:
            best, top = bpm, score
    return best, top


def tempo_fit(x, bpm, width=0.02):
    """Is the asked tempo's bar repeated?  (autocorrelation at one bar of the asked tempo, and the best bpm
    within a factor of 0.8 to 1.25 of it by autocorrelation at 1, 2, 4 and 8 beats)."""
    env = onsets(x)
    env = env - env.mean()
    if env.std() < 1e-9:
        return 0.0, 0.0
    n = len(env)
    ac = np.fft.irfft(np.abs(np.fft.rfft(env, 2 * n)) ** 2)[:n]
    ac = ac / ac[0] * n / np.maximum(n - np.arange(n), n // 4)
    ac = signal.fftconvolve(ac, np.hanning(9) / np.hanning(9).sum() * 2, mode="same")
    bpms = bpm * np.geomspace(0.8, 1.25, 400)
    scores = []
    for b in bpms:
        lags = 60 / b * ONSET_RATE * np.array([1, 2, 4, 8])
        lags = lags[lags < n * 0.85]
        scores.append(np.interp(lags, np.arange(n), ac).mean())
    bar = 240 / bpm * ONSET_RATE
    return float(np.interp(bar, np.arange(n), ac)), float(bpms[int(np.argmax(scores))])


def on_grid(x, bpm, start=0.0, window=0.025, per_beat=4):
    """Share of onset strength within `window` of the sixteenth grid, and what an even spread would give."""
    env = onsets(x)
    env = np.maximum(0, env - np.median(env))
    t = np.arange(len(env)) / ONSET_RATE + start
    step = 60 / bpm / per_beat
    near = np.abs((t / step + 0.5) % 1 - 0.5) * step <= window
    total = env.sum()
    return float(env[near].sum() / total) if total > 0 else 0.0, float(near.mean())


def chroma(x, seconds_per_column):
    """[columns, 12] energy per pitch class between 55 Hz and 2 kHz."""
    f, t, z = signal.stft(x, RATE, nperseg=8192, noverlap=8192 - 1600)
    use = (f > 60) & (f < 2000)
    pc = np.round(12 * np.log2(f[use] / 440) + 9).astype(int) % 12
    power = np.abs(z[use]) ** 0.5 * 1.0
    peak = np.abs(z[use])
    peaky = (peak >= np.roll(peak, 1, 0)) & (peak >= np.roll(peak, -1, 0))
    power = peak * peaky
    rows = np.stack([power[pc == c].sum(0) for c in range(12)], 1)
    columns = int(np.ceil(t[-1] / seconds_per_column - 1e-6))
    out = np.zeros((columns, 12))
    for i in range(columns):
        inside = (t >= i * seconds_per_column) & (t < (i + 1) * seconds_per_column)
        out[i] = rows[inside].sum(0)
    return out


def chord_agreement(x, bpm, chords, start=0.0):
    """Mean share of tonal energy that lies on the sounding chord's tones (chance is about a third)."""
    f, t, z = signal.stft(x, RATE, nperseg=8192, noverlap=8192 - 1600)
    use = (f > 60) & (f < 2000)
    mag = np.abs(z[use])
    mag = mag * ((mag >= np.roll(mag, 1, 0)) & (mag >= np.roll(mag, -1, 0)))
    pc = np.round(12 * np.log2(f[use] / 440) + 9).astype(int) % 12
    rows = np.stack([mag[pc == c].sum(0) for c in range(12)], 1)
    loud = rows.sum(1)
    keep = loud > 0.1 * loud.max()
    got, weight = 0.0, 0.0
    for row, at, k in zip(rows, t + start, keep):
        chord = control.chord_at(chords, at * bpm / 240)
        if k and chord is not None:
            got += row[control.pitch_classes(chord)].sum()
            weight += row.sum()
    return got / weight if weight else 0.0


def faults(x):
    """Names of what is wrong with a stem: silence, clipping, clicks, stuck, collapse."""
    out = []
    peak = np.abs(x).max()
    if peak < 0.01 or np.sqrt((x ** 2).mean()) < 0.003:
        return ["silence"]
    if (np.abs(x) >= 0.999).sum() > 32:
        out.append("clipping")
    jump = np.abs(np.diff(x, 2))
    if (jump > 1.2).sum() > 3:
        out.append("clicks")
    block = x[: len(x) // 16000 * 16000].reshape(-1, 16000)
    rms = np.sqrt((block ** 2).mean(1))
    if len(rms) > 8 and rms[-4:].max() < 0.02 * rms.max():
        out.append("collapse")
    return out
