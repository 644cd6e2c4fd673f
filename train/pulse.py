"""The network that hears beats and bars of a recording: src/engine/judge_pulse.c runs it.

  pulse.py features --work DIR [--n 900] [--tool build/hears]    renders of a series of its own (pieces.py), and what C hears of them
  pulse.py train    --work DIR [--rounds 60]                      WORK/pulse/pulse.pt; a quarter of an hour
  pulse.py export   --work DIR                                    src/engine/judge_pulse_tab.h, and the fixture of its test

Every tenth piece is kept to prove the network.  A piece sounds anew in each round: faster or slower, through another equaliser, with
noise under it, and without its lowest or highest bands.
"""

import argparse
import glob
import json
import os
import subprocess

import numpy as np
import soundfile
import torch
from torch import nn
from torch.nn import functional

import pieces
from kind import narrow, table

HERE = os.path.dirname(os.path.abspath(__file__))
SERIES, SEED = 792, 0
BANDS, INPUTS, WIDTH, BLOCKS = 24, 28, 24, 9
PER_SECOND, LOUD, LEVEL = 50, 1000, 0.1  # judge_pulse.c
LENGTH, BATCH = 960, 12  # frames; pieces
NEAR = 3  # frames by which a peak may be off
REACH = 1.5  # frames on each side of a beat where the network is to say so


