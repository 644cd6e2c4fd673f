#!/usr/bin/env python3
"""refsao.py - records the parity cases of Stable Audio's original layout: one file and model_config.json.

  tools/refsao.py [CASE...]  writes tests/parity/sa-original/ and sa-small/ anew

The transformers are the original's own class (stable-audio-tools), with all parameters random. The codec and the
conditioners are diffusers' classes, which compute the same, under the original's names. sa-original has the structure
of Open 1.0 and runs k-diffusion's 3M SDE; sa-small that of Open Small and runs the original's samplers of rectified
flow. Versions: tools/requirements-diffusers.txt.
"""
import copy
import importlib
import json
import math
import os
import re
import shutil
import sys

import torch
from diffusers import AutoencoderOobleck
from diffusers.pipelines.stable_audio import StableAudioProjectionModel
from safetensors.torch import save_file
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

from refsa import K, NEGATIVE, PROMPT, ROOT, TOKENIZER, bare, randomise

for package in ("stable_audio_tools", "stable_audio_tools.models", "stable_audio_tools.inference"):
    bare(package)
sys.modules["k_diffusion"].external = None
DiffusionTransformer = importlib.import_module("stable_audio_tools.models.dit").DiffusionTransformer
S = importlib.import_module("stable_audio_tools.inference.sampling")

FRAMES, STEPS, RATIOS, MULTIPLES = 69, 8, [2, 4, 8], [1, 2, 4]

CASES = {
    "sa-original": {"seed": 21, "objective": "v", "start": True, "range": 512, "tokens": 20, "scale": 0.5, "tanh": False,
                    "net": {"cond_token_dim": 32, "global_cond_dim": 64, "project_cond_tokens": False}},
    "sa-small": {"seed": 22, "objective": "rf_denoiser", "start": False, "range": 256, "tokens": 12, "scale": 1.0,
                 "tanh": True,
                 "net": {"cond_token_dim": 24, "global_cond_dim": 24, "attn_kwargs": {"qk_norm": "ln"}}},
}


def build(case):
    gen = torch.Generator().manual_seed(case["seed"])
    torch.manual_seed(case["seed"])
    dim = case["net"]["cond_token_dim"]
    parts = {
        "text": T5EncoderModel(T5Config(d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=3, vocab_size=400,
                                        feed_forward_proj="relu")),
        "seconds": StableAudioProjectionModel(24, dim, 0, case["range"]),
        "net": DiffusionTransformer(io_channels=4, embed_dim=64, depth=2, num_heads=2,
                                    diffusion_objective=case["objective"], **case["net"]),
        "vae": AutoencoderOobleck(encoder_hidden_size=8, downsampling_ratios=RATIOS, channel_multiples=MULTIPLES,
                                  decoder_channels=4, decoder_input_channels=4, audio_channels=2, sampling_rate=8000),
    }
    with torch.no_grad():
        for part in parts.values():
            randomise(part.eval(), gen)
            part.half().float()  # rounded as it will be stored
        for name, b in parts["net"].named_buffers():
            if name.endswith("beta"):
                b.copy_((0.25 * torch.randn(b.shape, generator=gen)).half())
        inv = parts["net"].transformer.rotary_pos_emb.inv_freq
        inv.copy_(1.0 / 10000 ** (torch.arange(0, 2 * len(inv), 2).float() / (2 * len(inv))))
    return parts, gen


def conditions(case, parts, text, end):
    """(ids, rows [1, n, dim], whole [1, dim or 2 * dim])"""
    tokenizer = T5TokenizerFast(tokenizer_file=TOKENIZER, model_max_length=case["tokens"], extra_ids=0)
    ids = tokenizer(text, padding="max_length", max_length=case["tokens"], truncation=True, return_tensors="pt")
    mask = ids.attention_mask
    states = parts["text"](input_ids=ids.input_ids, attention_mask=mask)[0]
    proj = parts["seconds"]
    rows = proj.text_projection(states) * mask.unsqueeze(-1)
    seconds = [proj.end_number_conditioner(torch.tensor([end]))]
    if case["start"]:
        seconds.insert(0, proj.start_number_conditioner(torch.tensor([0.0])))
    return ids.input_ids[0, :int(mask.sum())], torch.cat([rows] + seconds, 1), torch.cat(seconds, 2)[:, 0]


