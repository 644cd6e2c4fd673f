"""Writes tests/parity: random checkpoints and what transformers makes of them.

    python tools/fixtures.py                    all cases and tables
    python tools/fixtures.py mono stereo        some of them
    python tools/fixtures.py --search mono      look for a seed whose greedy runs have no close calls

A greedy run is only worth committing if no engine can honestly differ in it, so every run is repeated in float64,
must give the same codes, and its closest call (best against second score) must be far above float32 rounding.
tests/parity/README.md describes the files.
"""

import argparse
import json
import os
import random
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import save_file

import refmodel
import reftables
import reftok
from reftrace import Reference, to_file, wav_write

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "parity")

GAP_MIN = 1e-4  # of the peak; float32 rounding is about 1e-6 of it
ENCODE_GAP_MIN = 1e-4  # of the residual's squared length

T5 = refmodel.TINY["t5"]
VOCAB = 410  # 300 pieces and 100 sentinels, and a few padding rows as in the published files

SHAPES = {
    "mono": {
        "t5": {"d_model": 40, "d_kv": 16, "d_ff": 64, "num_layers": 3, "num_heads": 3},
        "hidden": 64, "heads": 4, "ffn": 128, "filters": 3, "latent": 16,
    },
    "stereo": {"channels": 2, "codebooks": 8, "hidden": 40, "heads": 2, "codes": 32, "ffn": 64},
    "melody": {"melody": True, "heads": 2, "ffn": 80},
    "stereo-melody": {
        "melody": True, "channels": 2, "codebooks": 8, "codes": 32, "pad_mode": "constant", "chroma_length": 40,
        "positions": 256, "hidden": 40, "heads": 2, "ffn": 72,
    },
    "sharded": {"hidden": 40, "heads": 2, "ffn": 64},
    "f16": {
        "positions": 128,
        "t5": {"relative_attention_num_buckets": 16, "relative_attention_max_distance": 64},
    },
    "bf16": {"layers": 3, "heads": 2},
    "parametrized": {
        "t5": {"d_model": 28, "d_kv": 10, "d_ff": 36, "num_heads": 2},
        "hidden": 36, "heads": 3, "ffn": 52, "latent": 10, "codes": 32,
    },
    "equal": {
        "t5": {"d_model": 32, "feed_forward_proj": "gelu"}, "hidden": 32, "heads": 2, "ffn": 48, "act": "relu",
        "filters": 1, "compress": 1, "ratios": [40, 16],
    },
    "equal-melody": {
        "melody": True, "t5": {"d_model": 24}, "hidden": 24, "heads": 2, "ffn": 48, "chroma": 24, "chroma_length": 30,
        "codes": 32, "positions": 256,
    },
}  # fmt: skip

# Found by --search.
SEEDS = {
    "mono": 30, "stereo": 5, "melody": 2, "stereo-melody": 1, "sharded": 7, "f16": 3, "bf16": 2, "parametrized": 1,
    "equal": 1, "equal-melody": 1,
}  # fmt: skip

SAVING = {
    "stereo-melody": {"dtype": torch.float16},
    "sharded": {"shard_size": "250KB"},
    "f16": {"dtype": torch.float16},
    "bf16": {"dtype": torch.bfloat16},
    "parametrized": {"norm": refmodel.NORM_NEW},
}

NOTES = {
    "mono": "4 codebooks, old weight-norm names, 1,500 greedy frames",
    "stereo": "8 codebooks, interleaved left and right",
    "melody": "prefix of 235 chroma rows and the text",
    "stereo-melody": "chroma_length 40, codec padded with zeros, F16 file",
    "sharded": "shards and an index; text_encoder.encoder.embed_tokens.weight beside shared.weight",
    "f16": "F16; embed_positions.weights present, to be ignored; audio_channels absent from config.json; 16 T5 buckets",
    "bf16": "BF16; embed_tokens.weight in place of shared.weight",
    "parametrized": "new weight-norm names; tokenizer.json as newer converters write it; odd sizes everywhere",
    "equal": "text as wide as the decoder, so no projection; codec of one filter and a ratio of 40; other activations",
    "equal-melody": "text and 24 chroma bins as wide as the decoder, so no projections",
}

