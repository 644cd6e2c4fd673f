"""The network that names the chord of a bar: src/audio/harmony_chord_tab.h.

  chords.py --work DIR [--tool build/hears]     after pulse.py features; two minutes

It learns from the renders of pulse.py, of which every tenth proves it.  One network judges all 24 triads: it is given the notes of the
bar and of the whole piece as seen from a root, and says how well a major and a minor triad on it fit.  Some bars have no bass, a kick in it, or noise.
"""

import argparse
import glob
import json
import os
import subprocess

import numpy as np
import torch
from torch import nn

import control
from kind import table

HERE = os.path.dirname(os.path.abspath(__file__))
INPUTS, HIDDEN, STEPS, BATCH, SEED = 36, 20, 4000, 256, 0


def edges(truth):
    return [(k // 4, b) for k, b in enumerate(truth["beats"]) if k % 4 == 0 and 0 <= b < truth["seconds"]]


def truth_of(path):
    with open(path.replace(".wav", ".json")) as f:
        return json.load(f)


def hear(paths, tool):
    lines = [" ".join([p, *(f"{b:.4f}" for _, b in edges(truth_of(p)))]) for p in paths if not os.path.exists(p + ".bars")]
    subprocess.run([tool, "bars"], input="".join(line + "\n" for line in lines), text=True, check=True)


def wanted(name):
    """[24] major triads, then minor ones; a chord without a third is both."""
    root, quality = control.parse(name)
    steps, out = control.QUALITIES[quality], np.zeros(24, np.float32)
    if 3 not in steps:
        out[root] = 1
    if 4 not in steps:
        out[12 + root] = 1
    return out / out.sum()


def scaled(v):
    """Roots of the shares; nothing stays nothing."""
    return np.sqrt(v / np.maximum(v.sum(-1, keepdims=True), 1e-20))


def material(path):
    """(inputs [bars, 36], wanted [bars, 24]) of a piece."""
    rows, truth = np.fromfile(path + ".bars", np.float32).reshape(-1, 24), truth_of(path)
    whole = scaled((rows[:, :12] + rows[:, 12:]).sum(0, keepdims=True)).repeat(len(rows), 0)
    chords = [wanted(truth["chords"][k % len(truth["chords"])]) for k, _ in edges(truth)[: len(rows)]]
    return np.concatenate([scaled(rows[:, :12]), scaled(rows[:, 12:]), whole], 1), np.stack(chords)


class Chords(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, 2, bias=False)
        turn = (np.arange(12)[None] + np.arange(12)[:, None]) % 12
        self.turn = torch.from_numpy(np.concatenate([turn, turn + 12, turn + 24], 1))

    def forward(self, x):
        """[n, 24] scores of [n, 36]"""
        return self.out(torch.relu(self.hidden(x[:, self.turn]))).transpose(1, 2).flatten(1)


def spoiled(x):
    """Without bass or treble, with noise, or with a kick drum that has a pitch of its own in the bass."""
    bass, treble, whole = (torch.rand(len(x), 1) > k for k in (0.25, 0.03, 0.2))
    kick = torch.zeros(len(x), 12).scatter_(1, torch.randint(0, 12, (len(x), 1)), 1) * (torch.rand(len(x), 1) < 0.3)
    low = (x[:, 12:24] * bass) ** 2 + kick * torch.rand(len(x), 1) * 2
    low = (low / low.sum(1, keepdim=True).clamp_min(1e-9)).sqrt()
    x = torch.cat([x[:, :12] * treble, low, x[:, 24:] * whole], 1)
    return (x + 0.05 * torch.randn_like(x)).clamp_min(0)


def train(pieces):
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    join = lambda some: [torch.from_numpy(np.concatenate(v).astype(np.float32)) for v in zip(*some)]
    x, y = join([p for i, p in enumerate(pieces) if i % 10 != 9])
    kept = join(pieces[9::10])
    model = Chords()
    optimiser = torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, STEPS)
    for step in range(STEPS):
        rows = rng.integers(0, len(x), BATCH)
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(spoiled(x[rows])), y[rows])
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 1000 == 999:
            print(f"step {step + 1}: loss {loss:.3f}, learned {right(model, x, y)}, kept {right(model, *kept)}", flush=True)
    return model


@torch.no_grad()
def right(model, x, y):
    best = model(x).argmax(1)
    third = y.gather(1, best[:, None])[:, 0] > 0
    root = (y.reshape(-1, 2, 12).sum(1).gather(1, best[:, None] % 12))[:, 0] > 0
    return f"root {root.float().mean():.3f}, third {third.float().mean():.3f}"


def export(model):
    with open(os.path.join(HERE, "../src/audio/harmony_chord_tab.h"), "w") as f:
        f.write("// harmony_chord_tab.h - the weights that name a bar's chord; written by train/chords.py\n#pragma once\n\n")
        f.write(f"#define CHORD_HIDDEN {HIDDEN}\n\n// clang-format off\n")
        for name, values in (("hidden_weight", model.hidden.weight), ("hidden_bias", model.hidden.bias), ("out_weight", model.out.weight)):
            f.write(table("float", name, values.detach().flatten().tolist(), "%.7ef", 100))
        f.write("// clang-format on\n")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--work", required=True)
    args.add_argument("--tool", default=os.path.join(HERE, "../build/hears"))
    got = args.parse_args()
    torch.set_num_threads(1)
    paths = sorted(glob.glob(os.path.join(got.work, "pulse", "*.wav")))
    hear(paths, got.tool)
    export(train([material(p) for p in paths]))


if __name__ == "__main__":
    main()
