"""More layers for a language model that says the same: each new one is silent until it is trained.

So a model of four layers learns most of what it can in cheap steps, and one of eight goes on from there.
"""

import torch


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


def begin(model, state, path):
    """Loads an earlier model's weights, deepened where it has fewer layers."""
    width, wanted = state["norm.weight"].shape[0], model.norm.weight.shape[0]
    have, layers = layers_of(state), len(model.layers)
    if width != wanted or have > layers:
        raise SystemExit(f"{path}: expected a model {wanted} wide of at most {layers} layers, found one {width} wide of {have}: "
                         "set LM to its shape, or to a deeper one of its width (shape.py)")  # fmt: skip
    model.load_state_dict(deepened(state, layers))
