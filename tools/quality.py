"""What narrow weights cost: the distribution of the next code against f32's, along sampled sequences.

    python tools/quality.py MODEL [--weights bf16 q8 q4] [--prompts 8] [--seconds 5]      (make quality MODEL=dir)

For each prompt a sequence is sampled with f32 weights (guidance 3, temperature 1, the model's top-k). Every kind of weights
then gets the same sequence, column by column (`stemforge trace --weights`, teacher forcing, caches as it has them when it
generates), and its distribution of each code, over all codes of the codebook, is held against that of f32:
  KL      mean of sum p ln(p / q), in nats, p from f32; guided is what is sampled from, conditional the branch with the text
  99%     99 of 100 codes have a KL below it
  top-1   share of codes whose most probable value is the same
Needs numpy and safetensors (tools/requirements.txt).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file

HERE = os.path.dirname(os.path.abspath(__file__))
GUIDANCE = 3.0
# As the engine writes them: sentences for models that take any text, captions for those trained on our own.
SENTENCES = [
    "Isolated drum kit track, rock style, 120 bpm",
    "Isolated bass guitar track, funk style, 100 bpm, in the key of E minor",
    "Isolated electric guitar track, blues style, 90 bpm, in the key of A major, warm and slow",
    "Isolated piano track, jazz style, 140 bpm, in the key of F major",
    "Isolated synthesizer track, techno style, 128 bpm, dark",
    "Isolated drum kit track, hip hop style, 86 bpm, dry",
    "Isolated strings track, classical style, 70 bpm, in the key of D minor",
    "Isolated bass guitar track, reggae style, 76 bpm, in the key of C major",
]
CAPTIONS = [
    ("drums, rock, 120 bpm", 120, ["C"]),
    ("bass, funk, 100 bpm, E minor", 100, ["Em", "Em", "Am", "B7"]),
    ("guitar, blues, 90 bpm, A major, sparse", 90, ["A7", "D7", "A7", "E7"]),
    ("piano, jazz, 140 bpm, F major", 140, ["Gm7", "C7", "Fmaj7", "Fmaj7"]),
    ("synth, techno, 128 bpm, C minor, dark", 128, ["Cm", "Cm", "Ab", "Bb"]),
    ("drums, house, 124 bpm, dry", 124, ["Am"]),
    ("other, classical, 70 bpm, D minor", 70, ["Dm", "Gm", "A7", "Dm"]),
    ("bass, reggae, 76 bpm, C major", 76, ["C", "F", "G", "C"]),
]


def runs_of(config, count, frames):
    for i in range(count):
        run = {"name": "quality", "guidance": GUIDANCE}
        if "stemforge" in config:
            run["prompt"], run["bpm"], run["chords"] = CAPTIONS[i % len(CAPTIONS)]
        else:
            run["prompt"] = SENTENCES[i % len(SENTENCES)]
        yield run, {"greedy_frames": frames, "temperature": 1.0, "seed": i}


def trace(args, weights, run, folder):
    """The engine's tensors of a run."""
    case, out = os.path.join(folder, "run.json"), os.path.join(folder, "out.safetensors")
    with open(case, "w") as f:
        json.dump(run, f)
    done = subprocess.run(
        [args.binary, "trace", args.model, "--weights", weights, "--case", case, "--out", out], capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"stemforge trace, {weights}: exit {done.returncode}\n{done.stderr.strip()}")
    return load_file(out)


def delayed(codes, special, channels):
    """Decoder input columns [K, S] of frames [K, T], and which entries of the scores [S, K] are of a frame."""
    books, frames = codes.shape
    late = np.arange(books) // channels
    steps = frames + late[-1]
    frame = np.arange(steps)[:, None] - late  # that the scores of column s, codebook k are about
    columns = np.full((books, steps), special)
    for k in range(books):
        columns[k, 1 + late[k] : 1 + late[k] + frames] = codes[k, : steps - 1 - late[k]]
    return columns, (frame >= 0) & (frame < frames)


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def distances(want, got):
    """KL and agreement of each row of scores."""
    p, q = log_softmax(want), log_softmax(got)
    return (np.exp(p) * (p - q)).sum(-1), p.argmax(-1) == q.argmax(-1)


def measure(args, config, folder):
    """{weights: [KL guided, agreement, KL conditional] of every code}"""
    rate, channels = config["frames_per_second"], config["decoder"].get("audio_channels", 1)
    found = {w: ([], [], []) for w in args.weights}
    for run, sampling in runs_of(config, args.prompts, round(args.seconds * rate)):
        codes = trace(args, "f32", run | sampling, folder)["greedy"]
        columns, of_frames = delayed(codes, config["decoder"]["vocab_size"], channels)
        forced = run | {"codes": columns.tolist()}
        want = trace(args, "f32", forced, folder)
        for weights in args.weights:
            got = trace(args, weights, forced, folder)
            kl, same = distances(want["logits_guided"][of_frames], got["logits_guided"][of_frames])
            plain, _ = distances(want["logits"][of_frames], got["logits"][of_frames])
            for to, new in zip(found[weights], (kl, same, plain)):
                to.append(new)
        print(f"{run['prompt']}: {of_frames.sum()} codes", file=sys.stderr, flush=True)
    return {w: [np.concatenate(x) for x in found[w]] for w in found}


def read_config(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    audio = config["audio_encoder"]
    config["frames_per_second"] = audio["sampling_rate"] / np.prod(audio["upsampling_ratios"])
    return config


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="checkpoint folder")
    parser.add_argument("--weights", nargs="*", choices=("stored", "bf16", "q8", "q4"), default=["bf16", "q8", "q4"])
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--binary", default=os.path.join(HERE, "..", "build", "stemforge"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, read_config(args.model), folder)
    print("| against f32 | KL guided, mean | 99% | top-1 | KL conditional | codes |\n|---|---|---|---|---|---|")
    for weights, (kl, same, plain) in found.items():
        print(f"| {weights} | {kl.mean():.2g} | {np.quantile(kl, 0.99):.2g} | {100 * same.mean():.2f}% "
              f"| {plain.mean():.2g} | {kl.size} |")  # fmt: skip


if __name__ == "__main__":
    main()
