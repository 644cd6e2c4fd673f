#!/usr/bin/env python3
"""refsa.py - records the parity cases of Stable Audio: tiny random pipelines of diffusers' own classes.

  tools/refsa.py [CASE...]  writes tests/parity/sa-*/ anew

What diffusers does not have comes from the packages of those who have it: k-diffusion's samplers. The original file
layout and Open Small are in refsao.py.

Every parameter is random: the originals set some layers to zero, and such a network would test nothing. The noise
is given, so that a solver can be compared step by step. Versions: tools/requirements-diffusers.txt.
"""
import copy
import importlib
import importlib.util
import json
import os
import shutil
import sys
import types

import torch
from diffusers import (AutoencoderOobleck, CosineDPMSolverMultistepScheduler, StableAudioDiTModel,
                       StableAudioPipeline)
from diffusers.pipelines.stable_audio import StableAudioProjectionModel
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "parity")
TOKENIZER = os.path.join(ROOT, "mono", "model", "tokenizer.json")
STEPS = 10
PROMPT = "drums rock style 120 bpm warm"
NEGATIVE = "low dark metal"

# sa-half: files of half precision, a stride that is odd, so that the sound is shorter than frames * hop, and a text
# whose rows are used as they are.
CASES = {
    "sa-f32": {"seed": 11, "ratios": [2, 4, 8], "rate": 8000, "conditioning": 16, "text": 24, "types": {}},
    "sa-half": {"seed": 12, "ratios": [2, 3, 4], "rate": 4000, "conditioning": 24, "text": 24,
                "types": {"transformer": torch.bfloat16, "text_encoder": torch.float16, "vae": torch.float16,
                          "projection_model": torch.bfloat16}},
}


def bare(name):
    """A package whose __init__, which imports half the world, is left out: its modules can be imported one by one."""
    where = importlib.util.find_spec(name) if "." not in name else None
    package, _, last = name.rpartition(".")
    module = types.ModuleType(name)
    module.__path__ = [os.path.join(sys.modules[package].__path__[0], last)] if package else \
        list(where.submodule_search_locations)
    sys.modules[name] = module
    return module


def originals():
    """k_diffusion.sampling. Its utils, which load pictures, are one function here."""
    if "k_diffusion.sampling" in sys.modules:
        return sys.modules["k_diffusion.sampling"]
    package = bare("k_diffusion")
    utils = types.ModuleType("k_diffusion.utils")
    utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    sys.modules["k_diffusion.utils"] = package.utils = utils
    package.sampling = importlib.import_module("k_diffusion.sampling")
    return package.sampling


K = originals()


class Scheduler(CosineDPMSolverMultistepScheduler):
    """The same with noise that was recorded before."""

    given = None

    def set_timesteps(self, *args, **kwargs):
        super().set_timesteps(*args, **kwargs)
        draws = iter(self.given)
        self.noise_sampler = lambda sigma, sigma_next: next(draws)


@torch.no_grad()
def randomise(module, gen):
    for name, p in module.named_parameters():
        noise = torch.randn(p.shape, generator=gen)
        if name.endswith("time_proj.weight") or name.endswith("embedding.0.weights"):
            p.copy_(noise)
        elif name.endswith(("alpha", "beta")):
            p.copy_(0.3 * noise)
        elif name.endswith("weight_g"):
            p.copy_(0.8 * torch.exp(0.2 * noise))
        elif "norm" in name:
            p.copy_((1.0 if name.endswith("weight") else 0.0) + 0.25 * noise)
        elif p.dim() < 2:
            p.copy_(0.2 * noise)
        else:
            p.copy_(1.2 * noise / p[0].numel() ** 0.5)