@torch.no_grad()
def record(case, parts, gen, out):
    seconds = FRAMES * 64 / 8000
    for name, text in (("text", PROMPT), ("negative", NEGATIVE)):
        ids, rows, whole = conditions(case, parts, text, seconds)
        out[name + ".ids"], out[name + ".rows"], out[name + ".global"] = ids.to(torch.int32), rows[0], whole[0]
    _, rows, whole = conditions(case, parts, PROMPT, seconds)
    _, _, late = conditions(case, parts, PROMPT, 512.0)
    out["seconds.512"] = late[0, -case["net"]["cond_token_dim"]:]
    x, t = torch.randn(1, 4, FRAMES, generator=gen), torch.tensor([0.76])
    for name, context in (("forward", rows), ("forward.null", torch.zeros_like(rows))):
        y = parts["net"]._forward(x, t, cross_attn_cond=context, global_embed=whole)
        out[name + ".y"] = y[0].T.contiguous()
    out["forward.x"], out["forward.t"] = x[0].T.contiguous(), t
    x = x * (0.05 if case["tanh"] else 1)  # where the tangent still has a slope
    out["vae.x"] = x[0].T.contiguous()
    wave = parts["vae"].decode(x * case["scale"]).sample[0]
    out["vae.wave"] = torch.tanh(wave) if case["tanh"] else wave
    sound = 0.3 * torch.randn(1, 2, FRAMES * 64, generator=gen)
    out["sound"] = sound[0]
    out["sound.latents"] = (parts["vae"].encode(sound).latent_dist.mode()[0] / case["scale"]).T
    noise = torch.randn(STEPS + 1, 1, 4, FRAMES, generator=gen)
    out["noise"] = noise[:, 0].transpose(1, 2).contiguous()
    record_runs(case, parts["net"], rows, whole, noise, out["sound.latents"].T.unsqueeze(0), out)


def record_runs(case, net, rows, whole, noise, given, out):
    """The samplers in double; guided by 4 away from zeros, but for ping-pong, which is not guided. The varied ones start
    from a given latent, of whose noise levels 0.6 are left out."""
    net = copy.deepcopy(net).double()
    rows, whole, noise, given = rows.double(), whole.double(), noise.double(), given.double()

    def v(x, t, context):
        return net._forward(x, t, cross_attn_cond=context, global_embed=whole)

    def guided(x, t):
        null = v(x, t, torch.zeros_like(rows))
        return null + 4 * (v(x, t, rows) - null)

    def keep(name):
        def at(step):
            if step["i"]:
                out[f"{name}.x{step['i'] - 1}"] = step["x"][0].T.contiguous().float()
        return at

    if case["objective"] == "v":
        def denoised(x, sigma):
            square = sigma ** 2 + 1
            return x / square - guided(x / square ** 0.5, sigma.atan() / torch.pi * 2) * sigma / square ** 0.5
        sigmas = K.get_sigmas_polyexponential(STEPS, 0.3, 500).double()
        draws = iter(noise[1:])
        runs = {"3m": K.sample_dpmpp_3m_sde(denoised, noise[0] * sigmas[0], sigmas, disable=True, callback=keep("3m"),
                                            noise_sampler=lambda sigma, sigma_next: next(draws))}
        sigmas = K.get_sigmas_polyexponential(STEPS, 0.3, math.exp(math.log(500) - 0.6 * math.log(500 / 0.3))).double()
        runs["varied"] = K.sample_dpmpp_2m(denoised, given + noise[0] * sigmas[0], sigmas, disable=True)
    else:
        draws = iter(noise[1:])
        S.torch.randn_like = lambda x: next(draws)
        runs = {"pingpong": S.sample_rf(lambda x, t: v(x, t, rows), noise[0], steps=STEPS, sampler_type="pingpong",
                                        callback=keep("pingpong"))}
        for name, sampler in (("euler", "euler"), ("2m", "dpmpp")):
            runs[name] = S.sample_rf(guided, noise[0], steps=STEPS, sampler_type=sampler)
        runs["varied"] = S.sample_rf(guided, noise[0], given, steps=STEPS, sampler_type="dpmpp", sigma_max=0.4)
    for name, last in runs.items():
        out[f"{name}.x{STEPS - 1}"] = last[0].T.contiguous().float()


