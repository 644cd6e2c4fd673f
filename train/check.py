"""Do the rules of measure.py find what they are for?  Injects known faults and shifts into true renders, prints the shares found.

  check.py [--n 60]
"""

import argparse

import numpy as np

import heldout
import measure


def clip(x, request, rng):
    return heldout.finish(np.clip(x, -0.4, 0.4))


def click(x, request, rng):
    x = x.copy()
    x[rng.integers(measure.RATE, 9 * measure.RATE)] += 0.5
    return heldout.finish(x)


def hold(x, request, rng):
    """From a random moment on, for six seconds, the note that is least in the chords."""
    tones, _ = measure.asked(np.arange(0, 10, 0.5), request.song.bpm, request.song.chords)
    note = int(np.argmin((tones + np.roll(tones, 7, 0)).sum(1)))
    t = np.arange(6 * measure.RATE) / measure.RATE
    x = x.copy()
    at = rng.integers(0, 3 * measure.RATE)
    x[at : at + len(t)] += 0.3 * np.sin(2 * np.pi * 440 * 2 ** ((note - 9) / 12) * t)
    return heldout.finish(x)


def stop(x, request, rng):
    x = x.copy()
    x[rng.integers(3, 8) * measure.RATE :] = 0
    return heldout.finish(x)


def silence(x, request, rng):
    return x * 1e-3


INJECT = {"clipping": clip, "clicks": click, "stuck": hold, "collapse": stop, "silence": silence}


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--n", type=int, default=60)
    got = args.parse_args()
    found = {name: [] for name in INJECT}
    clean = {name: 0 for name in INJECT}
    shifted = []
    rng = np.random.default_rng(0)
    for index in range(got.n):
        request = heldout.Request(heldout.PROOF, index)
        stem, song = request.stems[0], request.song
        asked = (song.bpm, None if stem == "drums" else song.chords)
        x = request.render(stem)
        for name in measure.faults(x, *asked):
            clean[name] += 1
        for name, spoil in INJECT.items():
            found[name].append(name in measure.faults(spoil(x, request, rng), *asked))
        late = np.roll(x, int(0.02 * measure.RATE))
        shifted += measure.gaps(measure.onset_times(x), measure.onset_times(late), 0.05).tolist()
    for name in INJECT:
        print(f"{name:9s} found in {100 * np.mean(found[name]):5.1f} % of renders that have it, in {clean[name]} of {got.n} that do not")
    print(f"a shift of 20 ms is heard as {1000 * np.median(shifted):.1f} ms (median)")


if __name__ == "__main__":
    main()
