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


LM_NAMES = (("text_encoder.", "text."), ("enc_to_dec_proj.", "text_proj."), ("audio_enc_to_dec_proj.", "control_proj."),
            ("decoder.model.decoder.embed_tokens.", "embed."), ("decoder.lm_heads.", "head."), ("decoder.model.decoder.layer_norm.", "norm."),
            ("decoder.model.decoder.layers.", "layers."))  # fmt: skip
LAYER_NAMES = (("self_attn_layer_norm", "norm1"), ("final_layer_norm", "norm2"), ("self_attn.q_proj", "q"), ("self_attn.k_proj", "k"),
               ("self_attn.v_proj", "v"), ("self_attn.out_proj", "o"))  # fmt: skip


def lm_of(path):
    """(weights in f32 by our names, text tokens): the language model of a model's folder."""
    with open(os.path.join(path, CONFIG)) as f:
        tokens = json.load(f)["stemforge"]["text_tokens"]
    out = {}
    for name, value in load_file(os.path.join(path, WEIGHTS)).items():
        for theirs, ours in LM_NAMES:
            if name.startswith(theirs):
                name = ours + name.removeprefix(theirs)
                for part, short in LAYER_NAMES if ours == "layers." else ():
                    name = name.replace("." + part + ".", "." + short + ".")
                out[name] = value.float()
                break
    for name in ("shared", "encoder.embed_tokens"):  # one tensor under two names
        out.setdefault(f"text.{name}.weight", out.get("text.shared.weight", out.get("text.encoder.embed_tokens.weight")))
    return out, tokens


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