def original_name(name):
    """A tensor of diffusers' codec or conditioners, as the original calls it."""
    n = len(RATIOS)
    tops = {"conv1": 0, "snake1": n + 1, "conv2": n + 2}
    m = re.match(r"(encoder|decoder)\.(conv1|snake1|conv2)\.(.*)", name)
    if m:
        return f"pretransform.model.{m[1]}.layers.{tops[m[2]]}.{m[3]}"
    m = re.match(r"(encoder|decoder)\.block\.(\d+)\.(?:res_unit(\d)\.)?(snake1|snake2|conv1|conv2|conv_t1)\.(.*)", name)
    if m:
        inner = {"snake1": 0, "conv1": 1, "snake2": 2, "conv2": 3}
        if m[3]:
            unit = int(m[3]) - 1 + (2 if m[1] == "decoder" else 0)
            where = f"{unit}.layers.{inner[m[4]]}"
        else:
            where = {"decoder": {"snake1": 0, "conv_t1": 1}, "encoder": {"snake1": 3, "conv1": 4}}[m[1]][m[4]]
        return f"pretransform.model.{m[1]}.layers.{int(m[2]) + 1}.layers.{where}.{m[5]}"
    m = re.match(r"(start|end)_number_conditioner\.time_positional_embedding\.(.*)", name)
    if m:
        kind = "start" if m[1] == "start" else "total"
        return f"conditioner.conditioners.seconds_{kind}.embedder.embedding.{m[2]}"
    return "conditioner.conditioners.prompt.proj_out." + name.rpartition(".")[2]


def config_of(case):
    coder = {"c_mults": MULTIPLES, "strides": RATIOS, "use_snake": True}
    decoder = {"out_channels": 2, "channels": 4, "latent_dim": 4} | coder
    if not case["tanh"]:
        decoder["final_tanh"] = False
    number = {"min_val": 0, "max_val": case["range"]}
    ids = ["seconds_start", "seconds_total"] if case["start"] else ["seconds_total"]
    return {
        "model_type": "diffusion_cond", "sample_size": FRAMES * 64, "sample_rate": 8000, "audio_channels": 2,
        "model": {
            "pretransform": {
                "type": "autoencoder", "iterate_batch": True, "scale": case["scale"], "config": {
                    "encoder": {"type": "oobleck", "config": {"in_channels": 2, "channels": 8, "latent_dim": 8} | coder},
                    "decoder": {"type": "oobleck", "config": decoder},
                    "bottleneck": {"type": "vae"}, "latent_dim": 4, "downsampling_ratio": 64, "io_channels": 2}},
            "conditioning": {
                "configs": [{"id": "prompt", "type": "t5",
                             "config": {"t5_model_name": "t5-base", "max_length": case["tokens"]}}] +
                [{"id": i, "type": "number", "config": number} for i in ids],
                "cond_dim": case["net"]["cond_token_dim"]},
            "diffusion": {
                "cross_attention_cond_ids": ["prompt"] + ids, "global_cond_ids": ids, "type": "dit",
                "diffusion_objective": case["objective"],
                "config": {"io_channels": 4, "embed_dim": 64, "depth": 2, "num_heads": 2,
                           "transformer_type": "continuous_transformer"} | case["net"]},
            "io_channels": 4},
        "training": {}}


def store(case, parts, folder):
    model = os.path.join(folder, "model")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(model)
    tensors = {"model.model." + k: v for k, v in parts["net"].state_dict().items()}
    for name, value in list(parts["vae"].state_dict().items()) + list(parts["seconds"].state_dict().items()):
        if name.startswith("start_") and not case["start"]:
            continue
        value = value.reshape(-1) if name.endswith((".alpha", ".beta")) else value
        tensors[original_name(name)] = value
    save_file({k: v.half().contiguous() for k, v in tensors.items()}, os.path.join(model, "model.safetensors"))
    json.dump(config_of(case), open(os.path.join(model, "model_config.json"), "w"), indent=2)
    text = os.path.join(model, "text_encoder")
    parts["text"].half().save_pretrained(text, safe_serialization=True)
    doc = json.load(open(TOKENIZER))
    json.dump(doc, open(os.path.join(text, "tokenizer.json"), "w"), ensure_ascii=False, separators=(",", ":"))
    for where, _, names in os.walk(folder):
        for name in names:
            os.chmod(os.path.join(where, name), 0o644)


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in sys.argv[1:] or CASES:
        case, out, folder = CASES[name], {}, os.path.join(ROOT, name)
        parts, gen = build(case)
        record(case, parts, gen, out)
        store(case, parts, folder)
        save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(folder, "expect.safetensors"))
        os.chmod(os.path.join(folder, "expect.safetensors"), 0o644)
        print(name, {k: round(float(v.float().abs().max()), 3) for k, v in out.items()})


main()
