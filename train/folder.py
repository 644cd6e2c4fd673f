"""The model's folder as training sees it: its codec out of it, and a changed codec back into it."""

import json
import os
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import EncodecModel

import codec

PREFIX = "audio_encoder."
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def codec_of(path):
    """The codec of a model's folder, in f32."""
    with open(os.path.join(path, CONFIG)) as f:
        filters = json.load(f)["audio_encoder"]["num_filters"]
    model = codec.quicken(EncodecModel(codec.config(filters)))
    state = load_file(os.path.join(path, WEIGHTS))
    model.load_state_dict({k.removeprefix(PREFIX): v.float() for k, v in state.items() if k.startswith(PREFIX)})
    return model.eval()


def put_codec(model, path, out):
    """Writes the folder `path` to `out` with this codec in it, in bf16."""
    state = load_file(os.path.join(path, WEIGHTS))
    state = {k: v for k, v in state.items() if not k.startswith(PREFIX)}
    state.update({PREFIX + k: v.to(torch.bfloat16).contiguous() for k, v in model.state_dict().items()})
    with open(os.path.join(path, CONFIG)) as f:
        config = json.load(f)
    config["audio_encoder"]["num_filters"] = model.config.num_filters
    if os.path.abspath(out) != os.path.abspath(path):
        shutil.copytree(path, out, dirs_exist_ok=True)
    save_file(state, os.path.join(out, WEIGHTS + ".part"), metadata={"format": "pt"})
    os.replace(os.path.join(out, WEIGHTS + ".part"), os.path.join(out, WEIGHTS))
    os.chmod(os.path.join(out, WEIGHTS), 0o644)
    with open(os.path.join(out, CONFIG), "w") as f:
        f.write(json.dumps(config, indent=2, sort_keys=True) + "\n")