PROMPT = "80s rock track with loud drums and warm bass"
OTHER = "slow ambient pad, bright piano"
THIRD = "techno loop, 128 bpm"
LONG = (
    "driving funk groove in the key of A minor with punchy kick, snare and hats, a distorted lead guitar riff over "
    "mellow organ chords, arpeggio synth in the intro and a build to the chorus, heavy solo, no vocals"
)

SHARED = "text_encoder.shared.weight"
TIED = "text_encoder.encoder.embed_tokens.weight"
TABLE = "decoder.model.decoder.embed_positions.weights"


def shape_of(name):
    s = {**refmodel.TINY, **SHAPES[name]}
    s["t5"] = {**T5, **SHAPES[name].get("t5", {}), "vocab_size": VOCAB}
    return s


def make_tokenizer(form):
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as f:
        f.write(reftok.tiny_rules())
        f.flush()
        model = reftok.train_model(list(reftok.sentences(1, 500, 4000, first=1)), 300, f.name)
    return reftok.SmallTokenizer(reftok.to_text(reftok.document(model, form)))


def edit_for(name, model):
    """How the stored tensors of a case differ from what transformers saves."""
    if name == "sharded":
        return lambda t: t | ({TIED: t[SHARED].clone()} if SHARED in t else {})
    if name == "f16":
        table = model.decoder.model.decoder.embed_positions.weights
        return lambda t: t | {TABLE: table.to(torch.float16)}
    if name == "bf16":
        return lambda t: {(TIED if k == SHARED else k): v for k, v in t.items()}
    return None


