"""Our own electronic instruments: a subtractive synthesiser and a drum machine, drawn anew for every clip.

Nothing here is sampled.  An instrument takes the same events as FluidSynth does.
"""

import numpy as np
from scipy import signal

import music

RATE = 32000

# program: detune in cents, square share, attack s, release s, body cutoff, accent cutoff, accent decay s
VOICES = {
    0: ("analog lead", 7, 0.0, 0.005, 0.08, 1800, 7000, 0.20),
    1: ("square lead", 3, 1.0, 0.005, 0.06, 2200, 6000, 0.15),
    2: ("analog pad", 14, 0.2, 0.25, 0.60, 900, 3500, 1.20),
    3: ("acid bass", 0, 0.0, 0.003, 0.03, 350, 3200, 0.12),
    4: ("sub bass", 0, 0.6, 0.008, 0.05, 180, 700, 0.08),
    5: ("analog pluck", 5, 0.3, 0.003, 0.10, 500, 6000, 0.10),
}


def _saw(freq, count, phase):
    """A sawtooth whose jumps are rounded over one sample either side (polynomial band limiting)."""
    step = freq / RATE
    p = (np.arange(count) * step + phase) % 1
    y = 2 * p - 1
    after, before = p < step, p > 1 - step
    t = p[after] / step
    y[after] -= 2 * t - t * t - 1
    t = (p[before] - 1) / step
    y[before] -= t * t + 2 * t + 1
    return y


def _notes(events):
    """(start, held, pitch, velocity) of events sorted by time."""
    open_, out = {}, []
    for at, on, pitch, velocity in events:
        if on:
            open_[pitch] = (at, velocity)
        elif pitch in open_:
            began, loud = open_.pop(pitch)
            out.append((began, at - began, pitch, loud))
    return out


def _lowpass(x, cutoff, resonance=0.0):
    b, a = signal.butter(2, min(cutoff, 14000), "low", fs=RATE)
    y = signal.lfilter(b, a, x)
    if resonance:
        b, a = signal.iirpeak(min(cutoff, 12000), 3.0, fs=RATE)
        y = y + resonance * signal.lfilter(b, a, x)
    return y


def voice(rng, program, events, seconds, lead):
    """Detuned saws and squares; the body through one filter, the accent of each note through a brighter one."""
    _, detune, square, attack, release, body, accent, decay = VOICES[program]
    body, accent, decay = (v * 2 ** rng.uniform(-0.6, 0.6) for v in (body, accent, decay))
    total = int((seconds + lead) * RATE)
    plain, bright = np.zeros(total), np.zeros(total)
    for at, held, pitch, velocity in _notes(events):
        begin, count = int((at + lead) * RATE), int((held + release) * RATE)
        if begin < 0 or begin >= total:
            continue
        count = min(count, total - begin)
        t = np.arange(count) / RATE
        freq = 440 * 2 ** ((pitch - 69) / 12)
        tone = 0
        for cents in ((-detune, detune) if detune else (0,)):
            f, phase = freq * 2 ** (cents / 1200), rng.random()
            tone = tone + _saw(f, count, phase) - square * _saw(f, count, phase + 0.5)
        tone = tone * np.minimum(t / attack, 1) * np.clip((held + release - t) / release, 0, 1) * (velocity / 127) ** 1.5
        plain[begin:begin + count] += tone
        bright[begin:begin + count] += tone * np.exp(-t / decay)
    x = _lowpass(plain, body) + _lowpass(bright, accent, rng.uniform(0, 0.8) if program in (0, 3, 5) else 0)
    return x[int(lead * RATE):].astype(np.float32)


SUNG = 6  # the program that sings
# formants of sung vowels, Hz, a man's; a woman's lie about a sixth higher
VOWELS = {"a": (700, 1150, 2500, 3300), "e": (450, 1800, 2500, 3400), "i": (290, 2150, 2900, 3500), "o": (450, 800, 2500, 3300), "u": (320, 700, 2400, 3300)}
FORMANTS = ((1.0, 70), (0.5, 90), (0.25, 130), (0.12, 180))  # level and width, Hz


def _throat(rng, pitch, count, before):
    """A singer's larynx: a saw that slides from the pitch before, wavers once the note stands, with breath in it."""
    t = np.arange(count) / RATE
    slide = (before - pitch) * np.exp(-t / 0.03)
    waver = rng.uniform(0.15, 0.5) * np.clip((t - 0.15) / 0.3, 0, 1) * np.sin(2 * np.pi * (rng.uniform(4.8, 6.2) * t + rng.random()))
    drift = signal.lfilter([0.002], [1, -0.998], rng.normal(0, 2.0, count))
    freq = 440 * 2 ** ((pitch + slide + waver + drift - 69) / 12)
    tone = signal.lfilter([0.12], [1, -0.88], 2 * (np.cumsum(freq / RATE) % 1) - 1)
    breath = rng.normal(0, 1, count) * (0.012 + 0.05 * np.exp(-t / 0.06))
    return tone + breath


def _mouth(x, vowel, size):
    out = 0
    for place, (level, width) in zip(VOWELS[vowel], FORMANTS):
        b, a = signal.iirpeak(place * size, place * size / width, fs=RATE)
        out = out + level * signal.lfilter(b, a, x)
    return out