class Pulse(nn.Module):
    """One convolution, then blocks that add to it, each with twice the reach of the one before; [n, 2, frames]: beat, bar."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(INPUTS, WIDTH, 5, padding=2)
        self.blocks = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 3, padding=2**i, dilation=2**i) for i in range(BLOCKS))
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH) for _ in range(BLOCKS + 1))
        self.head = nn.Conv1d(WIDTH, 2, 1)

    def forward(self, x):
        h = functional.relu(self.norms[0](self.first(x)))
        for conv, norm in zip(self.blocks, self.norms[1:]):
            h = h + functional.dropout1d(functional.relu(norm(conv(h))), 0.1, self.training)
        return self.head(h)


# --- material


def rendered(i, folder):
    path = os.path.join(folder, f"{i:04d}")
    if not os.path.exists(path + ".json"):
        pieces.SERIES = SERIES
        sounds, truth = pieces.make(i)
        soundfile.write(path + ".wav", sounds["mix"], pieces.RATE, subtype="PCM_16")
        with open(path + ".json", "w") as f:
            json.dump(truth, f)
    return path + ".wav"


def features(n, folder, tool):
    os.makedirs(folder, exist_ok=True)
    for i in range(n):
        path = rendered(i, folder)
        if not os.path.exists(path + ".pulse"):
            subprocess.run([tool, "pulse", path], check=True)


def material(folder):
    """[(inputs [28, frames], beats, bars)], times in frames."""
    out = []
    for path in sorted(glob.glob(os.path.join(folder, "*.pulse"))):
        x = np.fromfile(path, np.float32).reshape(INPUTS, -1)
        with open(path[: -len(".wav.pulse")] + ".json") as f:
            truth = json.load(f)
        rate = truth["seconds"] and (x.shape[1] - 1) / truth["seconds"]
        beats = np.array(truth["beats"]) * PER_SECOND
        assert abs(rate - PER_SECOND) < 0.1
        out.append((x, beats, beats[::4]))
    return out


def wanted(times, frames):
    """1 at each time, less on its neighbours."""
    far = np.abs(np.arange(frames)[:, None] - times[None]).min(1)
    return np.clip(1 - far / REACH, 0, 1).astype(np.float32)


def stretched(piece, rng):
    """LENGTH frames of a piece from anywhere, up to an eighth faster or slower."""
    x, beats, bars = piece
    speed = np.exp2(rng.uniform(-0.17, 0.17))
    start = rng.uniform(0, max(x.shape[1] - LENGTH * speed, 0))
    at = np.clip(start + speed * np.arange(LENGTH), 0, x.shape[1] - 1)
    k = np.minimum(at.astype(int), x.shape[1] - 2)
    part = (at - k).astype(np.float32)
    moved = lambda t: (t - start) / speed
    return x[:, k] * (1 - part) + x[:, k + 1] * part, wanted(moved(beats), LENGTH), wanted(moved(bars), LENGTH)


def spoiled(x, rng):
    """The same through another equaliser, with noise under it, or narrower."""
    n = len(x)
    power = (torch.exp2(x[:, :BANDS] / LEVEL) - 1) / LOUD
    tilt = np.stack([np.interp(np.linspace(0, 5, BANDS), np.arange(6), k) for k in rng.normal(0, 0.3, (n, 6))])
    for row in tilt:
        if rng.random() < 0.15:
            row[: rng.integers(1, 7)] -= 4
        if rng.random() < 0.15:
            row[-rng.integers(1, 9) :] -= 4
    power = power * torch.from_numpy(10**tilt).float()[:, :, None]
    power = power + torch.from_numpy(10 ** rng.uniform(-6, -2.5, (n, 1, 1))).float()
    power = power / power.sum(1).mean(1)[:, None, None]
    changes = x[:, BANDS:] * torch.from_numpy(np.exp2(rng.normal(0, 0.2, (n, 1, 1)))).float()
    return torch.cat([LEVEL * torch.log2(1 + LOUD * power), changes], 1)


# --- learning


def peaks(p, least=0.3):
    return np.flatnonzero((p[1:-1] > p[:-2]) & (p[1:-1] >= p[2:]) & (p[1:-1] > least)) + 1


def met(found, times, frames):
    times = times[(times >= 0) & (times < frames)]
    if not len(found) or not len(times):
        return 0.0
    near = np.abs(np.subtract.outer(times, found)).min(1) <= NEAR
    return 2 * near.sum() / (len(found) + len(times))


@torch.no_grad()
def proven(model, kept):
    """Mean F-measure of the peaks alone: (beats, bars)."""
    model.eval()
    got = []
    for x, beats, bars in kept:
        p = torch.sigmoid(model(torch.from_numpy(x)[None])[0]).numpy()
        got.append([met(peaks(p[0]), beats, x.shape[1]), met(peaks(p[1]), bars, x.shape[1])])
    model.train()
    return np.mean(got, 0)


def train(folder, rounds):
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    all_of = material(folder)
    learned, kept = [p for i, p in enumerate(all_of) if i % 10 != 9], all_of[9::10]
    model = Pulse()
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01)
    steps = len(learned) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, rounds * steps)
    weight = torch.tensor([1.0, 1.5])[:, None]
    for k in range(rounds):
        order, total = rng.permutation(len(learned)), 0
        for s in range(steps):
            some = [stretched(learned[i], rng) for i in order[s * BATCH :][:BATCH]]
            x = spoiled(torch.from_numpy(np.stack([p[0] for p in some])), rng)
            want = torch.from_numpy(np.stack([np.stack(p[1:]) for p in some]))
            optimiser.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(model(x), want, weight.expand_as(want))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        torch.save(model.state_dict(), os.path.join(folder, "pulse.pt"))
        good = f", kept: beats {{:.3f}}, bars {{:.3f}}".format(*proven(model, kept)) if k % 4 == 3 or k == rounds - 1 else ""
        print(f"round {k + 1}: loss {total / steps:.4f}{good}", flush=True)


# --- what C reads: batch norms folded into the convolutions, weights in 8 bits with a scale for each output


def folded(conv, norm):
    gain = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    bias = (conv.bias.detach() - norm.running_mean) * gain + norm.bias.detach()
    return (*narrow((conv.weight.detach() * gain[:, None, None]).numpy()), bias.numpy())


def layers_of(model):
    """{name: (weights, scales, biases)}"""
    blocks = [folded(c, n) for c, n in zip(model.blocks, model.norms[1:])]
    head = (*narrow(model.head.weight.detach().numpy()), model.head.bias.detach().numpy())
    return {"first": folded(model.first, model.norms[0]), "block": tuple(map(np.stack, zip(*blocks))), "head": head}


def export(folder):
    model = Pulse()
    model.load_state_dict(torch.load(os.path.join(folder, "pulse.pt")))
    layers, root = layers_of(model.eval()), os.path.join(HERE, "..")
    with open(os.path.join(root, "src/engine/judge_pulse_tab.h"), "w") as f:
        f.write("// judge_pulse_tab.h - the weights of judge_pulse.c; written by train/pulse.py export\n#pragma once\n#include <stdint.h>\n\n")
        f.write(f"#define PULSE_WIDTH {WIDTH}\n#define PULSE_BLOCKS {BLOCKS}\n#define FIRST_TAPS 5\n#define BLOCK_TAPS 3\n\n// clang-format off\n")
        for name, (weight, scale, bias) in layers.items():
            f.write(table("int8_t", name + "_weight", weight.flatten().tolist(), "%d", 100))
            f.write(table("float", name + "_scale", scale.flatten().tolist(), "%.9gf", 100))
            f.write(table("float", name + "_bias", bias.flatten().tolist(), "%.9gf", 100))
        f.write("// clang-format on\n")
    fixture(os.path.join(root, "tests/unit/judge_pulse_fixture.h"), layers)


def fixture(path, layers, frames=45):
    """Made-up inputs, and what torch says of them with the weights that C has."""
    rng = np.random.default_rng(7)
    x = np.round(rng.uniform(0, 1.2, (INPUTS, frames)), 3).astype(np.float32)
    wide = lambda q, scale: torch.from_numpy(q.astype(np.float32) * scale[:, None])
    q, scale, bias = layers["first"]
    h = functional.conv1d(torch.from_numpy(x)[None], wide(q, scale).reshape(WIDTH, INPUTS, 5), torch.from_numpy(bias), padding=2).relu()
    for i, (q, scale, bias) in enumerate(zip(*layers["block"])):
        w = wide(q, scale).reshape(WIDTH, WIDTH, 3)
        h = h + functional.conv1d(h, w, torch.from_numpy(bias), padding=2**i, dilation=2**i).relu()
    q, scale, bias = layers["head"]
    p = torch.sigmoid(functional.conv1d(h, wide(q, scale)[:, :, None], torch.from_numpy(bias)))[0]
    with open(path, "w") as f:
        f.write("// judge_pulse_fixture.h - inputs and PyTorch's answer; written by train/pulse.py export\n#pragma once\n\n// clang-format off\n")
        f.write(table("float", "pulse_in", x.flatten().tolist(), "%.3ff", 100))
        f.write(table("float", "pulse_beat", p[0].tolist(), "%.6ef", 100))
        f.write(table("float", "pulse_bar", p[1].tolist(), "%.6ef", 100))
        f.write("// clang-format on\n")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("stage", choices=["features", "train", "export"])
    args.add_argument("--work", required=True)
    args.add_argument("--n", type=int, default=900)
    args.add_argument("--rounds", type=int, default=60)
    args.add_argument("--tool", default=os.path.join(HERE, "../build/hears"))
    got = args.parse_args()
    torch.set_num_threads(2)
    folder = os.path.join(got.work, "pulse")
    {"features": lambda: features(got.n, folder, got.tool), "train": lambda: train(folder, got.rounds), "export": lambda: export(folder)}[got.stage]()


if __name__ == "__main__":
    main()