def signal(seed, n, channels=1):
    """Sound on the 16-bit grid: two gliding tones and noise, [channels, n]."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) / 32000.0
    rows = []
    for c in range(channels):
        f = rng.uniform(150, 900)
        x = 0.3 * np.sin(2 * np.pi * f * t * (1 + t / 4)) + 0.2 * np.sin(2 * np.pi * 2.7 * f * t + c)
        rows.append(x * (0.6 + 0.4 * np.sin(9 * t)) + 0.04 * rng.standard_normal(n))
    return np.round(np.stack(rows) * 32768) / 32768


def melody_signal(n, channels=1):
    """A few notes a quarter of a second each, with clear pitch classes."""
    rows = []
    for c in range(channels):
        i = np.arange(n)
        note = 220.0 * 2.0 ** (((5 * (i // 9000) + 3) % 12) / 12.0)
        rows.append((0.4 - 0.1 * c) * np.sin(2 * np.pi * note * i / 32000.0))
    return np.round(np.stack(rows) * 32768) / 32768


def columns(shape, frames, seed):
    """Teacher-forcing input [K, frames + delay]: random codes in the delay pattern, with its special codes."""
    rng = random.Random(seed)
    K, special = shape["codebooks"], shape["codes"]
    per_channel = K // shape["channels"]
    rows = []
    for k in range(K):
        d = k * per_channel // K
        codes = [rng.randrange(special) for _ in range(frames)]
        rows.append([special] * (1 + d) + codes + [special] * (per_channel - 1 - d))
    return rows


def random_codes(shape, frames, seed):
    rng = random.Random(seed)
    return [[rng.randrange(shape["codes"]) for _ in range(frames)] for _ in range(shape["codebooks"])]


def chord_rows(count):
    """Multi-hot rows: A minor, F, C, G, seven frames each, and a silent bar."""
    chords = [(9, 0, 4), (5, 9, 0), (0, 4, 7), (7, 11, 2), ()]
    return [[1.0 if p in chords[i // 7 % 5] else 0.0 for p in range(12)] for i in range(count)]


def common_runs(s, wavs, encode, frames=40):
    """The runs that every case has. wavs collects the audio that they need."""
    codes = columns(s, 6, 5)
    ch = s["channels"]
    runs = [
        {"name": "short", "prompt": PROMPT, "guidance": 3.0, "codes": codes, "greedy_frames": frames},
        {"name": "plain", "prompt": OTHER, "guidance": 1.0, "codes": codes, "greedy_frames": frames},
        {"name": "decode", "decode_codes": random_codes(s, 10, 7)},
    ]
    for n in encode:
        wavs[f"encode{n}.wav"] = signal(11 + n, n, ch)
        runs.append({"name": f"encode{n}", "encode_wav": f"encode{n}.wav"})
    return runs


def runs_mono(s, wavs):
    codes = columns(s, 6, 5)
    wavs["continue.wav"] = signal(3, 12345)
    return [
        *common_runs(s, wavs, (1, 100, 640, 641, 1300, 3201, 20000)),
        {"name": "long", "prompt": LONG, "guidance": 3.0, "codes": codes, "greedy_frames": 20},
        {"name": "empty", "prompt": "", "guidance": 3.0, "codes": codes, "greedy_frames": 20},
        {"name": "strong", "prompt": THIRD, "guidance": 7.5, "greedy_frames": 20},
        {"name": "unconditional", "guidance": 1.0, "codes": codes, "greedy_frames": 20},
        {
            "name": "batch", "batch": ["short", "long", "empty"], "guidance": 3.0, "codes": codes,
            "greedy_frames": 40,
        },
        {
            "name": "batch_plain", "batch": ["plain", "long"], "guidance": 1.0, "codes": codes, "greedy_frames": 40,
        },
        {"name": "parallel", "guidance": 1.0, "greedy_frames": 5, "delay": False},
        {"name": "continue", "prompt": PROMPT, "guidance": 3.0, "continue_wav": "continue.wav", "greedy_frames": 50},
        {
            "name": "continue_codes", "prompt": OTHER, "guidance": 1.0, "prompt_codes": random_codes(s, 2, 9),
            "greedy_frames": 12,
        },
        {"name": "decode1", "decode_codes": random_codes(s, 1, 17)},
        {"name": "decode2", "decode_codes": random_codes(s, 2, 18)},
        {"name": "decode50", "decode_codes": random_codes(s, 50, 19)},
        {"name": "full", "prompt": OTHER, "guidance": 3.0, "greedy_frames": 1500},
    ]  # fmt: skip


def runs_stereo(s, wavs):
    codes = columns(s, 6, 5)
    wavs["continue.wav"] = signal(4, 5000, 2)
    return [
        *common_runs(s, wavs, (1300,)),
        {"name": "unconditional", "guidance": 1.0, "codes": codes, "greedy_frames": 20},
        {"name": "batch", "batch": ["short", "plain"], "guidance": 3.0, "codes": codes, "greedy_frames": 30},
        {"name": "continue", "prompt": PROMPT, "guidance": 3.0, "continue_wav": "continue.wav", "greedy_frames": 30},
    ]


def runs_melody(s, wavs):
    codes = columns(s, 6, 5)
    wavs["melody.wav"] = melody_signal(28000)
    wavs["brief.wav"] = melody_signal(9999)
    wav = {"name": "melody", "prompt": PROMPT, "melody_wav": "melody.wav", "guidance": 3.0}
    chords = {"name": "chords", "prompt": OTHER, "chroma": chord_rows(35), "guidance": 3.0}
    return [
        *common_runs(s, wavs, (1300,)),
        {"name": "unconditional", "guidance": 1.0, "codes": codes, "greedy_frames": 20},
        {**wav, "codes": codes, "greedy_frames": 40},
        {**wav, "name": "brief", "melody_wav": "brief.wav", "guidance": 1.0, "codes": codes, "greedy_frames": 20},
        {**chords, "codes": codes, "greedy_frames": 40},
        {"name": "batch", "batch": ["short", "plain"], "guidance": 3.0, "codes": codes, "greedy_frames": 30},
        {
            "name": "continue_codes", "prompt": OTHER, "guidance": 3.0, "prompt_codes": random_codes(s, 7, 9),
            "greedy_frames": 20,
        },
    ]  # fmt: skip


def runs_stereo_melody(s, wavs):
    codes = columns(s, 6, 5)
    wavs["melody.wav"] = melody_signal(20000, 2)
    return [
        *common_runs(s, wavs, (1300,), 30),
        {
            "name": "melody", "prompt": PROMPT, "melody_wav": "melody.wav", "guidance": 3.0, "codes": codes,
            "greedy_frames": 30,
        },
        {
            "name": "chords", "prompt": OTHER, "chroma": chord_rows(50), "guidance": 3.0, "codes": codes,
            "greedy_frames": 20,
        },
    ]  # fmt: skip


def runs_equal_melody(s, wavs):
    wavs["melody.wav"] = melody_signal(20000)
    codes = columns(s, 6, 5)
    return [
        *common_runs(s, wavs, (1300,), 30),
        {
            "name": "melody", "prompt": PROMPT, "melody_wav": "melody.wav", "guidance": 3.0, "codes": codes,
            "greedy_frames": 30,
        },
    ]  # fmt: skip


RUNS = {
    "mono": runs_mono, "stereo": runs_stereo, "melody": runs_melody, "stereo-melody": runs_stereo_melody,
    "equal-melody": runs_equal_melody,
}  # fmt: skip


def runs_of(name, wavs):
    s = shape_of(name)
    return RUNS[name](s, wavs) if name in RUNS else common_runs(s, wavs, (1300,))


def make_checkpoint(name, seed, folder):
    s = shape_of(name)
    model = refmodel.build(s, seed)
    tokenizer = make_tokenizer("new" if name == "parametrized" else "t5")
    refmodel.save(model, folder, tokenizer, edit=edit_for(name, model), **SAVING.get(name, {}))
    if name == "f16":
        path = os.path.join(folder, "config.json")
        config = json.load(open(path))
        del config["decoder"]["audio_channels"]
        json.dump(config, open(path, "w"), indent=2)


@torch.no_grad()
def encode_gap(ref, run):
    """Smallest lead of the nearest code over the next, of the residual's squared length."""
    worst = float("inf")
    for channel in torch.from_numpy(ref.wav(run)).to(ref.dtype):
        residual = ref.model.audio_encoder.encoder(channel[None, None])[0].T
        for layer in ref.model.audio_encoder.quantizer.layers:
            table = layer.codebook.embed.to(ref.dtype)
            distance = torch.cdist(residual, table) ** 2
            best = distance.topk(2, largest=False)
            gap = (best.values[:, 1] - best.values[:, 0]) / (residual**2).sum(1)
            worst = min(worst, gap.min().item())
            residual = residual - table[best.indices[:, 0]]
    return worst


