"""Judges that learned from true renders only: what family a stem is, how much of it is another's, how fast drums go.

They are trained once on series JUDGES, proved on series PROOF, and kept in a file.
"""

import os

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import clips
import heldout
import measure
import music

CLIPS, PROOFS = 2800, 490  # renders to learn the family from, renders to prove it on
DRUMS, DRUM_PROOFS = 900, 250  # the same for tempo
QUICK = 4  # a quick judge learns from that much less
MELS, COLUMNS = 64, 312
GROUPS = [0] + [1] + [2] * (len(music.STEMS) - 2)  # drums, bass, and all that plays chords
TEMPI = np.geomspace(50, 200, 140)
BEATS = [1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1, 4 / 3, 3 / 2, 2, 3, 4, 6, 8]
LATES = 350  # requests to learn from how late onsets are heard
LATE = 0.05  # an onset further than this from its beat belongs to no beat


def power_mel(x):
    """[64, 312] mel power up to 16 kHz, its mean 1."""
    m = measure.mel(x, 2048, 1024, MELS)[:, :COLUMNS] ** 2
    return (m / max(m.mean(), 1e-12)).astype(np.float32)


class Families(nn.Module):
    """Mel power in, share of its energy that is each family's out.  A pure stem is one family's alone."""

    def __init__(self):
        super().__init__()
        widths = [1, 24, 40, 64, 96]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(widths, widths[1:]))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths[1:])
        self.head = nn.Linear(2 * widths[-1] * MELS // 16, len(music.STEMS))

    def forward(self, power):
        level = torch.log10(power + 1e-4 * power.amax((1, 2), keepdim=True))
        h = ((level - level.mean((1, 2), keepdim=True)) / 1.5)[:, None]
        for conv, norm in zip(self.convs, self.norms):
            h = functional.silu(norm(conv(h)))
        h = torch.cat([h.mean(3), h.amax(3)], 1).flatten(1)
        return self.head(functional.dropout(h, 0.3, self.training))


def spoil(power, rng):
    """The same stems as a codec, a room or an equaliser might leave them, so that only what lasts is learned."""
    n = len(power)
    knots = rng.normal(0, 0.35, (n, 6))
    tilt = np.stack([np.interp(np.linspace(0, 5, MELS), np.arange(6), k) for k in knots])
    power = power * torch.from_numpy(10**tilt).float()[:, :, None]
    speckle = torch.from_numpy(rng.normal(0, 1, tuple(power.shape)) * rng.uniform(0, 0.35, (n, 1, 1))).float()
    power = power * 10**speckle
    under = torch.from_numpy(10 ** rng.uniform(-5, -1.5, (n, 1, 1))).float()  # noise that follows the loudness
    still = torch.from_numpy(10 ** rng.uniform(-6, -2.5, (n, 1, 1))).float()
    return power + under * power.mean(1, keepdim=True) + still * power.mean((1, 2), keepdim=True)


def blend(power, family, rng):
    """Half of the batch gets a stem of another family beneath; (power, [n, 7] shares of energy)."""
    n = len(power)
    other = torch.from_numpy(rng.permutation(n))
    level = torch.from_numpy(10 ** rng.uniform(-3, 0, n) * (rng.random(n) < 0.5)).float()
    one, two = (functional.one_hot(f, len(music.STEMS)).float() for f in (family, family[other]))
    share = (one + level[:, None] * two) / (1 + level[:, None])
    return power + level[:, None, None] * power[other], share


def train_families(power, family, spoiled=True, epochs=14, batch=48):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Families()
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.02)
    steps = epochs * (len(power) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
    for step in range(steps):
        rows = rng.choice(len(power), batch, replace=False)
        mixed, share = blend(torch.from_numpy(power[rows]), torch.from_numpy(family[rows]), rng)
        optimiser.zero_grad()
        functional.cross_entropy(model(spoil(mixed, rng) if spoiled else mixed), share).backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def tempo_cues(x):
    """[140, 67] for each candidate tempo: repetition of four bands and of all after multiples of its beat, and itself."""
    bands = measure.onset_bands(x)
    parts = [bands[a:b].mean(0) for a, b in ((0, 4), (4, 10), (10, 17), (17, 24), (0, 24))]
    out = [np.log2(TEMPI / 105)[:, None], np.log2(TEMPI / 105)[:, None] ** 2]
    for env in parts:
        ac = measure.repetition(env)
        lags = 60 * measure.ONSET_RATE / TEMPI[:, None] * BEATS
        out.append(np.zeros(lags.shape) if ac is None else np.interp(lags, np.arange(len(ac)), ac))
    return np.concatenate(out, axis=1).astype(np.float32)


def rough(x, rng):
    """The samples with noise that follows them and noise that does not, as a codec leaves them."""
    follow, still = 10 ** rng.uniform(-1.7, -0.2), 10 ** rng.uniform(-3, -1.3)
    return (x * (1 + follow * rng.normal(size=len(x))) + still * np.abs(x).max() * rng.normal(size=len(x))).astype(np.float32)


def train_tempo(cues, bpm):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(cues.shape[2], 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    target = np.exp(-0.5 * (np.log(TEMPI / np.asarray(bpm)[:, None]) / 0.012) ** 2)
    cues, target = torch.from_numpy(cues), torch.from_numpy(target / target.sum(1, keepdims=True)).float()
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, 1500)
    for _ in range(1500):
        rows = torch.from_numpy(rng.choice(len(cues), 48, replace=False))
        optimiser.zero_grad()
        noisy = cues[rows] + 0.05 * torch.randn(48, 1, cues.shape[2])
        functional.cross_entropy(model(noisy)[..., 0], target[rows]).backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def lateness(x, bpm):
    """Seconds by which the stem's onsets come after the nearest beat, bar 1 being at 0."""
    at = measure.onset_times(x)
    beat = 60 / bpm
    late = (at / beat + 0.5) % 1 * beat - beat / 2
    return late[np.abs(late) < LATE]


def _family_clip(job):
    series, i = job
    song, x, _ = clips.make(series, i, stem=music.STEMS[i % len(music.STEMS)])
    late = []
    if series == heldout.JUDGES and i < LATES:
        r = heldout.Request(series, i)
        late = lateness(r.render(song.stem), r.song.bpm).tolist()
    return power_mel(heldout.finish(x)), i % len(music.STEMS), late


def _drum_clip(job):
    series, i = job
    song, x, rng = clips.make(series, 100000 + i, stem="drums")
    x = heldout.finish(x)
    return tempo_cues(x), tempo_cues(rough(x, rng)), song.bpm


class Judges:
    """shares(power), tempo(x), late[stem]; `proof` says how good they are on renders they never saw.

    `families` learned under noise and speckle and goes by what lasts; `plain` learned from clean renders alone and forgives nothing.
    """

    def __init__(self, families, plain, tempi, late, proof):
        self.families, self.plain, self.tempi, self.late, self.proof = families, plain, tempi, late, proof

    @torch.no_grad()
    def shares(self, power, plain=False):
        """Of the energy, the share of each of the seven families."""
        return torch.softmax((self.plain if plain else self.families)(torch.from_numpy(power)[None]), 1)[0].numpy()

    @torch.no_grad()
    def tempo(self, x, cues=None):
        """Beats a minute between 50 and 200, free of what was asked."""
        cues = tempo_cues(x) if cues is None else cues
        best = float(TEMPI[int(self.tempi(torch.from_numpy(cues)).argmax())])
        ac = measure.repetition(measure.onsets(x)) if x is not None else None
        return best if ac is None else measure.tempo_near(ac, best, 1.025)


def leak(shares, stem):
    """The share of energy of the two groups (drums, bass, chords) that the stem is not of."""
    mine = GROUPS[music.STEMS.index(stem)]
    return float(sum(s for s, g in zip(shares, GROUPS) if g != mine))


def train(workers, quick=False, say=print):
    """Judges(...), about half an hour on two free cores."""
    count, proofs, drums, drum_proofs = (n // QUICK if quick else n for n in (CLIPS, PROOFS, DRUMS, DRUM_PROOFS))
    say(f"judges: {count + proofs} renders for families, {drums + drum_proofs} for tempo", flush=True)
    jobs = [(heldout.JUDGES, i) for i in range(count)] + [(heldout.PROOF, i) for i in range(proofs)]
    power, family, late = zip(*workers.imap(_family_clip, jobs, chunksize=8))
    power, family = np.stack(power), np.array(family)
    lags = {s: float(np.median(sum((v for v, f in zip(late, family) if music.STEMS[f] == s), []))) for s in music.STEMS}
    jobs = [(heldout.JUDGES, i) for i in range(drums)] + [(heldout.PROOF, i) for i in range(drum_proofs)]
    cues, rough_cues, bpm = zip(*workers.imap(_drum_clip, jobs, chunksize=8))
    tempi = train_tempo(np.stack(cues[:drums] + rough_cues[:drums]), 2 * bpm[:drums])
    families, plain = (train_families(power[:count], family[:count], spoiled) for spoiled in (True, False))
    out = Judges(families, plain, tempi, lags, {})
    out.proof = prove(out, power[count:], family[count:], cues[drums:], bpm[drums:])
    out.proof["quick"] = quick
    return out


def prove(judges, power, family, cues, bpm):
    """Accuracy on renders never learned from, and what the leak reads when a tenth or a hundredth is another stem's."""
    shares = np.stack([judges.shares(p) for p in power])
    right = shares.argmax(1) == family
    plain = np.array([judges.shares(p, plain=True).argmax() for p in power]) == family
    out = {"family": float(right.mean()), "plain": float(plain.mean()), "tempo": float(np.mean([abs(judges.tempo(None, c) / b - 1) < 0.03 for c, b in zip(cues, bpm)]))}
    out.update({s: float(right[family == i].mean()) for i, s in enumerate(music.STEMS)})
    for level in (0, 0.01, 0.1):
        mixed = []
        for i, f in enumerate(family):
            j = next(j for j in range(i + 1, i + 99) if GROUPS[family[j % len(family)]] != GROUPS[f]) % len(family)
            mixed.append(leak(judges.shares(power[i] + level * power[j]), music.STEMS[f]))
        out[f"leak {level}"] = float(np.mean(mixed))
    return out


def load(path, workers, quick=False):
    """The judges of that file, made first where there is none."""
    if not os.path.exists(path):
        judges = train(workers, quick)
        parts = (judges.families.state_dict(), judges.plain.state_dict(), judges.tempi.state_dict(), judges.late, judges.proof)
        torch.save(parts, path + ".part")
        os.replace(path + ".part", path)
    families, plain, tempi, late, proof = torch.load(path, weights_only=False)
    judges = Judges(Families(), Families(), None, late, proof)
    for model, state in ((judges.families, families), (judges.plain, plain)):
        model.load_state_dict(state)
        model.eval()
    width = tempi["0.weight"].shape[1]
    judges.tempi = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    judges.tempi.load_state_dict(tempi)
    return judges
