#!/usr/bin/env python3
"""sound.py - a step of Stable Audio beside diffusers, in turns in one run, with the memory of both.

  bench/sound.py MODEL [--seconds 10] [--weights q8] [--precision float32 bfloat16] [--turns 3]

MODEL is a model of the published shape for our program (tools/bigsa.py make, then stemforge convert); diffusers' transformer has
random weights of its own, since only time and memory count here. A step is two passes, with a text and with none. Ours is one that
`stemforge bench` times, theirs the same two calls; turns alternate, medians are shown. Versions: tools/requirements-diffusers.txt.
STEMFORGE_OUT: the folder of the build.
"""
import argparse
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import time

FRAME_RATE = 44100 / 2048


def ours(args):
    """Seconds of a step, MB of memory."""
    out = os.environ.get("STEMFORGE_OUT", "build")
    run = [os.path.join(out, "stemforge"), "bench", args.model, "--weights", args.weights, "--lengths", str(args.seconds),
           "--steps", "1", "--csv"]
    value = {}
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as bench:
        for line in bench.stdout:
            row = line.split(",")
            value[row[0]] = row
            if "memory" in value:  # behind it comes the codec
                bench.terminate()
                break
    return float(value["step"][3]) / 1000, float(value["memory"][3])


def theirs(pipe, seconds, precision):
    """A process of its own: answers a step's seconds and its memory in MB for each line it gets."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [p for p in sys.path if os.path.abspath(p) != here]  # queue.py there is not Python's
    import torch
    from diffusers import StableAudioDiTModel
    from diffusers.models.embeddings import get_1d_rotary_pos_embed
    kind = getattr(torch, precision)
    torch.set_default_dtype(kind)
    net = StableAudioDiTModel().eval()
    frames = int(-(-seconds * FRAME_RATE // 1))
    turns = get_1d_rotary_pos_embed(32, frames + 1, use_real=True, repeat_interleave_real=False)
    x, rows, whole = torch.randn(1, 64, frames), torch.randn(1, 130, 768), torch.randn(1, 1, 1536)
    with torch.no_grad():
        while pipe.recv():
            start = time.time()
            for context in (rows, torch.zeros_like(rows)):
                net(x, torch.tensor([0.9]), encoder_hidden_states=context, global_hidden_states=whole, rotary_embedding=turns)
            pipe.send((time.time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--weights", default="stored")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    for precision in args.precision:
        near, far = multiprocessing.get_context("spawn").Pipe()
        peer = multiprocessing.get_context("spawn").Process(target=theirs, args=(far, args.seconds, precision), daemon=True)
        peer.start()
        mine, other = [], []
        for turn in range(args.turns + 1):
            near.send(True)
            answer = near.recv()
            if turn:  # the first is warm-up
                other.append(answer)
                mine.append(ours(args))
        near.send(False)
        peer.join()
        a, b = (statistics.median(x[0] for x in side) for side in (mine, other))
        print(f"{args.seconds:g} s, ours {args.weights} {a:.2f} s, {mine[-1][1]:.0f} MB; diffusers {precision} {b:.2f} s, "
              f"{other[-1][1]:.0f} MB: {b / a:.2f} times as fast, {other[-1][1] / mine[-1][1]:.1f} times less memory", flush=True)


if __name__ == "__main__":
    main()
