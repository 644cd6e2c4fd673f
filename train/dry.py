"""Stage dry: what a training machine will run, tried in miniature, without fonts or data of its own.  Seconds; stops at the first fault.

  dry.py [--model models/stemforge-mini]      the folder's tokenizer is used
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import types

os.environ["LM"] = "large"  # before shape.py is read

import numpy as np
import torch

import analog
import control
import deepen
import folder
import model as lm
import music
import parts

HERE = os.path.dirname(os.path.abspath(__file__))
PIECES = 300


def check(right, what):
    print("ok  " if right else "NOT ", what, flush=True)
    if not right:
        raise SystemExit(1)


def composed(i):
    rng = np.random.default_rng([70, i])
    piece = parts.Piece(rng)
    return piece, music.compose(rng, piece, 10)


def notes(events):
    """[(begin, end, pitch)]"""
    begun, out = {}, []
    for at, on, pitch, _ in events:
        if on:
            begun[pitch] = at
        elif pitch in begun:
            out.append((begun.pop(pitch), at, pitch))
    return out


def crosses(piece, begin, end):
    bar = 60 * piece.quarters / piece.bpm
    return (begin + piece.start + 0.03) // bar != (end + piece.start - 0.03) // bar


def pieces():
    made = [composed(i) for i in range(PIECES)]
    tonal = [(p, n) for p, e in made if p.stem != "drums" for n in notes(e)]
    held = sum(crosses(p, begin, end) for p, (begin, end, _) in tonal)
    check(all(20 <= pitch <= 108 for _, (_, _, pitch) in tonal), f"{len(tonal)} notes of {PIECES} pieces lie within the instruments")
    check(held > 0.02 * len(tonal), f"{held} of them are held over a bar line")
    check({p.meter for p, _ in made} == set(control.METERS), "there are pieces in every meter")
    check(min(p.bpm for p, _ in made) < 70 and max(p.bpm for p, _ in made) > 185, "tempi reach from under 70 to over 185 bpm")
    for style in music.STYLES:
        count = len({tuple(sorted(groove(style, g, 16, 4).items())) for g in range(parts.GROOVES)})
        check(count >= 10 * len(music.DRUMS[style]), f"{style}: {count} grooves where music.py has {len(music.DRUMS[style])}")
        compound = [groove(style, g, 12, 6) for g in range(parts.GROOVES)]
        check(all(g[music.SNARE][6] == "X" for g in compound if music.SNARE in g), f"{style}: in 6/8 the snare is on the second beat")
    check(all(locked(p, e) for p, e in made if p.stem == "bass"), "every bass plays where its groove's kick falls")
    check(all(_in_chord(p) for p, _ in made if p.stem == "bass"), "under C/G too a bass's thirds and fifths are the chord's")


def _in_chord(piece):
    for bar in range(len(piece.chords)):
        for move in ("third", "fifth"):
            pitch = parts._bass_note(piece, bar * piece.steps, move, (bar + 1) * piece.steps)
            if pitch % 12 not in control.pitch_classes(piece.whole(bar * piece.steps)):
                return False
    return True


def groove(style, number, steps, beat):
    return parts.groove(types.SimpleNamespace(style=style, groove=number, steps=steps, beat=beat))


def locked(piece, events):
    """Does a note begin within 15 ms of each kick of the groove in the window's full bars?"""
    kick = parts.groove(piece).get(music.KICK, "X")
    begins = np.array([at for at, on, _, _ in events if on]) + piece.start
    first = int(piece.start * piece.bpm / 60 // piece.quarters) + 1
    wanted = [piece.step_time((first + b) * piece.steps + i) for b in range(2) for i, c in enumerate(kick[: piece.steps]) if c in "Xx"]
    held = sum(np.abs(begins - t).min() > 0.015 for t in wanted)
    return held <= 0.34 * len(wanted)  # a note that is held over the bar line does not begin there


def singer():
    events = [(0.5, 1, 57, 100), (2.5, 0, 57, 0)]
    x = analog.render(np.random.default_rng(3), events, parts.SUNG, 3, 0.0)
    part = x[int(1.0 * analog.RATE) : int(2.4 * analog.RATE)]
    repeats = np.fft.irfft(np.abs(np.fft.rfft(part, 2 * len(part))) ** 2)[: len(part)]
    lag = 80 + int(np.argmax(repeats[80:400]))
    check(abs(12 * np.log2(analog.RATE / lag / 220)) < 0.5, f"the singer holds A3: {analog.RATE / lag:.1f} Hz")


def deeper():
    torch.manual_seed(0)
    big = lm.initialise(lm.Model()).eval()
    state = {k: v for k, v in big.state_dict().items() if not k.startswith("layers.") or int(k.split(".")[1]) < 4}
    lm.LAYERS, layers = 4, lm.LAYERS
    small = lm.Model().eval()
    lm.LAYERS = layers
    small.load_state_dict(state)
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "four.pt")
        torch.save({"model": state, "text_tokens": lm.TEXT_TOKENS}, path)
        deepen.begin(big, path)
    text = torch.randint(3, 700, (1, lm.TEXT_TOKENS))
    asked = torch.from_numpy(control.track(120, [(0, "")]))[None], text, torch.ones_like(text), lm.delay(torch.randint(0, lm.CODES, (1, lm.BOOKS, 500)))
    with torch.no_grad():
        gap = float((small(*asked) - big(*asked)).abs().max())
    count = sum(p.numel() for p in big.parameters()) / 1e6
    check(gap < 1e-4, f"eight layers ({count:.1f} M, {lm.TEXT_TOKENS} tokens of text) say what four said: greatest difference of logits {gap:.1e}")


