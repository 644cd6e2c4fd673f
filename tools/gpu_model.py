#!/usr/bin/env python3
"""gpu_model.py CONFIG FOLDER [--small] - a checkpoint of random weights, of the shape that CONFIG says.

--small: with the sizes of musicgen-small in place of CONFIG's. Speed does not depend on what weights are, so a machine
that can fetch nothing can still measure. Plain Python, no package: values are bf16 of either sign from 1/128 to 1/32, norms 1.
"""
import json, math, pathlib, random, shutil, struct, sys

SMALL = {
    "decoder": {"hidden_size": 1024, "ffn_dim": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "vocab_size": 2048,
                "bos_token_id": 2048, "pad_token_id": 2048},
    "text_encoder": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_heads": 12, "num_layers": 12, "num_decoder_layers": 12,
                     "vocab_size": 32128},
    "audio_encoder": {"codebook_dim": 128, "codebook_size": 2048, "hidden_size": 128, "num_filters": 64, "target_bandwidths": [2.2]},
}  # fmt: skip


def shapes_of_text(c):
    wide, own = c["num_heads"] * c["d_kv"], "text_encoder.encoder."
    yield "text_encoder.shared.weight", (c["vocab_size"], c["d_model"])
    for i in range(c["num_layers"]):
        at = f"{own}block.{i}.layer."
        for part in "qkv":
            yield f"{at}0.SelfAttention.{part}.weight", (wide, c["d_model"])
        yield f"{at}0.SelfAttention.o.weight", (c["d_model"], wide)
        if i == 0:
            yield f"{at}0.SelfAttention.relative_attention_bias.weight", (c["relative_attention_num_buckets"], c["num_heads"])
        yield f"{at}0.layer_norm.weight", (c["d_model"],)
        yield f"{at}1.DenseReluDense.wi.weight", (c["d_ff"], c["d_model"])
        yield f"{at}1.DenseReluDense.wo.weight", (c["d_model"], c["d_ff"])
        yield f"{at}1.layer_norm.weight", (c["d_model"],)
    yield f"{own}final_layer_norm.weight", (c["d_model"],)


def shapes_of_decoder(c, text):
    d, own = c["hidden_size"], "decoder.model.decoder."
    norm = lambda name: ((f"{name}.{part}", (d,)) for part in ("weight", "bias"))
    yield "enc_to_dec_proj.weight", (d, text["d_model"])
    yield "enc_to_dec_proj.bias", (d,)
    for k in range(c["num_codebooks"]):
        yield f"decoder.lm_heads.{k}.weight", (c["vocab_size"], d)
        yield f"{own}embed_tokens.{k}.weight", (c["vocab_size"] + 1, d)
    yield from norm(f"{own}layer_norm")
    for i in range(c["num_hidden_layers"]):
        at = f"{own}layers.{i}."
        for which in ("self_attn", "encoder_attn"):
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                yield f"{at}{which}.{part}.weight", (d, d)
            yield from norm(f"{at}{which}_layer_norm")
        yield from norm(f"{at}final_layer_norm")
        yield f"{at}fc1.weight", (c["ffn_dim"], d)
        yield f"{at}fc2.weight", (d, c["ffn_dim"])


def conv(name, a, b, k, out):
    """A convolution with its weight norm; a transposed one has its channels the other way round."""
    yield f"{name}.conv.weight_v", (a, b, k)
    yield f"{name}.conv.weight_g", (a, 1, 1)
    yield f"{name}.conv.bias", (out,)


def residual(name, c, ch):
    hidden = ch // c["compress"]
    yield from conv(f"{name}.block.1", hidden, ch, c["residual_kernel_size"], hidden)
    yield from conv(f"{name}.block.3", ch, hidden, 1, ch)


def lstm(name, c, d):
    for i in range(c["num_lstm_layers"]):
        for part in ("ih", "hh"):
            yield f"{name}.lstm.weight_{part}_l{i}", (4 * d, d)
            yield f"{name}.lstm.bias_{part}_l{i}", (4 * d,)


def shapes_of_codec(c, books):
    ratios, filters, dim = c["upsampling_ratios"], c["num_filters"], c["hidden_size"]
    widest = filters << len(ratios)
    own = "audio_encoder.decoder.layers."
    yield from conv(f"{own}0", widest, dim, c["kernel_size"], widest)
    yield from lstm(f"{own}1", c, widest)
    for i, r in enumerate(ratios):
        ch = widest >> (i + 1)
        yield from conv(f"{own}{3 * i + 3}", 2 * ch, ch, 2 * r, ch)
        yield from residual(f"{own}{3 * i + 4}", c, ch)
    yield from conv(f"{own}{3 * len(ratios) + 3}", 1, filters, c["last_kernel_size"], 1)
    own = "audio_encoder.encoder.layers."
    yield from conv(f"{own}0", filters, 1, c["kernel_size"], filters)
    for i, r in enumerate(reversed(ratios)):
        ch = filters << i
        yield from residual(f"{own}{3 * i + 1}", c, ch)
        yield from conv(f"{own}{3 * i + 3}", 2 * ch, ch, 2 * r, 2 * ch)
    yield from lstm(f"{own}{3 * len(ratios) + 1}", c, widest)
    yield from conv(f"{own}{3 * len(ratios) + 3}", dim, widest, c["last_kernel_size"], dim)
    for q in range(books):
        at = f"audio_encoder.quantizer.layers.{q}.codebook."
        yield f"{at}cluster_size", (c["codebook_size"],)
        yield f"{at}inited", (1,)
        for part in ("embed", "embed_avg"):
            yield f"{at}{part}", (c["codebook_size"], c["codebook_dim"])


def shapes(config):
    """(name, shape) of every tensor of a checkpoint of the text kind, mono or stereo."""
    decoder = config["decoder"]
    yield from shapes_of_text(config["text_encoder"])
    yield from shapes_of_decoder(decoder, config["text_encoder"])
    yield from shapes_of_codec(config["audio_encoder"], decoder["num_codebooks"] // decoder["audio_channels"])


def is_one(name):
    return name.endswith(("weight_g", "norm.weight", "cluster_size", "inited"))


def write_values(f, name, count, block):
    if is_one(name):
        f.write(b"\x80\x3f" * count)
        return
    for done in range(0, 2 * count, len(block)):
        f.write(block[: 2 * count - done])


def make(config_path, folder, small):
    source, folder = pathlib.Path(config_path), pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for f in source.parent.glob("*.json"):
        shutil.copy(f, folder)
    config, generation = json.loads(source.read_text()), json.loads((folder / "generation_config.json").read_text())
    for part, sizes in SMALL.items() if small else ():
        config[part].update(sizes)
    special = config["decoder"]["vocab_size"]
    generation.update({k: special for k in ("bos_token_id", "pad_token_id", "decoder_start_token_id") if k in generation})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps(generation))
    tensors, at, header = list(shapes(config)), 0, {}
    for name, shape in tensors:
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    draw, n = random.Random(1), 1 << 20
    block = bytearray(2 * n)
    block[0::2] = draw.randbytes(n)
    block[1::2] = draw.randbytes(n).translate(bytes(0x3C | (x & 0x80) for x in range(256)))
    with open(folder / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors:
            write_values(f, name, math.prod(shape), bytes(block))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], ["--small"]):
        sys.exit(__doc__.splitlines()[0])
    make(sys.argv[1], sys.argv[2], "--small" in sys.argv)