def left_out(run):
    """What is left out of the files for its size, being in another run or easily computed."""
    if "batch" in run:
        return ("t5", "proj", "audio_proj", "logits_guided")  # text is encoded a prompt at a time
    skip = () if run["name"] == "melody" else ("audio_proj",)
    return skip if run["name"] == "short" else (*skip, "logits_guided")


def record(ref, exact, runs, only=None):
    """Expected tensors and the runs with their gaps. Fails when float32 and float64 choose differently."""
    by_name = {r["name"]: r for r in runs}
    tensors, close = {}, {}
    for run in runs:
        name = run["name"]
        if only and name not in only:
            continue
        out, info = ref.trace(run, by_name)
        out64, info64 = exact.trace(run, by_name)
        for key in ("greedy", "enc_codes", "prompt_codes"):
            if key in out and not torch.equal(out[key], out64[key]):
                close[name] = 0.0
        if "min_gap" in info:
            run["min_gap"] = float(f"{info['min_gap']:.3g}")
            if info["min_gap"] < GAP_MIN:
                close[name] = min(info["min_gap"], close.get(name, 1))
        wav = run.get("encode_wav") or run.get("continue_wav")
        if wav and encode_gap(exact, wav) < ENCODE_GAP_MIN:
            close[name + " (encode)"] = encode_gap(exact, wav)
        worst = worst_error(out, out64)
        if worst > 2e-5:
            print(f"  {name}: float32 is {worst:.1e} of the peak away from float64")
        skip = left_out(run)
        tensors |= {f"{name}.{k}": v for k, v in to_file(out).items() if k not in skip}
    return tensors, close