def build(case):
    gen = torch.Generator().manual_seed(case["seed"])
    torch.manual_seed(case["seed"])
    tokenizer = T5TokenizerFast(tokenizer_file=TOKENIZER, model_max_length=20, extra_ids=0)
    text = T5EncoderModel(T5Config(d_model=case["text"], d_kv=8, d_ff=40, num_layers=2, num_heads=3,
                                   vocab_size=400, feed_forward_proj="relu"))
    dim = case["conditioning"]
    parts = {
        "text_encoder": text,
        "projection_model": StableAudioProjectionModel(case["text"], dim, 0, 512),
        "transformer": StableAudioDiTModel(
            sample_size=130.5, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=4,
            num_key_value_attention_heads=2, out_channels=4, cross_attention_dim=16, time_proj_dim=8,
            global_states_input_dim=2 * dim, cross_attention_input_dim=dim),
        "vae": AutoencoderOobleck(encoder_hidden_size=4, downsampling_ratios=case["ratios"],
                                  channel_multiples=[1, 2, 4], decoder_channels=8, decoder_input_channels=4,
                                  audio_channels=2, sampling_rate=case["rate"]),
    }
    for name, p in parts.items():
        randomise(p, gen)
        if name in case["types"]:
            p.to(case["types"][name]).to(torch.float32)  # rounded as it will be stored
    scheduler = Scheduler(sigma_min=0.3, sigma_max=500, sigma_data=1.0, sigma_schedule="exponential")
    return StableAudioPipeline(tokenizer=tokenizer, scheduler=scheduler, **parts), gen


