"""Makes random MusicGen checkpoints through transformers' own classes.

build() gives a model whose activations are lively at every stage: attention that is neither uniform nor
one-hot, codec output with a peak near 1, norms that are not the identity. save() writes it in the Hugging Face
layout, in the element type, weight-norm spelling and sharding that a case asks for.
"""

import json
import math
import os

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    EncodecConfig,
    EncodecFeatureExtractor,
    GenerationConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyFeatureExtractor,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
)

NORM_NEW = ("parametrizations.weight.original0", "parametrizations.weight.original1")
NORM_OLD = ("weight_g", "weight_v")

# The shapes of a case, by default those of the smallest useful checkpoint.
TINY = {
    "melody": False,
    "channels": 1,
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 3, "vocab_size": 260},
    "hidden": 48,
    "layers": 2,
    "heads": 3,
    "ffn": 96,
    "codebooks": 4,
    "codes": 64,
    "positions": 2048,
    "filters": 2,
    "latent": 8,
    "ratios": [8, 5, 4, 4],
    "pad_mode": "reflect",
    "chroma_length": 235,
}

SMALL = {
    "melody": False,
    "channels": 1,
    "t5": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "vocab_size": 32128},
    "hidden": 1024,
    "layers": 24,
    "heads": 16,
    "ffn": 4096,
    "codebooks": 4,
    "codes": 2048,
    "positions": 2048,
    "filters": 64,
    "latent": 128,
    "ratios": [8, 5, 4, 4],
    "pad_mode": "reflect",
    "chroma_length": 235,
}

MEDIUM_MELODY = {**SMALL, "melody": True, "hidden": 1536, "layers": 48, "heads": 24, "ffn": 6144}


def make_config(s):
    t5 = T5Config(
        **{"feed_forward_proj": "relu", "decoder_start_token_id": 0, "tie_word_embeddings": False, **s["t5"]}
    )
    per_channel = s["codebooks"] // s["channels"]
    bits = math.ceil(math.log2(s["codes"]))
    # A tenth above the exact rate, so that no rounding decides how many codebooks there are.
    bandwidth = 2.2 if s["codes"] == 2048 else round(per_channel * bits * 0.05 + 0.1, 3)
    codec = EncodecConfig(
        target_bandwidths=[bandwidth],
        sampling_rate=32000,
        audio_channels=1,
        num_filters=s["filters"],
        hidden_size=s["latent"],
        codebook_dim=s["latent"],
        codebook_size=s["codes"],
        upsampling_ratios=s["ratios"],
        compress=s.get("compress", 2),
        num_residual_layers=1,
        use_causal_conv=False,
        use_conv_shortcut=False,
        normalize=False,
        norm_type="weight_norm",
        pad_mode=s["pad_mode"],
        num_lstm_layers=2,
    )
    assert codec.num_quantizers == per_channel
    decoder_class = MusicgenMelodyDecoderConfig if s["melody"] else MusicgenDecoderConfig
    decoder = decoder_class(
        vocab_size=s["codes"],
        max_position_embeddings=s["positions"],
        hidden_size=s["hidden"],
        num_hidden_layers=s["layers"],
        num_attention_heads=s["heads"],
        ffn_dim=s["ffn"],
        activation_function=s.get("act", "gelu"),
        num_codebooks=s["codebooks"],
        audio_channels=s["channels"],
        pad_token_id=s["codes"],
        bos_token_id=s["codes"],
        eos_token_id=None,
        dropout=0.1,
    )
    if s["melody"]:
        return MusicgenMelodyConfig(
            text_encoder=t5.to_dict(),
            audio_encoder=codec.to_dict(),
            decoder=decoder.to_dict(),
            num_chroma=s.get("chroma", 12),
            chroma_length=s["chroma_length"],
        )
    return MusicgenConfig(text_encoder=t5.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict())


def weight_std(name, shape, config, gain):
    """Standard deviation of a random weight that keeps the signal's size, by the role its name gives it.

    gain makes the decoder's layers louder than its embeddings. Near 1 greedy decoding of a random network soon
    falls into a loop of a few codes; near 2 it wanders.
    """
    fan_in = shape[-1] if len(shape) > 1 else 1
    if "text_encoder" in name:
        t5 = config.text_encoder
        if ".q." in name or ".k." in name:
            return math.sqrt(1.5 / (t5.d_model * math.sqrt(t5.d_kv)))  # T5 does not scale its scores
        if "shared" in name or "embed_tokens" in name or "relative_attention_bias" in name:
            return 1.0
        return 1.0 / math.sqrt(fan_in)
    if "embed_tokens" in name:
        return 1.4 / math.sqrt(config.decoder.num_codebooks)
    if "q_proj" in name or "k_proj" in name:
        return (1.0 + 0.3 * gain) / math.sqrt(fan_in)
    if "out_proj" in name or "fc1" in name or "fc2" in name:
        return gain / math.sqrt(fan_in)
    if "audio_enc_to_dec_proj" in name:
        return 1.0
    if "lm_heads" in name:
        return 1.5 / math.sqrt(fan_in)
    return 1.0 / math.sqrt(fan_in)


