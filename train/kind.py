"""The network that hears which stem a sound is, and what else leaks into it: src/engine/judge_kind.c runs it.

  kind.py features --work DIR [--made DIR]     renders of pool.npy, and stems that the shipped model made, as log-mel
  kind.py train    --work DIR                  WORK/kind.pt, two minutes
  kind.py export   --work DIR                  src/engine/judge_kind_tab.h, and the fixture of its test

Renders teach the seven types.  Stems that the model made teach the three groups alone (drums, bass, what plays chords): what a generated
"guitar" sounds like is for the renders to say.  Half of the batch has a second stem mixed in, so the output is shares of energy.
"""

import argparse
import glob
import os

import numpy as np
import soundfile
import torch
from scipy import signal
from torch import nn
from torch.nn import functional

import music

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = ["drums", "bass", "guitar", "vocals", "piano", "synth", "other"]  # src/request/stems.c
GROUPS = [0, 1, 2, 2, 2, 2, 2]
RATE, SIZE, HOP, BANDS = 22050, 1024, 512, 48
LOW, HIGH = 40.0, 7600.0
WIDTHS = [1, 12, 24, 40]
FLOOR = 1e-4  # of the strongest band
ARMS = 8
POOL_SEED, HELD = 11, 140  # series of pool.npy (data.py), and how many of its clips prove the network


def halve(x):
    """src/audio/listen.c: half the rate."""
    at = 2 * np.arange(ARMS) + 1
    tap = np.where(np.arange(ARMS) % 2, -1, 1) / (np.pi * at) * (0.5 + 0.5 * np.cos(2 * np.pi * at / (4 * ARMS)))
    tap = tap / tap.sum() / 4
    whole = np.zeros(4 * ARMS - 1)
    whole[2 * ARMS - 1] = 0.5
    whole[2 * ARMS - 1 + at] = whole[2 * ARMS - 1 - at] = tap
    return signal.fftconvolve(x, whole)[2 * ARMS - 1 :][: len(x)][::2]


def mel_of(hz):
    return np.log2(1 + hz / 700)


def filters(rate, size):
    """[48, bins] triangles, evenly spread over mel."""
    edge = 700 * (2 ** np.linspace(mel_of(LOW), mel_of(HIGH), BANDS + 2) - 1)
    f = np.arange(size // 2 + 1) * rate / size
    up, down = (f - edge[:-2, None]) / np.diff(edge)[:-1, None], (edge[2:, None] - f) / np.diff(edge)[1:, None]
    return np.maximum(0, np.minimum(up, down))


def power(x):
    """[48, frames] of samples at 22.05 kHz."""
    x = np.pad(x, (0, max(0, SIZE - len(x))))
    frames = np.lib.stride_tricks.sliding_window_view(x, SIZE)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SIZE) / SIZE)
    return (filters(RATE, SIZE) @ (np.abs(np.fft.rfft(frames * window)) ** 2).T).astype(np.float32)


