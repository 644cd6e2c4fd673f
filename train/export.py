"""Stage export: codec and language model as a Hugging Face MusicgenMelody folder, bf16, and proof that it loads.

  export.py --work DIR --out models/stemforge-mini [--lm lm.pt] [--codec FOLDER]

The codec is WORK/codec.pt, or with --codec that of a model's folder.
"""

import argparse
import json
import os

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import (GenerationConfig, MusicgenMelodyConfig, MusicgenMelodyFeatureExtractor,
                          MusicgenMelodyForConditionalGeneration, PreTrainedTokenizerFast)
from transformers.models.musicgen_melody.configuration_musicgen_melody import MusicgenMelodyDecoderConfig

import codec
import control
import folder
import model as lm

GUIDANCE, TEMPERATURE, TOP_K = 3.0, 1.0, 50
BY_STEM = {"drums": 1.0, "bass": 0.4, "guitar": 0.8, "piano": 0.6, "synth": 0.7, "vocals": 0.45, "other": 0.45}
FINE_GUIDANCE = {"vocals": 0.5}  # the share of the guidance that all codebooks but the first get


def config(filters):
    decoder = MusicgenMelodyDecoderConfig(
        vocab_size=lm.CODES, max_position_embeddings=2048, num_hidden_layers=lm.LAYERS, ffn_dim=lm.FFN,
        num_attention_heads=lm.HEADS, hidden_size=lm.WIDTH, activation_function="gelu", dropout=0.0,
        attention_dropout=0.0, activation_dropout=0.0, layerdrop=0.0, scale_embedding=False, num_codebooks=lm.BOOKS,
        audio_channels=1, pad_token_id=lm.CODES, bos_token_id=lm.CODES, eos_token_id=None, tie_word_embeddings=False)
    whole = MusicgenMelodyConfig.from_sub_models_config(lm.text_config(), codec.config(filters), decoder,
                                                        num_chroma=control.DIMS, chroma_length=lm.FRAMES)
    whole.stemforge = dict(control="grid", control_layers=1, version=1, columns_per_second=control.FRAME_RATE,
                           columns=lm.FRAMES, fine_guidance=FINE_GUIDANCE, beats_per_bar=control.BEATS_PER_BAR,
                           text_tokens=lm.TEXT_TOKENS, window_seconds=10, meters=list(control.METERS), chords_per_bar=2)
    return whole


def rename(state):
    """Our names -> the names of transformers."""
    out = {}
    for name, value in state.items():
        if name.startswith("text."):
            out["text_encoder." + name[5:]] = value
        elif name.startswith("text_proj."):
            out["enc_to_dec_proj." + name[10:]] = value
        elif name.startswith("control_proj."):
            out["audio_enc_to_dec_proj." + name[13:]] = value
        elif name.startswith("embed."):
            out["decoder.model.decoder.embed_tokens." + name[6:]] = value
        elif name.startswith("head."):
            out["decoder.lm_heads." + name[5:]] = value
        elif name.startswith("norm."):
            out["decoder.model.decoder.layer_norm." + name[5:]] = value
        else:
            _, i, part = name.split(".", 2)
            for ours, theirs in (("norm1", "self_attn_layer_norm"), ("norm2", "final_layer_norm"), ("q.", "self_attn.q_proj."),
                                 ("k.", "self_attn.k_proj."), ("v.", "self_attn.v_proj."), ("o.", "self_attn.out_proj.")):
                if part.startswith(ours):
                    part = theirs + part[len(ours):]
                    break
            out[f"decoder.model.decoder.layers.{i}.{part}"] = value
    return out


def build(work, name, coder):
    model = MusicgenMelodyForConditionalGeneration(config(coder.config.num_filters))
    model.generation_config = GenerationConfig(
        decoder_start_token_id=lm.CODES, pad_token_id=lm.CODES, bos_token_id=lm.CODES, max_length=lm.FRAMES + lm.BOOKS,
        do_sample=True, guidance_scale=GUIDANCE, temperature=TEMPERATURE, top_k=TOP_K)
    saved = torch.load(os.path.join(work, name), map_location="cpu", weights_only=False)
    state = rename(saved["model"])
    state.update({"audio_encoder." + k: v for k, v in coder.state_dict().items()})
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [m for m in missing if "embed_positions" not in m]
    assert not missing and not unexpected, (missing, unexpected)
    return model


