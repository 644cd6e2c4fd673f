#!/usr/bin/env python3
"""gpu_peer.py [--stems 1 8 64] [--steps 200] [--shape small|tiny] - PyTorch in bf16 on the same shape and card.

Prints CSV: mode,stems,steps_per_s. Modes: `generate` is transformers as people use it, where transformers is there;
`lean` is the network with nothing but its arithmetic (bench/peers/stepnet.py), `graph` the same in a CUDA graph.
All are guided, with top-k 250, from position 0, weights random. `copy` is the roof: GB/s read and written by a copy.
"""
import argparse, os, sys, time
from types import SimpleNamespace

import torch
from torch import nn

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench", "peers"))
import stepnet

SHAPES = {
    "small": {"hidden_size": 1024, "ffn_dim": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "vocab_size": 2048},
    "tiny": {"hidden_size": 64, "ffn_dim": 128, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 64},
}
BOOKS, TOKENS, WARM = 4, 24, 8
GUIDANCE, TOP_K = 3.0, 250


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def attention(s):
    d = s["hidden_size"]
    parts = {name: nn.Linear(d, d, bias=False) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
    return SimpleNamespace(num_heads=s["num_attention_heads"], head_dim=d // s["num_attention_heads"], **parts)


def layer(s):
    d, norms = s["hidden_size"], ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")
    return SimpleNamespace(
        self_attn=attention(s), encoder_attn=attention(s), fc1=nn.Linear(d, s["ffn_dim"], bias=False),
        fc2=nn.Linear(s["ffn_dim"], d, bias=False), **{n: nn.LayerNorm(d) for n in norms})  # fmt: skip


def random_decoder(s):
    """What stepnet reads of a MusicgenForCausalLM, with random weights."""
    d, codes = s["hidden_size"], s["vocab_size"]
    inner = SimpleNamespace(
        embed_tokens=nn.ModuleList([nn.Embedding(codes + 1, d) for _ in range(BOOKS)]), layers=[layer(s) for _ in range(s["num_hidden_layers"])],
        layer_norm=nn.LayerNorm(d), embed_positions=SimpleNamespace(weights=torch.randn(2048, d)))  # fmt: skip
    heads = [nn.Linear(d, codes, bias=False) for _ in range(BOOKS)]
    return SimpleNamespace(model=SimpleNamespace(decoder=inner), lm_heads=heads, num_codebooks=BOOKS, config=SimpleNamespace(vocab_size=codes))


def in_a_graph(run, codes, position, text):
    """run(codes, position, *text) recorded once; what it makes is read after each launch."""
    for _ in range(3):
        run(codes, position, *text)
    wait()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = run(codes, position, *text)
    return graph, made


def steps_lean(s, stems, steps, graphed):
    """Steps a second of stepnet's fixed cache; the codes are drawn outside of the graph."""
    net = stepnet.StepNet(random_decoder(s))
    states = torch.randn(2 * stems, TOKENS, s["hidden_size"])
    text = net.text(states, torch.ones(2 * stems, TOKENS))
    # By a mask, and not by a slice, whose length the host would have to wait for.
    run = stepnet.Static(net, 2 * stems, steps + WARM + 1, by_mask=True)
    state = stepnet.Delay(stems, BOOKS, s["vocab_size"], GUIDANCE, TOP_K, seed=1)
    state.gen = torch.Generator(device=torch.get_default_device()).manual_seed(1)
    position, codes = torch.zeros(1, dtype=torch.long), state.rows().clone()
    graph, made = in_a_graph(run, codes, position, text) if graphed else (None, None)
    for p in range(steps + WARM):
        if p == WARM:
            wait()
            start = time.perf_counter()
        position.fill_(p)
        codes.copy_(state.rows())
        if graph:
            graph.replay()
        else:
            made = run(codes, position, *text)
        state.take(made)
    wait()
    return steps / (time.perf_counter() - start)


def random_musicgen(s):
    from transformers import EncodecConfig, MusicgenConfig, MusicgenDecoderConfig, MusicgenForConditionalGeneration, T5Config

    codes = s["vocab_size"]
    text = T5Config(d_model=64, d_kv=16, d_ff=64, num_layers=1, num_heads=4, vocab_size=300)
    codec = EncodecConfig(sampling_rate=32000, num_filters=4, hidden_size=16, codebook_dim=16, codebook_size=codes,
                          upsampling_ratios=[8, 5, 4, 4], target_bandwidths=[2.2 if codes == 2048 else 1.3], norm_type="weight_norm")  # fmt: skip
    decoder = MusicgenDecoderConfig(num_codebooks=BOOKS, audio_channels=1, pad_token_id=codes, bos_token_id=codes, eos_token_id=None, **s)
    config = MusicgenConfig(text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict())
    return MusicgenForConditionalGeneration(config).eval()


def steps_generate(s, stems, steps):
    """Steps a second inside transformers' generate(): the difference of a long and a short run."""
    model = random_musicgen(s)
    g = model.generation_config
    g.decoder_start_token_id = g.bos_token_id = g.pad_token_id = s["vocab_size"]
    g.eos_token_id = None
    model.audio_encoder.decode = lambda *_, **__: SimpleNamespace(audio_values=torch.zeros(1))
    words = torch.randint(0, 300, (stems, TOKENS))

    def run(n):
        wait()
        start = time.perf_counter()
        model.generate(input_ids=words, attention_mask=torch.ones_like(words), do_sample=True, top_k=min(TOP_K, s["vocab_size"]),
                       guidance_scale=GUIDANCE, max_new_tokens=n)  # fmt: skip
        wait()
        return time.perf_counter() - start

    run(WARM)
    short = min(run(WARM) for _ in range(2))
    return steps / max(run(WARM + steps) - short, 1e-9)


def copy_roof():
    x = torch.empty(1 << 28, dtype=torch.float32)
    y = torch.empty_like(x)
    y.copy_(x)
    wait()
    start = time.perf_counter()
    for _ in range(20):
        y.copy_(x)
    wait()
    return 20 * 2 * x.nbytes / 1e9 / (time.perf_counter() - start)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--stems", type=int, nargs="*", default=[1, 8, 64])
    p.add_argument("--steps", type=int, default=200)
    p.add_argument("--shape", choices=SHAPES, default="small")
    a = p.parse_args()
    gpu = torch.cuda.is_available()
    torch.set_default_device("cuda" if gpu else "cpu")
    torch.set_default_dtype(torch.bfloat16)
    s, modes = SHAPES[a.shape], {"lean": lambda n: steps_lean(s, n, a.steps, False)}
    if gpu:
        modes["graph"] = lambda n: steps_lean(s, n, a.steps, True)
        print(f"copy,0,{copy_roof():.1f}", flush=True)
    try:
        import transformers

        transformers.logging.set_verbosity_error()
        modes["generate"] = lambda n: steps_generate(s, n, a.steps)
        who = f"transformers {transformers.__version__}"
    except ImportError:
        who = "no transformers"
    print(f"# torch {torch.__version__}, {who}, {torch.cuda.get_device_name() if gpu else 'CPU'}, bf16", flush=True)
    with torch.inference_mode():
        for stems in a.stems:
            for mode, measure in modes.items():
                try:
                    print(f"{mode},{stems},{measure(stems):.1f}", flush=True)
                except Exception as e:  # a peer that fails says so and leaves the others their time
                    print(f"{mode},{stems},0 # {type(e).__name__}: {str(e)[:200]}".replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