def sung(rng, events, seconds, lead):
    """One singer, or several where chords are asked for: each note a vowel, with breath taken before a phrase."""
    total, size = int((seconds + lead) * RATE), rng.uniform(0.95, 1.25)
    out, before, ended = np.zeros(total), None, -9.0
    for at, held, pitch, velocity in sorted(_notes(events)):
        begin, count = int((at + lead) * RATE), int((held + 0.12) * RATE)
        if begin < 0 or begin >= total:
            continue
        near = before if before is not None and at - ended < 0.2 and abs(before - pitch) < 8 else pitch - 0.7
        y = _mouth(_throat(rng, pitch, count, near), str(rng.choice(list(VOWELS))), size)
        t = np.arange(count) / RATE
        y *= np.minimum(1, t / 0.06) * np.clip((held + 0.12 - t) / 0.12, 0, 1) * (velocity / 127)
        if at - ended > 0.3 and begin > RATE // 4:
            _inhale(rng, out, begin)
        out[begin : begin + count] += y[: total - begin]
        before, ended = pitch, at + held
    return out[int(lead * RATE) :].astype(np.float32)


def _inhale(rng, out, begin):
    count = RATE // 4
    hiss = signal.lfilter(*signal.butter(2, [1200, 6000], "band", fs=RATE), rng.normal(0, 1, count))
    out[begin - count : begin] += 0.01 * hiss * np.hanning(count)


def _hit(rng, seconds, tone=(), noise=0.0, low=20, high=15000, decay=0.1, snap=0.0):
    """One drum: sines (from Hz, to Hz, fall s, level, decay s) and filtered noise with its own decay."""
    t = np.arange(int(seconds * RATE)) / RATE
    x = np.zeros(len(t))
    for start, end, fall, level, ring in tone:
        phase = end * t + (start - end) * fall * (1 - np.exp(-t / fall))
        x += level * np.sin(2 * np.pi * phase) * np.exp(-t / ring)
    if noise:
        hiss = signal.lfilter(*signal.butter(2, [low, min(high, 15500)], "band", fs=RATE), rng.normal(0, 1, len(t)))
        x += noise * hiss * np.exp(-t / decay)
    x[:16] += snap * rng.normal(0, 1, 16)
    return x * np.minimum(1, np.linspace(20, 0, len(t)))


def kit(rng):
    """{note: samples} of one drum machine."""
    def about(value, spread=0.25):
        return value * 2 ** rng.uniform(-spread, spread)

    base, boom = about(50, 0.3), about(0.25, 0.9)
    tom = [(about(2.0) * f, f, 0.04, 0.9, about(0.18)) for f in (about(90), about(130), about(180))]
    metal, hat, long_ = about(7000, 0.3), about(0.035, 0.6), about(0.25, 0.4)
    clap = sum(np.pad(_hit(rng, 0.3, noise=0.9, low=900, high=about(4000), decay=d), (int(o * RATE), 0))[:int(0.3 * RATE)]
               for o, d in ((0, 0.008), (0.011, 0.008), (0.022, about(0.08))))
    snare = about(185)
    return {
        music.KICK: _hit(rng, 0.8, [(about(250), base, about(0.03), 1.2, boom)], snap=about(0.2)),
        music.SNARE: _hit(rng, 0.4, [(snare * 1.6, snare, 0.01, 0.6, about(0.08))], about(0.8), 700, 11000, about(0.11)),
        music.CLAP: clap,
        music.RIM: _hit(rng, 0.15, [(about(1700), about(1700), 0.01, 0.5, 0.015), (480, 470, 0.01, 0.3, 0.02)], snap=0.2),
        music.CLOSED: _hit(rng, 0.3, noise=0.7, low=metal, high=15500, decay=hat),
        music.PEDAL: _hit(rng, 0.3, noise=0.6, low=metal, high=15500, decay=hat * 1.5),
        music.OPEN: _hit(rng, 0.8, noise=0.6, low=metal * 0.9, high=15500, decay=long_),
        music.RIDE: _hit(rng, 1.0, [(3100, 3100, 1, 0.1, 0.3)], 0.35, 5000, 15000, 0.35),
        music.CRASH: _hit(rng, 2.0, noise=0.8, low=3500, high=15500, decay=about(0.7)),
        music.TOM_LOW: _hit(rng, 0.6, [tom[0]]), music.TOM_MID: _hit(rng, 0.6, [tom[1]]), music.TOM_HIGH: _hit(rng, 0.6, [tom[2]]),
        music.TAMB: _hit(rng, 0.3, noise=0.5, low=8000, high=15500, decay=0.07),
        music.SHAKER: _hit(rng, 0.15, noise=0.35, low=5000, high=13000, decay=0.03),
        music.COWBELL: _hit(rng, 0.4, [(about(800, 0.05), 800, 1, 0.4, 0.1), (about(540, 0.05), 540, 1, 0.4, 0.1)]),
        music.CONGA: _hit(rng, 0.4, [(about(260), about(210), 0.02, 0.8, 0.12)], snap=0.1),
        music.CLAVE: _hit(rng, 0.1, [(2500, 2500, 1, 0.6, 0.02)]),
    }


def drums(rng, events, seconds, lead):
    sounds = kit(rng)
    total = int((seconds + lead) * RATE)
    x = np.zeros(total)
    for at, on, note, velocity in events:
        begin = int((at + lead) * RATE)
        if on and 0 <= begin < total:
            hit = sounds[note][:total - begin]
            x[begin:begin + len(hit)] += hit * (velocity / 127) ** 1.5
    return x[int(lead * RATE):].astype(np.float32)


def render(rng, events, preset, seconds, lead):
    """As synth.Synth.render, for presets of music's own banks."""
    bank, program, _ = preset
    if bank == music.DRUM_MACHINE:
        return drums(rng, events, seconds, lead)
    if program == SUNG:
        return sung(rng, events, seconds, lead)
    return voice(rng, program, events, seconds, lead)
