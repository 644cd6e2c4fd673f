"""Reference tables that need no checkpoint: chroma, positions and buckets, sampling, tokenizer strings."""

import json
import math
import os

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import MusicgenMelodyFeatureExtractor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.models.musicgen.modeling_musicgen import MusicgenSinusoidalPositionalEmbedding
from transformers.models.t5.modeling_t5 import T5Attention

import reftok
from reftrace import chroma_of, to_file


def bip(n):
    t = np.arange(n) / 32000.0
    return np.where((t % 0.25) / 0.25 >= 0.5, np.cos(2 * np.pi * 440 * t), 0.0)


def mix(n):
    i = np.arange(n, dtype=np.float64)
    f = 220.0 * 2.0 ** (((7 * (i // 12000)) % 12) / 12.0)
    noise = np.empty(n)
    s = 1
    for k in range(n):
        s = (s * 1664525 + 1013904223) & 0xFFFFFFFF
        noise[k] = (s >> 8) / 2.0**23 - 1.0
    tone = 0.3 * np.sin(2 * np.pi * f * i / 32000.0) + 0.15 * np.sin(2 * np.pi * 2.5 * f * i / 32000.0)
    return tone + 0.05 * noise


def chroma(root):
    extractor = MusicgenMelodyFeatureExtractor()
    long = mix(992000)
    signals = {
        "bip05": bip(16000),
        "bip1": bip(32000),
        "bip05pad": np.concatenate([bip(16000), np.zeros(16000)]),
        "bip15999": bip(32000)[:15999],
        "bip100": bip(32000)[:100],
        "mix3": long[:96000],
        "mix31": long,
        "silence": np.zeros(20000),
    }
    out = {"mix3.head": torch.tensor(long[:16])}
    for name, x in signals.items():
        onehot, raw = chroma_of(extractor, x.astype(np.float32))
        top = raw.topk(2, dim=1).values
        top = top[top[:, 0] > 0]  # silent frames are all zero, and bin 0 by rule
        lead = ((top[:, 0] - top[:, 1]) / top[:, 0]).min().item() if len(top) else 1.0
        print(f"chroma {name}: {onehot.shape[0]} frames, closest maximum {lead:.1e}")
        assert lead > 1e-3, name
        out[f"{name}.onehot"], out[f"{name}.raw"] = onehot, raw
    bins = [0, 1, 2, 100, 134, 225, 4000, 8191, 8192]
    bank = extractor.chroma_filters
    out["filter.bins"] = torch.tensor(bins)
    out["filter.values"] = bank[:, bins].T
    out["filter.sum"] = bank.double().sum()[None]
    save_file(to_file(out), os.path.join(root, "chroma.safetensors"))


def positions(root):
    rows = [0, 1, 2, 100, 1499, 2047]
    out = {"rows": torch.tensor(rows)}
    for d in (64, 1024, 1536):
        out[f"d{d}"] = MusicgenSinusoidalPositionalEmbedding.get_embedding(2048, d)[rows]
    distance = torch.arange(-200, 201)
    out["distance"] = distance
    out["bucket"] = T5Attention._relative_position_bucket(distance, True, 32, 128)
    out["bucket16_64"] = T5Attention._relative_position_bucket(distance, True, 16, 64)
    save_file(to_file(out), os.path.join(root, "positions.safetensors"))


def warp(logits, p):
    warpers = LogitsProcessorList()
    if p["temperature"] != 1.0:
        warpers.append(TemperatureLogitsWarper(p["temperature"]))
    if p["top_k"]:
        warpers.append(TopKLogitsWarper(p["top_k"]))
    if 0 < p["top_p"] < 1:
        warpers.append(TopPLogitsWarper(p["top_p"]))
    return torch.softmax(warpers(None, logits.clone()), dim=-1)


def sampling(root):
    gen = torch.Generator().manual_seed(5)
    wide = 3.0 * torch.randn(2, 512, generator=gen)
    flat = 0.1 * torch.randn(1, 512, generator=gen)
    tied = torch.round(2.0 * torch.randn(1, 512, generator=gen))  # many equal values: ties at the k-th survive
    logits = torch.cat([wide, flat, tied])
    params = [
        {"temperature": t, "top_k": k, "top_p": p}
        for t, k, p in [
            (1.0, 0, 0.0), (1.0, 250, 0.0), (1.0, 50, 0.0), (1.0, 1, 0.0), (1.0, 5000, 0.0), (0.7, 250, 0.0),
            (2.0, 250, 0.0), (0.1, 250, 0.0), (1.0, 0, 0.9), (1.0, 250, 0.9), (1.0, 0, 0.3), (0.8, 40, 0.95),
            (1.5, 0, 0.999), (1.0, 0, 1.0), (1.0, 0, 0.001),
        ]
    ]  # fmt: skip
    probs = []
    for p in params:
        out = warp(logits, p)
        exact = warp(logits.double(), p)
        # Rows whose kept set differs between precisions, or nearly does, would test rounding and not the sampler.
        if 0 < p["top_p"] < 1:
            p["rows"] = [r for r in range(len(logits)) if torch.equal(out[r] > 0, exact[r] > 0) and clear(logits[r], p)]
        else:
            p["rows"] = list(range(len(logits)))
        assert torch.allclose(out[p["rows"]].double(), exact[p["rows"]], atol=1e-6)
        probs.append(out)
    folder = os.path.join(root, "sampling")
    os.makedirs(folder, exist_ok=True)
    save_file(to_file({"logits": logits, "probs": torch.stack(probs)}), os.path.join(folder, "expect.safetensors"))
    with open(os.path.join(folder, "case.json"), "w") as f:
        f.write('{"params": [\n' + ",\n".join("  " + json.dumps(p) for p in params) + "\n]}\n")
    print("sampling:", [len(p["rows"]) for p in params], "rows of", len(logits))


def clear(row, p):
    """No cumulative sum within 1e-5 of the top-p threshold, and no tie across it."""
    x = row.double() / p["temperature"]
    if p["top_k"]:
        x = torch.where(x < x.topk(min(p["top_k"], len(x))).values[-1], torch.tensor(-math.inf), x)
    order = x.sort().values
    total = order.softmax(-1).cumsum(-1)
    cut = int((total <= 1 - p["top_p"]).sum())
    tie = 0 < cut < len(order) and order[cut - 1] == order[cut]
    return bool((total - (1 - p["top_p"])).abs().min() > 1e-5) and not tie


def flat(lists, dtype):
    """All items end to end, and where each list begins and the last ends."""
    offsets = np.cumsum([0] + [len(x) for x in lists])
    return torch.from_numpy(np.concatenate([np.asarray(x, dtype) for x in lists])), torch.from_numpy(offsets)


def tokenizer(root):
    folder = os.path.join(root, "tokenizer")
    os.makedirs(folder, exist_ok=True)
    model = reftok.train_model(list(reftok.sentences(7, 90000, 120000)), 32000)
    tok = reftok.SmallTokenizer(reftok.to_text(reftok.document(model)))
    tok.save(os.path.join(folder, "tokenizer.json"))
    texts = reftok.test_strings(11, 10000)
    data, offsets = flat([list(t.encode()) for t in texts], np.uint8)
    ids, id_offsets = flat([tok.ids(t) for t in texts], np.int32)
    tensors = {"bytes": data, "offsets": offsets, "ids": ids, "id_offsets": id_offsets}
    save_file(tensors, os.path.join(folder, "strings.safetensors"))
    os.chmod(os.path.join(folder, "strings.safetensors"), 0o644)
    unknown = (ids == 2).sum().item()
    print(f"tokenizer: {len(texts)} strings, {len(data)} bytes, {len(ids)} ids, {unknown} of them unknown")


TABLES = {"tokenizer": tokenizer, "chroma": chroma, "positions": positions, "sampling": sampling}