def encode(pipe, text, end, tokens=20):
    """(ids, rows, global): what the pipeline gives its transformer."""
    ids = pipe.tokenizer(text, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt")
    embeds = pipe.encode_prompt(text, "cpu", False)
    start, stop = pipe.encode_duration(0.0, end, "cpu", False, 1)
    n = int(ids.attention_mask.sum())
    return ids.input_ids[0, :n], torch.cat([embeds, start, stop], 1), torch.cat([start, stop], 2)


@torch.no_grad()
def record(pipe, gen, out):
    frames = 130
    seconds = pipe.transformer.config.sample_size * pipe.vae.hop_length / pipe.vae.config.sampling_rate
    rotary = pipe.rotary_embed_dim
    from diffusers.models.embeddings import get_1d_rotary_pos_embed
    turns = get_1d_rotary_pos_embed(rotary, frames + 1, use_real=True, repeat_interleave_real=False)
    for name, text in (("text", PROMPT), ("negative", NEGATIVE)):
        ids, rows, whole = encode(pipe, text, seconds)
        out[name + ".ids"] = ids.to(torch.int32)
        out[name + ".rows"], out[name + ".global"] = rows[0], whole[0, 0]
    _, rows, whole = encode(pipe, PROMPT, seconds)
    over = pipe.encode_duration(0.0, 512.0, "cpu", False, 1)[1]
    out["seconds.512"] = over[0, 0]
    x = torch.randn(1, 4, frames, generator=gen)
    t = torch.tensor([0.96942478])
    for name, context in (("forward", rows), ("forward.null", torch.zeros_like(rows))):
        y = pipe.transformer(x, t, encoder_hidden_states=context, global_hidden_states=whole,
                             rotary_embedding=turns, return_dict=False)[0]
        out[name + ".y"] = y[0].T.contiguous()
    out["forward.x"], out["forward.t"] = x[0].T.contiguous(), t
    out["vae.x"] = x[0].T.contiguous()
    out["vae.wave"] = pipe.vae.decode(x).sample[0]

    noise = torch.randn(STEPS + 1, 1, 4, frames, generator=gen)
    out["noise"] = noise[:, 0].transpose(1, 2).contiguous()
    pipe.scheduler.given = noise[1:]
    for name, guidance, negative in (("plain", 1.0, None), ("guided", 7.0, None), ("negative", 4.5, NEGATIVE)):
        def keep(step, _, latents, name=name):
            if name == "guided" or step == STEPS - 1:
                out[f"{name}.x{step}"] = latents[0].T.contiguous().clone()
        pipe(prompt=PROMPT, negative_prompt=negative, num_inference_steps=STEPS, guidance_scale=guidance,
             audio_end_in_s=seconds, latents=noise[0], output_type="latent",
             callback=keep, callback_steps=1)
    record_samplers(pipe, out, rows, whole, turns, noise)


def record_samplers(pipe, out, rows, whole, turns, noise):
    """k-diffusion's samplers over the same network, guided by 4, in double: no error of their own."""
    network = copy.deepcopy(pipe.transformer).double()
    rows, whole, noise = rows.double(), whole.double(), noise.double()

    def direction(x, t):
        def v(context):
            return network(x, t, encoder_hidden_states=context, global_hidden_states=whole,
                           rotary_embedding=turns, return_dict=False)[0]
        null = v(torch.zeros_like(rows))
        return null + 4 * (v(rows) - null)

    def denoised(x, sigma):  # k_diffusion.external.VDenoiser
        square = sigma ** 2 + 1
        return x / square - direction(x / square ** 0.5, sigma.atan() / torch.pi * 2) * sigma / square ** 0.5

    sigmas = K.get_sigmas_polyexponential(STEPS, 0.3, 500).double()
    for name, sampler in (("3m", K.sample_dpmpp_3m_sde), ("2m", K.sample_dpmpp_2m)):
        draws = iter(noise[1:])
        given = {} if name == "2m" else {"noise_sampler": lambda sigma, sigma_next: next(draws)}
        def keep(at, name=name):  # x before each step
            if at["i"]:
                out[f"{name}.x{at['i'] - 1}"] = at["x"][0].T.contiguous().float()
        last = sampler(denoised, noise[0] * sigmas[0], sigmas, disable=True, callback=keep, **given)
        out[f"{name}.x{STEPS - 1}"] = last[0].T.contiguous().float()


def store(pipe, case, folder):
    model = os.path.join(folder, "model")
    shutil.rmtree(folder, ignore_errors=True)
    pipe.save_pretrained(model, safe_serialization=True)
    for part, kind in case["types"].items():
        name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        path = os.path.join(model, part, name + ".safetensors")
        tensors = {k: v.to(kind) for k, v in load_file(path).items()}
        save_file(tensors, path + ".new", metadata={"format": "pt"})
        os.replace(path + ".new", path)
    index = os.path.join(model, "model_index.json")
    doc = json.load(open(index))
    doc["scheduler"] = ["diffusers", "CosineDPMSolverMultistepScheduler"]
    json.dump(doc, open(index, "w"), indent=2)
    scheduler = os.path.join(model, "scheduler", "scheduler_config.json")
    doc = json.load(open(scheduler)) | {"_class_name": "CosineDPMSolverMultistepScheduler"}
    json.dump(doc, open(scheduler, "w"), indent=2)
    words = os.path.join(model, "tokenizer")
    doc = json.load(open(os.path.join(words, "tokenizer.json")))
    shutil.rmtree(words)  # what is in it beside these two is not read
    os.mkdir(words)
    json.dump(doc, open(os.path.join(words, "tokenizer.json"), "w"), ensure_ascii=False, separators=(",", ":"))
    json.dump({"model_max_length": 20}, open(os.path.join(words, "tokenizer_config.json"), "w"))
    for where, _, names in os.walk(folder):
        for name in names:
            os.chmod(os.path.join(where, name), 0o644)


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in sys.argv[1:] or CASES:
        case = CASES[name]
        pipe, gen = build(case)
        pipe.set_progress_bar_config(disable=True)
        out, folder = {}, os.path.join(ROOT, name)
        record(pipe, gen, out)
        store(pipe, case, folder)
        save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(folder, "expect.safetensors"))
        os.chmod(os.path.join(folder, "expect.safetensors"), 0o644)
        print(name, {k: round(float(v.float().abs().max()), 3) for k, v in out.items()})


if __name__ == "__main__":
    main()