def heard(x, rate):
    """power() of mono samples at any rate, as from a 44.1 kHz file."""
    g = np.gcd(rate, 2 * RATE)
    return power(halve(signal.resample_poly(x, 2 * RATE // g, rate // g)))


def level(p):
    """What the network is given of [n, 48, frames] power."""
    p = torch.log10(p + FLOOR * p.amax((1, 2), keepdim=True).clamp_min(1e-20))
    return ((p - p.mean((1, 2), keepdim=True)) / 1.5)[:, None]


class Kind(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(WIDTHS, WIDTHS[1:]))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in WIDTHS[1:])
        self.head = nn.Linear(2 * WIDTHS[-1] * BANDS // 8, len(TYPES))

    def forward(self, p):
        h = level(p)
        for conv, norm in zip(self.convs, self.norms):
            h = functional.relu(norm(conv(h)))
        h = torch.cat([h.mean(3), h.amax(3)], 1).flatten(1)
        return self.head(functional.dropout(h, 0.3, self.training))


def spoil(p, rng):
    """The same stems as a codec, a room or an equaliser might leave them."""
    n = len(p)
    tilt = np.stack([np.interp(np.linspace(0, 5, BANDS), np.arange(6), k) for k in rng.normal(0, 0.3, (n, 6))])
    p = p * torch.from_numpy(10**tilt).float()[:, :, None]
    p = p * 10 ** torch.from_numpy(rng.normal(0, 1, tuple(p.shape)) * rng.uniform(0, 0.25, (n, 1, 1))).float()
    under = torch.from_numpy(10 ** rng.uniform(-5, -2, (n, 1, 1))).float()
    return p + under * p.mean(1, keepdim=True)


def features(work, made):
    pool = np.load(os.path.join(work, "pool.npy"), mmap_mode="r")
    family = [TYPES.index(music.Song(np.random.default_rng([POOL_SEED, i, 0])).stem) for i in range(len(pool))]
    renders = np.stack([heard(x / 32768, 32000)[:, :428] for x in pool])
    stems, names = [], sorted(glob.glob(os.path.join(made, "*", "*.wav"))) if made else []
    for path in names:
        x, rate = soundfile.read(path, dtype="float32", always_2d=True)
        stems.append(heard(x.mean(1), rate)[:, :428])
    kinds = [TYPES.index(os.path.basename(p)[:-4]) for p in names]
    np.savez(os.path.join(work, "kind.npz"), renders=renders, family=family, made=np.array(stems), kinds=kinds)


def loss_of(out, share, real):
    """Cross-entropy of types for renders, of groups for the rest."""
    p = torch.softmax(out, 1)
    group = torch.tensor(GROUPS)
    sums = torch.stack([p[:, group == g].sum(1) for g in range(3)], 1)
    wants = torch.stack([share[:, group == g].sum(1) for g in range(3)], 1)
    types = -(share * torch.log_softmax(out, 1)).sum(1)
    groups = -(wants * torch.log(sums + 1e-9)).sum(1)
    return torch.where(real, types, groups).mean()


def train(work, steps=900, batch=40):
    data = np.load(os.path.join(work, "kind.npz"))
    renders, family = data["renders"][HELD:], data["family"][HELD:]
    made, kinds = data["made"], data["kinds"]
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Kind()
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, steps)
    odds = 1 / np.bincount(family)[family]
    few = batch // 5 if len(made) else 0
    for step in range(steps):
        rows = rng.choice(len(renders), batch - few, p=odds / odds.sum())
        p, f = renders[rows], family[rows]
        if few:
            more = rng.choice(len(made), few)
            p, f = np.concatenate([p, made[more]]), np.concatenate([f, kinds[more]])
        p = torch.from_numpy(p)
        p = p / p.mean((1, 2), keepdim=True).clamp_min(1e-12)
        real = torch.arange(batch) < batch - few
        other = torch.from_numpy(rng.permutation(batch))
        loud = torch.from_numpy(10 ** rng.uniform(-3, 0, batch) * (rng.random(batch) < 0.5)).float()
        one = functional.one_hot(torch.from_numpy(f), len(TYPES)).float()
        share = (one + loud[:, None] * one[other]) / (1 + loud[:, None])
        mixed = p + loud[:, None, None] * p[other]
        at = int(rng.integers(0, 128))
        optimiser.zero_grad()
        loss = loss_of(model(spoil(mixed[:, :, at : at + 300], rng)), share, real & (real[other] | (loud == 0)))
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss:.3f}, held-out renders {accuracy(model, data):.3f}", flush=True)
    torch.save(model.state_dict(), os.path.join(work, "kind.pt"))


@torch.no_grad()
def accuracy(model, data):
    model.eval()
    got = model(torch.from_numpy(data["renders"][:HELD])).argmax(1).numpy()
    model.train()
    return float((got == data["family"][:HELD]).mean())


# What C reads: batch norms folded into the convolutions, weights in 8 bits with a scale for each output.


def narrow(w):
    """(int8 values, scale of each row) of [rows, ...]."""
    flat = w.reshape(len(w), -1)
    scale = np.abs(flat).max(1) / 127
    return np.round(flat / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def folded(model):
    """[(weight, bias)] of the three convolutions and the head."""
    out = []
    for conv, norm in zip(model.convs, model.norms):
        gain = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
        weight = conv.weight.detach() * gain[:, None, None, None]
        out.append((weight.numpy(), ((conv.bias.detach() - norm.running_mean) * gain + norm.bias.detach()).numpy()))
    out.append((model.head.weight.detach().numpy(), model.head.bias.detach().numpy()))
    return out


def table(kind, name, values, form, width):
    lines, line = [], "   "
    for v in values:
        word = " " + form % v + ","
        if len(line) + len(word) > width:
            lines.append(line)
            line = "   "
        line += word
    return f"static const {kind} {name}[{len(values)}] = {{\n" + "\n".join([*lines, line]) + "\n};\n"


@torch.no_grad()
def export(work):
    model = Kind()
    model.load_state_dict(torch.load(os.path.join(work, "kind.pt")))
    model.eval()
    layers = [(*narrow(w), b) for w, b in folded(model)]
    root = os.path.join(HERE, "..")
    with open(os.path.join(root, "src/engine/judge_kind_tab.h"), "w") as f:
        f.write("// judge_kind_tab.h - the weights of judge_kind.c; written by train/kind.py export\n#pragma once\n#include <stdint.h>\n\n")
        f.write("// clang-format off\n")
        for i, (q, scale, bias) in enumerate(layers):
            name = f"conv{i}" if i < len(layers) - 1 else "head"
            f.write(table("int8_t", name + "_weight", q.flatten().tolist(), "%d", 100))
            f.write(table("float", name + "_scale", scale.tolist(), "%.9gf", 100))
            f.write(table("float", name + "_bias", bias.tolist(), "%.9gf", 100))
        f.write("// clang-format on\n")
    fixture(os.path.join(root, "tests/unit/judge_kind_fixture.h"), layers)


def fixture(path, layers):
    """A made-up spectrum, and what torch says of it with the weights that C has."""
    rng = np.random.default_rng(7)
    p = np.round(10 ** rng.uniform(-4, 1, (BANDS, 21)), 5).astype(np.float32)
    h = level(torch.from_numpy(p)[None])
    for q, scale, bias in layers[:-1]:
        w = torch.from_numpy(q.astype(np.float32) * scale[:, None]).reshape(len(q), -1, 3, 3)
        h = functional.conv2d(h, w, torch.from_numpy(bias), 2, 1).relu()
    h = torch.cat([h.mean(3), h.amax(3)], 1).flatten(1)
    q, scale, bias = layers[-1]
    out = torch.softmax(h @ torch.from_numpy(q.astype(np.float32) * scale[:, None]).T + torch.from_numpy(bias), 1)[0]
    with open(path, "w") as f:
        f.write("// judge_kind_fixture.h - a spectrum and PyTorch's answer; written by train/kind.py export\n#pragma once\n\n// clang-format off\n")
        f.write(table("float", "kind_power", [x if "." in (x := "%.6g" % v) or "e" in x else x + "." for v in p.flatten()], "%sf", 100))
        f.write(table("double", "kind_share", out.tolist(), "%.9g", 100))
        f.write("// clang-format on\n")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("stage", choices=["features", "train", "export"])
    args.add_argument("--work", required=True)
    args.add_argument("--made", help="a folder of folders of generated stems")
    got = args.parse_args()
    torch.set_num_threads(1)
    {"features": lambda: features(got.work, got.made), "train": lambda: train(got.work), "export": lambda: export(got.work)}[got.stage]()


if __name__ == "__main__":
    main()
