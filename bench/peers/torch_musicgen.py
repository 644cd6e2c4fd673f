"""Measures PyTorch transformers on a MusicGen checkpoint of the text kind.

    python bench/peers/torch_musicgen.py MODEL [--steps 200] [--threads N] [--stems 1 4] [--precision f32 bf16 int8]

Modes: "generate" is transformers' own generate() (sdpa attention, cache, guidance, top-k 250); "lean" is the same
network through stepnet.py, eager; "compiled" is lean through torch.compile. A peer's figure is its best mode. One CSV
row each, on stdout. int8 is PyTorch's dynamic quantisation of the decoder's linear layers; it does not compile.
"""

import os
import sys
import time

import torch
import transformers
from transformers import AutoTokenizer, MusicgenForConditionalGeneration, PreTrainedTokenizerFast

import common
import stepnet

KINDS = {"f32": torch.float32, "bf16": torch.bfloat16, "int8": torch.float32}
MODES = ("generate", "lean", "compiled")


def load_tokenizer(folder):
    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception:
        return PreTrainedTokenizerFast(
            tokenizer_file=os.path.join(folder, "tokenizer.json"), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        )


def load(folder, kind):
    start = time.perf_counter()
    model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=kind).eval()  # sdpa by default
    return model, time.perf_counter() - start


def condition(model, inputs):
    """Projected text states and mask of both branches, conditional rows first."""
    mask = inputs["attention_mask"]
    states = model.text_encoder(**inputs).last_hidden_state
    states = model.enc_to_dec_proj(states) * mask[..., None].to(states.dtype)
    return torch.cat([states, torch.zeros_like(states)]), torch.cat([mask, torch.zeros_like(mask)])


def quantise(net):
    return torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear}, dtype=torch.qint8)


def steps_generate(model, inputs, steps):
    """Steps a second inside generate(), between the first and the last call of the decoder."""
    marks = []
    hook = model.decoder.register_forward_hook(lambda *_: marks.append(time.perf_counter()))
    decode = model.audio_encoder.decode
    model.audio_encoder.decode = lambda codes, **_: type("Decoded", (), {"audio_values": torch.zeros(1)})
    try:
        model.generate(**inputs, do_sample=True, top_k=common.TOP_K, guidance_scale=common.GUIDANCE, max_new_tokens=steps)
    finally:
        hook.remove()
        model.audio_encoder.decode = decode
    return (len(marks) - 1) / (marks[-1] - marks[0])


def steps_lean(model, inputs, steps, stems, compiled, int8):
    net = stepnet.StepNet(model.decoder)
    states, mask = condition(model, inputs)
    if states.dtype == torch.float32:
        error = stepnet.check(model, net, states, mask)
        assert error < 1e-4, f"the lean step is {error:.1e} of the peak away from transformers"
    text = net.text(states, mask)
    if int8:
        net = quantise(net)
    run = stepnet.Static(net, 2 * stems, steps + 9, by_mask=compiled)
    if compiled:
        run = torch.compile(run, dynamic=False)
    decoder = model.config.decoder
    state = stepnet.Delay(stems, decoder.num_codebooks, decoder.vocab_size, common.GUIDANCE, common.TOP_K, seed=1)
    start = None
    for p in range(steps + 8):
        if p == 8:  # compiled, caches warm
            start = time.perf_counter()
        state.take(run(state.rows(), torch.tensor([p]), *text))
    return steps / (time.perf_counter() - start)


@torch.inference_mode()
def measure(args, precision, mode, stems):
    torch.set_num_threads(args.threads)
    model, load_s = load(args.model, KINDS[precision])
    tokenizer = load_tokenizer(args.model)
    inputs = dict(tokenizer(common.PROMPTS[:stems], padding=True, return_tensors="pt"))
    inputs = {k: inputs[k] for k in ("input_ids", "attention_mask")}
    model.text_encoder(**inputs)
    row = {
        "peer": "torch", "version": f"{torch.__version__} transformers {transformers.__version__}",
        "model": os.path.basename(os.path.normpath(args.model)), "precision": precision, "mode": mode,
        "threads": args.threads, "stems": stems, "steps": args.steps, "load_s": load_s,
        "t5_s": common.median_time(lambda: model.text_encoder(**inputs)),
    }  # fmt: skip
    codec = model.audio_encoder
    codes = torch.randint(0, codec.config.codebook_size, (1, 1, len(codec.quantizer.layers), 500))
    codec.decode(codes[..., :50], [None])
    row["decode10_s"] = common.median_time(lambda: codec.decode(codes, [None]))
    if mode == "generate":
        if precision == "int8":
            model.decoder = quantise(model.decoder)
        steps_generate(model, inputs, 8)
        row["steps_per_s"] = steps_generate(model, inputs, args.steps)
    else:
        row["steps_per_s"] = steps_lean(model, inputs, args.steps, stems, mode == "compiled", precision == "int8")
    common.write_row(common.finish(row, stems))


def main():
    parser = common.parser(__doc__.splitlines()[0], KINDS)
    parser.add_argument("--mode", nargs="*", choices=MODES, default=list(MODES))
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    if args.row:
        precision, mode, stems = args.row.split(",")
        measure(args, precision, mode, int(stems))
        return 0
    jobs = [
        (p, m, s) for p in args.precision for s in args.stems for m in args.mode if p != "int8" or m != "compiled"
    ]
    return common.each_in_its_process(
        __file__, jobs, [args.model, "--steps", str(args.steps), "--threads", str(args.threads)]
    )


if __name__ == "__main__":
    sys.exit(main())
