#!/usr/bin/env python3
"""bigsa.py - Stable Audio Open at full size against diffusers: a checkpoint of 1.06 G random values, or a real one.

  tools/bigsa.py make FOLDER            writes a random checkpoint of the published shape, F16, in shards
  tools/bigsa.py record MODEL OUT       what diffusers makes of MODEL, in f32 (the codec in double): OUT/expect.safetensors, OUT/model
  tools/bigsa.py check MODEL            both: records into a folder for the time of the check, and compares (make parity MODEL=FOLDER)

Then STEMFORGE_TEST_SA_MODEL=OUT build/tests/run_unit --filter 'stableaudio_real/*' compares. record asks one pass on a canvas of FRAMES frames, and the codec for CODED frames. Versions:
tools/requirements-diffusers.txt.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

import torch
from diffusers import AutoencoderOobleck, CosineDPMSolverMultistepScheduler, StableAudioDiTModel, StableAudioPipeline
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from diffusers.pipelines.stable_audio import StableAudioProjectionModel
from safetensors.torch import save_file
from transformers import T5Config, T5EncoderModel

from refsa import PROMPT, ROOT, encode, randomise

FRAMES, CODED = 216, 12
WORDS = os.path.join(ROOT, "tokenizer", "tokenizer.json")
CLASSES = {"transformer": ["diffusers", "StableAudioDiTModel"], "vae": ["diffusers", "AutoencoderOobleck"],
           "text_encoder": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "T5TokenizerFast"],
           "projection_model": ["stable_audio", "StableAudioProjectionModel"],
           "scheduler": ["diffusers", "CosineDPMSolverMultistepScheduler"]}


def make(folder):
    """Part by part, so that one is in memory at a time."""
    gen = torch.Generator().manual_seed(5)
    parts = {
        "text_encoder": lambda: T5EncoderModel(T5Config(d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12,
                                                        vocab_size=32128, feed_forward_proj="relu")),
        "projection_model": lambda: StableAudioProjectionModel(768, 768, 0, 512),
        "vae": AutoencoderOobleck,
        "transformer": StableAudioDiTModel,
    }
    for name, build in parts.items():
        start, part = time.time(), build()
        randomise(part, gen)
        part.half().save_pretrained(os.path.join(folder, name), safe_serialization=True, max_shard_size="1GB")
        print(name, sum(p.numel() for p in part.parameters()), f"values, {time.time() - start:.0f} s", flush=True)
        del part
    CosineDPMSolverMultistepScheduler(sigma_min=0.3, sigma_max=500, sigma_data=1.0,
                                      sigma_schedule="exponential").save_pretrained(os.path.join(folder, "scheduler"))
    words = os.path.join(folder, "tokenizer")
    os.makedirs(words, exist_ok=True)
    json.dump(json.load(open(WORDS)), open(os.path.join(words, "tokenizer.json"), "w"))
    json.dump({"model_max_length": 128, "tokenizer_class": "T5TokenizerFast", "pad_token": "<pad>", "eos_token": "</s>",
               "unk_token": "<unk>"}, open(os.path.join(words, "tokenizer_config.json"), "w"))
    json.dump({"_class_name": "StableAudioPipeline", "_diffusers_version": "0.35.2"} | CLASSES,
              open(os.path.join(folder, "model_index.json"), "w"), indent=2)


@torch.no_grad()
def record(model, folder):
    os.makedirs(folder, exist_ok=True)
    if not os.path.lexists(os.path.join(folder, "model")):
        os.symlink(os.path.abspath(model), os.path.join(folder, "model"))
    pipe = StableAudioPipeline.from_pretrained(model, torch_dtype=torch.float32)
    config, out, gen = pipe.transformer.config, {}, torch.Generator().manual_seed(6)
    ids, rows, whole = encode(pipe, PROMPT, 10.0, pipe.tokenizer.model_max_length)
    out["text.ids"], out["text.rows"], out["text.global"] = ids.to(torch.int32), rows[0], whole[0, 0]
    out["seconds.512"] = pipe.encode_duration(0.0, 512.0, "cpu", False, 1)[1][0, 0]
    turns = get_1d_rotary_pos_embed(pipe.rotary_embed_dim, FRAMES + 1, use_real=True, repeat_interleave_real=False)
    x, t = torch.randn(1, config.in_channels, FRAMES, generator=gen), torch.tensor([0.96942478])
    for name, context in (("forward", rows), ("forward.null", torch.zeros_like(rows))):
        start = time.time()
        y = pipe.transformer(x, t, encoder_hidden_states=context, global_hidden_states=whole, rotary_embedding=turns,
                             return_dict=False)[0]
        print(f"{name}: {time.time() - start:.1f} s", flush=True)
        out[name + ".y"] = y[0].T
    out["forward.x"], out["forward.t"] = x[0].T, t
    out["vae.x"] = x[0, :, :CODED].T
    start = time.time()
    out["vae.wave"] = pipe.vae.double().decode(x[:, :, :CODED].double()).sample[0].float()
    print(f"codec, {CODED} frames: {time.time() - start:.1f} s", flush=True)
    save_file({k: v.contiguous().clone() for k, v in out.items()}, os.path.join(folder, "expect.safetensors"))


def check(model):
    """The tests of the engine against what diffusers makes of model now. OUT names the build's folder."""
    tests = os.path.join(os.environ.get("OUT", "build"), "tests", "run_unit")
    with tempfile.TemporaryDirectory() as folder:
        record(model, folder)
        done = subprocess.run([tests, "--filter", "stableaudio_real/*"], env=os.environ | {"STEMFORGE_TEST_SA_MODEL": folder}, check=False)
    return done.returncode


if sys.argv[1:2] == ["make"] and len(sys.argv) == 3:
    make(sys.argv[2])
elif sys.argv[1:2] == ["record"] and len(sys.argv) == 4:
    record(sys.argv[2], sys.argv[3])
elif sys.argv[1:2] == ["check"] and len(sys.argv) == 3:
    sys.exit(check(sys.argv[2]))
else:
    sys.exit(__doc__)
