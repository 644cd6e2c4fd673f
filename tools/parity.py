"""Live parity: the engine against transformers on one checkpoint, stage by stage.

    python tools/parity.py MODEL                     compare; prints the worst error of each stage
    python tools/parity.py --make small FOLDER       write a random checkpoint of the published shape
    python tools/parity.py --make medium-melody FOLDER

A melody model gets a melody, one with our control track (train/control.py) that track.
The engine is asked through its debug command `stemforge trace`, whose input and output tests/parity/README.md
describes. The error of a tensor is its largest difference, relative to the reference's largest magnitude.
Exit status 1 when a stage is above 1e-4 or an integer differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads spin otherwise, at ten times the cost on a busy machine

import torch
from safetensors.torch import load_file

import fixtures
import refmodel
import reftok
from reftrace import Reference, to_file, wav_write

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 1e-4
SHAPES = {"small": refmodel.SMALL, "medium-melody": refmodel.MEDIUM_MELODY}


def make(kind, folder, seed, dtype):
    """A full-size random checkpoint with the committed tokenizer of 32,000 pieces."""
    with open(os.path.join(HERE, "..", "tests", "parity", "tokenizer", "tokenizer.json"), encoding="utf-8") as f:
        tokenizer = reftok.SmallTokenizer(f.read())
    start = time.time()
    # The layers are as loud as transformers' own initialisation would have them in proportion to the embeddings.
    model = refmodel.build(SHAPES[kind], seed, norm_spread=0.1, gain=1.0)
    refmodel.save(model, folder, tokenizer, dtype=dtype, shard_size="2GB" if kind != "small" else None)
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    print(f"{folder}: {kind}, {size / 1e9:.2f} GB, {time.time() - start:.0f} s")


def runs_for(ref, frames, folder):
    """The runs to compare. Audio goes into folder."""
    decoder = ref.config.decoder
    shape = {"codebooks": ref.K, "codes": decoder.vocab_size, "channels": 2 if decoder.audio_channels == 2 else 1}
    wav = os.path.join(folder, "encode.wav")
    wav_write(wav, fixtures.signal(3, 33333, shape["channels"]))
    codes = fixtures.columns(shape, 8, 5)
    runs = [
        {"name": "guided", "prompt": fixtures.PROMPT, "guidance": 3.0, "codes": codes, "greedy_frames": frames},
        {"name": "plain", "prompt": fixtures.LONG, "guidance": 1.0, "codes": codes, "greedy_frames": frames},
        {"name": "decode", "decode_codes": fixtures.random_codes(shape, 100, 7)},
        {"name": "encode", "encode_wav": wav},
        {"name": "continue", "prompt": fixtures.OTHER, "guidance": 3.0, "continue_wav": wav,
         "greedy_frames": 53 + frames},
    ]  # fmt: skip
    if getattr(ref.config, "stemforge", None):
        runs.pop()
        sys.path.insert(0, os.path.join(HERE, "train"))
        import control

        track = control.track(97.5, [control.parse(c) for c in ("Am7", "F", "Csus4", "G7")])
        for stem in ("drums, funk, 97.5 bpm", "piano, funk, 97.5 bpm, A minor"):
            runs.append(
                {"name": stem.split(",")[0], "prompt": stem, "guidance": 3.0, "chroma": track.tolist(), "codes": codes,
                 "greedy_frames": frames}
            )  # fmt: skip
    elif ref.melody:
        runs.pop()
        melody = os.path.join(folder, "melody.wav")
        wav_write(melody, fixtures.melody_signal(100000))
        runs.append(
            {"name": "melody", "prompt": fixtures.OTHER, "guidance": 3.0, "melody_wav": melody, "codes": codes,
             "greedy_frames": frames}
        )  # fmt: skip
    return runs


def trace(binary, model, run, folder, threads):
    """The engine's tensors of a run."""
    case, out = os.path.join(folder, "run.json"), os.path.join(folder, "out.safetensors")
    with open(case, "w") as f:
        json.dump(run, f)
    env = dict(os.environ, STEMFORGE_THREADS=str(threads))
    done = subprocess.run([binary, "trace", model, "--case", case, "--out", out], env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{binary} trace, run {run['name']}: exit {done.returncode}\n{done.stderr.strip()}")
    return load_file(out)


def compare(name, want, got, gap):
    """(error, note) of one tensor; the error is None when it is not there."""
    if got is None:
        return None, "not in the engine's output"
    if tuple(want.shape) != tuple(got.shape):
        return float("inf"), f"shape {tuple(got.shape)}, not {tuple(want.shape)}"
    if want.is_floating_point():
        if not torch.isfinite(got).all():
            return float("inf"), "not finite"
        peak = want.abs().max().item()
        return (want.double() - got.double()).abs().max().item() / (peak or 1.0), f"peak {peak:.3g}"
    wrong = int((want != got).sum())
    note = f"{wrong} of {want.numel()} differ"
    if wrong and name == "greedy" and gap is not None:
        at = int((want != got).any(0).nonzero()[0])
        note += f", first at frame {at}; closest call of the run {gap:.1e}"
    return float(wrong), note


def report(rows):
    width = max(len(f"{r}.{t}") for r, t, *_ in rows)
    print(f"{'stage':{width}}  {'worst error':>11}  ")
    bad = 0
    for run, tensor, error, note in rows:
        integer = tensor in ("ids", "greedy", "enc_codes", "prompt_codes")
        fail = error is None or error > (0 if integer else LIMIT)
        bad += fail
        shown = "-" if error is None else "equal" if integer and error == 0 else f"{error:.2e}"
        print(f"{run + '.' + tensor:{width}}  {shown:>11}  {'FAIL  ' if fail else ''}{note}")
    return bad


def run_parity(args):
    torch.set_num_threads(args.threads)
    ref = Reference(args.model)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for run in runs_for(ref, args.frames, folder):
            if args.only and run["name"] not in args.only:
                continue
            start = time.time()
            tensors, info = ref.trace(run)
            took = time.time() - start
            start = time.time()
            got = trace(args.binary, args.model, run, folder, args.threads)
            print(f"{run['name']}: transformers {took:.1f} s, engine {time.time() - start:.1f} s", flush=True)
            for name, want in to_file(tensors).items():
                error, note = compare(name, want, got.get(name), info.get("min_gap"))
                rows.append((run["name"], name, error, note))
    bad = report(rows)
    print(f"{len(rows)} tensors, {bad} beyond {LIMIT:g} of the peak" if bad else f"{len(rows)} tensors agree")
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="checkpoint folder")
    parser.add_argument("--make", choices=SHAPES, help="write a random checkpoint of this shape there instead")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of --make")
    parser.add_argument("--seed", type=int, default=1, help="of --make")
    parser.add_argument("--binary", default=os.path.join(HERE, "..", "build", "stemforge"))
    parser.add_argument("--frames", type=int, default=50, help="frames of each greedy run")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="*", help="names of runs")
    args = parser.parse_args()
    if args.make:
        make(args.make, args.model, args.seed, getattr(torch, args.dtype))
        return 0
    return run_parity(args)


if __name__ == "__main__":
    sys.exit(main())
