"""A larger language model that begins as an earlier one.

More layers: each new one is silent until it is trained, so that the model says the same. A model of four layers learns most of what it can
in cheap steps, and one of eight goes on from there. A longer text: every audio column moves away from its control column, and the head that
looks there must look as much farther back.
"""

import math
import os

import torch

import folder
import model as lm


def layers_of(state):
    return 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))


def _source(i, have, wanted):
    """The layer that layer i of the deeper model is, or begins as a copy of.  The first alone reads the control track: it stays alone."""
    return i if i == 0 or have == 1 else 1 + (i - 1) * (have - 1) // (wanted - 1)


def deepened(state, layers):
    """The weights of a model of fewer layers as those of one of `layers`: the same logits."""
    have = layers_of(state)
    out = {k: v for k, v in state.items() if not k.startswith("layers.")}
    for i in range(layers):
        of = _source(i, have, layers)
        fresh = i > 0 and of == _source(i - 1, have, layers)
        for name, value in state.items():
            if name.startswith(f"layers.{of}."):
                part = name.split(".", 2)[2]
                silent = fresh and part in ("o.weight", "fc2.weight")
                out[f"layers.{i}.{part}"] = torch.zeros_like(value) if silent else value.clone()
    return out


def farther(state, by):
    """The first layer's aligned head looks `by` positions farther back than it did (model.initialise: pairs of rows, a band each)."""
    q = state["layers.0.q.weight"].clone()
    half = q.shape[1] // 2
    for band in range(lm.ALIGNED):
        turn = by * math.exp(-band * math.log(10000) / (half - 1))
        a, b = q[2 * band].clone(), q[2 * band + 1].clone()
        q[2 * band] = math.cos(turn) * a + math.sin(turn) * b
        q[2 * band + 1] = math.cos(turn) * b - math.sin(turn) * a
    return {**state, "layers.0.q.weight": q}


def read(path):
    """(weights, text tokens) of a state that lm.py wrote, or of a model's folder."""
    if os.path.isdir(path):
        return folder.lm_of(path)
    saved = torch.load(path, map_location="cpu", weights_only=False)
    if "text_tokens" not in saved:
        raise SystemExit(f"{path}: expected a state that says how many tokens of text it reads (text_tokens), found none: write it in, 24 or 64")
    return saved["model"], saved["text_tokens"]


def begin(model, path):
    """Loads an earlier model's weights: deepened where it has fewer layers, looking farther back where its text was shorter."""
    state, tokens = read(path)
    state = farther(state, lm.TEXT_TOKENS - tokens) if tokens != lm.TEXT_TOKENS else state
    width, wanted = state["norm.weight"].shape[0], model.norm.weight.shape[0]
    have, layers = layers_of(state), len(model.layers)
    if width != wanted or have > layers:
        raise SystemExit(f"{path}: expected a model {wanted} wide of at most {layers} layers, found one {width} wide of {have}: "
                         "set LM to its shape, or to a deeper one of its width (shape.py)")  # fmt: skip
    model.load_state_dict(deepened(state, layers))