def worst_error(a, b):
    """Largest difference of real tensors, of the peak."""
    worst = 0.0
    for k, v in a.items():
        if v.is_floating_point() and v.shape == b[k].shape:
            worst = max(worst, ((v.double() - b[k].double()).abs().max() / b[k].abs().max()).item())
    return worst


def write_case(name, runs, tensors, folder):
    def row(v):
        return json.dumps(v, separators=(",", ":"))

    def member(k, v):
        if isinstance(v, list) and v and isinstance(v[0], list):
            rows = [[int(x) if x == int(x) else x for x in r] for r in v]
            return f'      {json.dumps(k)}: [' + ",\n        ".join(row(r) for r in rows) + "]"
        return f"      {json.dumps(k)}: {json.dumps(v)}"

    body = ",\n".join("    {\n" + ",\n".join(member(k, v) for k, v in r.items()) + "\n    }" for r in runs)
    text = (
        f'{{\n  "case": {json.dumps(name)},\n  "model": "model",\n  "notes": {json.dumps(NOTES[name])},\n'
        f'  "runs": [\n{body}\n  ]\n}}\n'
    )
    json.loads(text)
    with open(os.path.join(folder, "case.json"), "w") as f:
        f.write(text)
    save_file(tensors, os.path.join(folder, "expect.safetensors"))
    for where, _, files in os.walk(folder):
        for file in files:
            os.chmod(os.path.join(where, file), 0o644)


def make_case(name, seed, folder, strict=True):
    os.makedirs(folder, exist_ok=True)
    for old in os.listdir(folder):
        if old.endswith((".wav", ".json", ".safetensors")):
            os.unlink(os.path.join(folder, old))
    model_folder = os.path.join(folder, "model")
    make_checkpoint(name, seed, model_folder)
    wavs = {}
    runs = runs_of(name, wavs)
    for file, x in wavs.items():
        wav_write(os.path.join(folder, file), x)
    ref, exact = Reference(model_folder), Reference(model_folder, torch.float64, check=True)
    runs.sort(key=lambda r: "batch" in r)  # members first, so that a reader meets them first
    tensors, close = record(ref, exact, runs)
    write_case(name, runs, tensors, folder)
    total = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(folder) for f in fs)
    gaps = [r["min_gap"] for r in runs if "min_gap" in r]
    print(f"{name}: seed {seed}, {len(tensors)} tensors, {total / 1e3:.0f} kB, smallest gap {min(gaps):.1e}, close {close}")
    if strict and close:
        sys.exit(f"{name}: calls too close for a fixture; run --search {name}")
    return close


def search(name, tries):
    for seed in range(1, 1 + tries):
        with tempfile.TemporaryDirectory() as d:
            if quick_reject(name, seed, d):
                continue
            if not make_case(name, seed, d, strict=False):
                print(f"{name}: use seed {seed}")
                return


def quick_reject(name, seed, d):
    """True when the longest greedy run alone already has a close call in float32, or is dull."""
    make_checkpoint(name, seed, os.path.join(d, "model"))
    wavs = {}
    runs = runs_of(name, wavs)
    longest = max((r for r in runs if "batch" not in r), key=lambda r: r.get("greedy_frames", 0))
    ref = Reference(os.path.join(d, "model"))
    out, info = ref.trace({**longest, "codes": None})
    distinct = min(len(set(row)) for row in out["greedy"].tolist())
    return info["min_gap"] < GAP_MIN or distinct < min(10, longest["greedy_frames"] // 5)


def main():
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", help="cases, or: " + " ".join(reftables.TABLES))
    parser.add_argument("--search", action="store_true", help="find a seed for the cases")
    parser.add_argument("--tries", type=int, default=200)
    args = parser.parse_args()
    for name in args.what or [*SHAPES, *reftables.TABLES]:
        if args.search:
            search(name, args.tries)
        elif name in reftables.TABLES:
            reftables.TABLES[name](ROOT)
        else:
            make_case(name, SEEDS[name], os.path.join(ROOT, name))


if __name__ == "__main__":
    main()