def tokenizer(work, out):
    whole = Tokenizer.from_file(os.path.join(work, "tokenizer.json"))
    whole.enable_truncation(lm.TEXT_TOKENS)
    whole.enable_padding(direction="right", pad_id=0, pad_token="<pad>", length=lm.TEXT_TOKENS)
    fast = PreTrainedTokenizerFast(tokenizer_object=whole,
                                   eos_token="</s>", unk_token="<unk>", pad_token="<pad>", padding_side="right",
                                   model_max_length=lm.TEXT_TOKENS)
    fast.save_pretrained(out)
    # written last: the fixed padding to text_tokens is part of the checkpoint
    whole.save(os.path.join(out, "tokenizer.json"))


def prove(out, work, name):
    """Loads with transformers alone; greedy tokens of a short run agree with our own decoder in bf16-rounded weights."""
    model, info = MusicgenMelodyForConditionalGeneration.from_pretrained(out, output_loading_info=True, dtype=torch.float32)
    print({k: len(v) for k, v in info.items()})
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    assert model.config.stemforge["control"] == "grid"
    fast = PreTrainedTokenizerFast.from_pretrained(out)
    text = fast(["drums, rock, 120 bpm"], return_tensors="pt", padding="max_length", truncation=True, max_length=lm.TEXT_TOKENS)
    track = torch.from_numpy(control.track(120, [(0, "")]))[None]
    model.generation_config.max_length = None
    audio = model.generate(input_ids=text["input_ids"], attention_mask=text["attention_mask"], input_features=track,
                           do_sample=False, guidance_scale=3.0, max_new_tokens=43, use_cache=False)  # 4.57.1 loses the prefix when it caches
    ours = lm.Model().eval()
    ours.load_state_dict({k: v.bfloat16().float() for k, v in
                          torch.load(os.path.join(work, name), map_location="cpu", weights_only=False)["model"].items()})
    codes = ours.generate(track, text["input_ids"], text["attention_mask"], 3.0, 1.0, 1, frames=40)
    columns = lm.delay(torch.randint(0, lm.CODES, (1, lm.BOOKS, lm.FRAMES)))[:, :-1]
    with torch.no_grad():
        a, b = (ours(track, text["input_ids"], text["attention_mask"], columns, whole=w) for w in (False, True))
    print(f"control columns are secluded above the first layer: greatest logit difference {(a - b).abs().max():.1e}")
    assert (a - b).abs().max() < 1e-3
    coder = codec.quicken(model.audio_encoder)
    mine = codec.decode(coder, codes)
    gap = (audio - mine).abs().max().item()
    print(f"transformers generate {tuple(audio.shape)}, ours {tuple(mine.shape)}, greatest difference {gap:.2e}")
    assert audio.shape == mine.shape and gap < 1e-3


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--work", required=True)
    args.add_argument("--out", required=True)
    args.add_argument("--lm", default="lm.pt")
    args.add_argument("--codec", help="a model's folder")
    got = args.parse_args()
    torch.set_num_threads(1)
    os.makedirs(got.out, exist_ok=True)
    coder = folder.codec_of(got.codec) if got.codec else codec.load(os.path.join(got.work, "codec.pt"))
    model = build(got.work, got.lm, coder).bfloat16()
    model.save_pretrained(got.out)
    path = os.path.join(got.out, "generation_config.json")
    with open(path) as f:
        defaults = json.load(f)
    with open(path, "w") as f:      # transformers leaves out what equals its own defaults; say it
        json.dump(dict(defaults, temperature=TEMPERATURE, temperature_by_stem=BY_STEM, top_k=TOP_K), f, indent=2, sort_keys=True)
    os.chmod(os.path.join(got.out, "model.safetensors"), 0o644)
    MusicgenMelodyFeatureExtractor(sampling_rate=codec.RATE).save_pretrained(got.out)
    tokenizer(got.work, got.out)
    size = sum(os.path.getsize(os.path.join(got.out, f)) for f in os.listdir(got.out))
    print(f"{size / 1e6:.1f} MB in {sorted(os.listdir(got.out))}")
    prove(got.out, got.work, got.lm)


if __name__ == "__main__":
    main()
