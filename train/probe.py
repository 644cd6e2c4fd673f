"""Listen to a checkpoint with the measures, without the engine: generates held-out requests in PyTorch.

  probe.py --work DIR [--lm lm.pt] [--n 24] [--guidance 3] [--wav OUT] [--stems drums,bass]
"""

import argparse
import json
import os
import time

import numpy as np
import torch
from tokenizers import Tokenizer

import captions
import clips
import codec
import control
import measure
import model as lm
import music


def requests(seed, n, stems):
    out = []
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        song = music.Song(rng, stem=stems[i % len(stems)])
        song.start = 0.0
        x = clips.render(song, rng)
        out.append((song, x, captions.canonical(rng, song)))
    return out


def describe(x, song, rng):
    row = {}
    row["grid"], row["even"] = measure.on_grid(x, song.bpm)
    row["bar"], bpm = measure.tempo_fit(x, song.bpm)
    row["bpm"] = abs(bpm / song.bpm - 1) < 0.02
    estimate = measure.tempo(x)[0]
    row["free"] = abs(estimate / song.bpm - 1) < 0.02
    if song.stem != "drums":
        row["chord"] = measure.chord_agreement(x, song.bpm, song.chords)
        others = [(int(c[0] + rng.choice([1, 2, 4, 6])) % 12, c[1]) for c in song.chords]
        row["wrong"] = measure.chord_agreement(x, song.bpm, others)
    row["faults"] = len(measure.faults(x))
    return row


def table(name, rows, stems):
    for stem in stems:
        mine = [r for r, s in rows if s == stem]
        keys = [k for k in ("grid", "even", "bar", "bpm", "free", "chord", "wrong", "faults") if k in mine[0]]
        print(f"{name:9s} {stem:7s}", " ".join(f"{k} {np.mean([m[k] for m in mine]):.2f}" for k in keys), flush=True)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--work", required=True)
    args.add_argument("--lm", default="lm.pt")
    args.add_argument("--n", type=int, default=24)
    args.add_argument("--guidance", type=float, default=3.0)
    args.add_argument("--temperature", type=float, default=1.0)
    args.add_argument("--top-k", type=int, default=50)
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--real", action="store_true", help="also measure the renders and the codec alone")
    args.add_argument("--stems", default=",".join(music.STEMS))
    args.add_argument("--wav")
    got = args.parse_args()
    torch.set_num_threads(got.threads)
    stems = got.stems.split(",")
    asked = requests(4242, got.n, stems)
    coder = codec.load(os.path.join(got.work, "codec.pt"))
    rng = np.random.default_rng(0)
    if got.real:
        table("render", [(describe(x, s, rng), s.stem) for s, x, _ in asked], stems)
        x = torch.from_numpy(np.stack([x for _, x, _ in asked]))[:, None]
        y = torch.cat([codec.decode(coder, codec.encode(coder, x[i:i + 4])) for i in range(0, len(x), 4)])[:, 0].numpy()
        table("codec", [(describe(v, s, rng), s.stem) for v, (s, _, _) in zip(y, asked)], stems)
    path = os.path.join(got.work, got.lm)
    if not os.path.exists(path):
        return
    model = lm.Model()
    saved = torch.load(path, map_location="cpu", weights_only=False)
    model.load_state_dict(saved["model"])
    model.eval()
    tokenizer = Tokenizer.from_file(os.path.join(got.work, "tokenizer.json"))
    ids = torch.tensor([e.ids for e in tokenizer.encode_batch([c for _, _, c in asked])])
    track = torch.from_numpy(np.stack([control.track(s.bpm, s.chords) for s, _, _ in asked]))
    begun = time.time()
    codes = model.generate(track, ids, (ids != 0).long(), got.guidance, got.temperature, got.top_k,
                           rng=torch.Generator().manual_seed(1))
    y = torch.cat([codec.decode(coder, codes[i:i + 4]) for i in range(0, len(codes), 4)])[:, 0].numpy()
    print(f"step {saved['step']} after {saved['spent'] / 60:.1f} min; guidance {got.guidance} temperature {got.temperature} "
          f"top-k {got.top_k}; generated in {time.time() - begun:.0f} s", flush=True)
    table("generated", [(describe(v, s, rng), s.stem) for v, (s, _, _) in zip(y, asked)], stems)
    if got.wav:
        import soundfile
        os.makedirs(got.wav, exist_ok=True)
        for i, (v, (s, x, c)) in enumerate(zip(y, asked)):
            name = f"{i:02d}-{s.stem}-{s.style.replace(' ', '')}-{s.bpm:g}"
            soundfile.write(os.path.join(got.wav, name + ".wav"), np.clip(v, -1, 1), codec.RATE)
            soundfile.write(os.path.join(got.wav, name + "-render.wav"), x, codec.RATE)


if __name__ == "__main__":
    main()