@torch.no_grad()
def fill(model, config, norm_spread, gain, gen):
    def normal(shape):
        return torch.randn(shape, generator=gen)

    for name, p in model.named_parameters():
        if "audio_encoder" in name:
            continue
        if "norm" in name:
            one = 1.0 if name.endswith("weight") else 0.0
            p.copy_(one + norm_spread * normal(p.shape))
        elif name.endswith("bias"):
            p.copy_(norm_spread * normal(p.shape))
        else:
            p.copy_(weight_std(name, p.shape, config, gain) * normal(p.shape))


@torch.no_grad()
def fill_codec(codec, gen):
    """Random codec whose every convolution gives about unit deviation: each is scaled as a probe passes it."""
    config = codec.config
    for name, p in codec.named_parameters():
        if "lstm" in name:
            std = 1.0 / math.sqrt(p.shape[-1]) if p.dim() > 1 else 0.1
            p.copy_(std * torch.randn(p.shape, generator=gen))
        elif name.endswith("original1"):
            p.copy_(torch.randn(p.shape, generator=gen))
        elif name.endswith("original0"):
            p.copy_(torch.exp(0.2 * torch.randn(p.shape, generator=gen)))
        elif name.endswith("bias"):
            p.copy_(0.1 * torch.randn(p.shape, generator=gen))
    for q, layer in enumerate(codec.quantizer.layers):
        layer.codebook.embed.copy_(0.6**q * torch.randn(layer.codebook.embed.shape, generator=gen))
        layer.codebook.embed_avg.copy_(layer.codebook.embed)
        layer.codebook.cluster_size.fill_(1.0)

    last = codec.decoder.layers[-1].conv
    hooks = []
    for module in codec.modules():
        if not isinstance(module, (torch.nn.Conv1d, torch.nn.ConvTranspose1d)):
            continue

        def scale(m, _, out):
            bias = m.bias[None, :, None]
            target = 0.15 if m is last else 0.8
            factor = target / (out - bias).std()
            m.parametrizations.weight.original0.mul_(factor)
            return bias + (out - bias) * factor

        hooks.append(module.register_forward_hook(scale))
    frames = 24
    codes = torch.randint(0, config.codebook_size, (1, 1, len(codec.quantizer.layers), frames), generator=gen)
    codec.decode(codes, [None])
    codec.encoder(0.2 * torch.randn(1, 1, frames * config.hop_length, generator=gen))
    for h in hooks:
        h.remove()


def build(shape, seed, norm_spread=0.25, gain=2.0):
    """A random model of the given shape. The seed decides every weight."""
    config = make_config(shape)
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    cls = MusicgenMelodyForConditionalGeneration if shape["melody"] else MusicgenForConditionalGeneration
    model = cls(config).eval()
    fill(model, config, norm_spread, gain, gen)
    fill_codec(model.audio_encoder, gen)
    special = shape["codes"]
    model.generation_config = GenerationConfig(
        decoder_start_token_id=special,
        pad_token_id=special,
        bos_token_id=special,
        max_length=1500,
        do_sample=True,
        guidance_scale=3.0,
    )
    return model


def respell(tensors, norm):
    """Gives every weight-normed convolution the asked spelling, whichever it has."""
    other = NORM_OLD if norm == NORM_NEW else NORM_NEW
    out = {}
    for name, t in tensors.items():
        for old, new in zip(other, norm):
            if name.endswith("." + old):
                name = name[: -len(old)] + new
        out[name] = t
    return out


def rewrite(path, change):
    save_file(change(load_file(path)), path + ".new", metadata={"format": "pt"})  # path is still mapped
    os.replace(path + ".new", path)


def rewrite_index(folder):
    """Makes the index agree with the shards again after rewrite()."""
    path = os.path.join(folder, "model.safetensors.index.json")
    index = json.load(open(path))
    shards = sorted(set(index["weight_map"].values()))
    weight_map, total = {}, 0
    for shard in shards:
        for name, t in load_file(os.path.join(folder, shard)).items():
            weight_map[name] = shard
            total += t.numel() * t.element_size()
    index["weight_map"] = dict(sorted(weight_map.items()))
    index["metadata"]["total_size"] = total
    json.dump(index, open(path, "w"), indent=1)


def save(model, folder, tokenizer, dtype=torch.float32, norm=NORM_OLD, shard_size=None, edit=None):
    """Writes the checkpoint. edit(tensors) may add, drop or rename tensors of each weight file."""
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    stored = model.to(dtype) if dtype != torch.float32 else model
    stored.save_pretrained(folder, safe_serialization=True, max_shard_size=shard_size or "50GB")
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            rewrite(
                os.path.join(folder, name),
                lambda t: (edit or (lambda x: x))(respell(t, norm)),
            )
    if shard_size:
        rewrite_index(folder)
    melody = model.config.model_type == "musicgen_melody"
    if melody:
        MusicgenMelodyFeatureExtractor().save_pretrained(folder)
        if model.config.num_chroma != 12:  # which the extractor takes but does not save
            path = os.path.join(folder, "preprocessor_config.json")
            extractor = json.load(open(path))
            json.dump(extractor | {"num_chroma": model.config.num_chroma}, open(path, "w"), indent=2)
    else:
        EncodecFeatureExtractor(
            feature_size=model.config.decoder.audio_channels, sampling_rate=32000, padding_side="left"
        ).save_pretrained(folder)
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    for name in os.listdir(folder):
        os.chmod(os.path.join(folder, name), 0o644)