def longer(path):
    """A model's folder as one with a longer text: its aligned head still finds the column of its own moment."""
    state, tokens = folder.lm_of(path)
    moved = deepen.farther(state, lm.TEXT_TOKENS - tokens)
    places = lm.sinusoids(2048, state["norm.weight"].shape[0])
    rows = 2 * lm.ALIGNED

    def found(weights, prefix, at=100):
        q = places[prefix + at] @ weights["layers.0.q.weight"][:rows].T
        return int((places[:lm.FRAMES] @ weights["layers.0.k.weight"][:rows].T @ q).argmax())

    before, after = found(state, lm.FRAMES + tokens), found(moved, lm.PREFIX)
    check(abs(before - after) <= 1, f"{tokens} tokens of text: column 100 looks at {before}; {lm.TEXT_TOKENS} tokens: at {after}")


def shard(work, seed):
    made, rng = [composed(i)[0] for i in range(8)], np.random.default_rng(seed)
    os.makedirs(os.path.join(work, "codes"), exist_ok=True)
    np.savez(os.path.join(work, "codes", f"{seed}-00000.npz"), codes=rng.integers(0, lm.CODES, (8, lm.BOOKS, lm.FRAMES)).astype(np.int16),
             control=np.stack([p.control() for p in made]).astype(np.float16), texts=json.dumps([[p.stem, p.style] for p in made]), info="[]")  # fmt: skip


def stopped(work, shape, *options):
    """Runs lm.py until its first line, tells it to stop, and gives the step it had reached."""
    words = [sys.executable, "-u", os.path.join(HERE, "lm.py"), "--work", work, "--world", "1", "--batch", "1", "--minutes", "600", *options]
    with subprocess.Popen(words, env={**os.environ, "LM": shape}, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout:
            if line.startswith("step"):
                run.send_signal(signal.SIGTERM)
    check(run.returncode == 0, f"LM={shape} lm.py {' '.join(options)} ends well when told to stop")
    out = options[options.index("--out") + 1]
    return torch.load(os.path.join(work, out), map_location="cpu", weights_only=False)["step"]


def training(path):
    with tempfile.TemporaryDirectory() as work:
        shutil.copy(os.path.join(path, "tokenizer.json"), work)
        shard(work, 13)
        first = stopped(work, "wide", "--resume", "--out", "wide.pt")
        again = stopped(work, "wide", "--resume", "--out", "wide.pt")
        check(0 < first < again, f"the second run went on at step {first}, to {again}")
        check(stopped(work, "large", "--warm", "wide.pt", "--out", "large.pt") > 0, "eight layers train from the four")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--model", default=os.path.join(HERE, "..", "models", "stemforge-mini"))
    got = args.parse_args()
    torch.set_num_threads(1)
    pieces()
    singer()
    deeper()
    longer(got.model)
    training(got.model)


if __name__ == "__main__":
    main()
