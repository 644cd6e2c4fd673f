"""Measures onnxruntime on the decoder step of a MusicGen checkpoint of the text kind.

    python bench/peers/onnx_musicgen.py MODEL [--steps 200] [--threads N] [--stems 1 4] [--precision f32 int8]

The step of stepnet.py is exported once with its cache as inputs and outputs (into --cache, a temporary folder by
default), checked against transformers, and run with every tensor bound in place. int8 is onnxruntime's own dynamic
quantisation of the matrix products, per channel. Text and codec stay in PyTorch float32: their columns are
PyTorch's. One CSV row each, on stdout.
"""

import os
import sys
import tempfile
import time
import warnings

import numpy as np
import onnxruntime
import torch
import transformers

import common
import stepnet
import torch_musicgen

PRECISIONS = ("f32", "int8")


def names(layers):
    past = [f"{part}{i}" for i in range(layers) for part in ("past_k", "past_v", "text_k", "text_v")]
    present = [f"{part}{i}" for i in range(layers) for part in ("present_k", "present_v")]
    return past, present


def export(net, path):
    """Writes the growing step as ONNX with free batch, past and text lengths."""
    heads, width = net.layers[0].heads, net.layers[0].width
    past, present = names(len(net.layers))
    dims = {"codes": {0: "rows"}, "bias": {0: "rows", 3: "text"}, "logits": {0: "rows"}}
    dims |= {n: {0: "rows", 2: "text" if n.startswith("text") else "past"} for n in past}
    dims |= {n: {0: "rows", 2: "present"} for n in present}
    caches = [torch.zeros(2, heads, 5 if "text" in n else 3, width) for n in past]
    codes = torch.zeros(2, net.codebooks, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            stepnet.Growing(net).eval(), (codes, torch.tensor([3]), torch.zeros(2, 1, 1, 5), *caches), path,
            input_names=["codes", "position", "bias", *past], output_names=["logits", *present], dynamic_axes=dims,
            opset_version=17, dynamo=False,
        )  # fmt: skip


def quantise(source, path):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, path, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul"])


def prepare(args, precision):
    """Path of the ONNX file, made if it is not there."""
    os.makedirs(args.cache, exist_ok=True)
    path = os.path.join(args.cache, f"step_{precision}.onnx")
    if not os.path.exists(path):
        if precision == "int8":
            quantise(prepare(args, "f32"), path)
        else:
            model, _ = torch_musicgen.load(args.model, torch.float32)
            with torch.no_grad():
                export(stepnet.StepNet(model.decoder), path)
    return path


class Session:
    def __init__(self, path, threads, rows, text, bias):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        keys, values = text
        self.layers = len(keys)
        heads, width = keys[0].shape[1], keys[0].shape[3]
        self.binding = self.session.io_binding()
        self.binding.bind_cpu_input("bias", bias.numpy())
        for i, (k, v) in enumerate(zip(keys, values)):
            self.binding.bind_cpu_input(f"text_k{i}", k.numpy())
            self.binding.bind_cpu_input(f"text_v{i}", v.numpy())
        empty = np.zeros((rows, heads, 0, width), np.float32)
        self.past = [onnxruntime.OrtValue.ortvalue_from_numpy(empty) for _ in range(2 * self.layers)]

    def step(self, codes, position):
        bind = self.binding
        bind.bind_cpu_input("codes", codes.numpy())
        bind.bind_cpu_input("position", np.array([position], np.int64))
        for i in range(self.layers):
            bind.bind_ortvalue_input(f"past_k{i}", self.past[2 * i])
            bind.bind_ortvalue_input(f"past_v{i}", self.past[2 * i + 1])
        bind.clear_binding_outputs()
        for name in ["logits", *names(self.layers)[1]]:
            bind.bind_output(name)
        self.session.run_with_iobinding(bind)
        logits, *self.past = bind.get_outputs()
        return torch.from_numpy(logits.numpy())


def check(model, make, states, mask, steps=4):
    """Largest difference from transformers, relative to the peak."""
    config = model.config.decoder
    shape = (states.shape[0], config.num_codebooks, steps)
    codes = torch.randint(0, config.vocab_size, shape, generator=torch.Generator().manual_seed(3))
    want = model.decoder(
        input_ids=codes.flatten(0, 1), encoder_hidden_states=states, encoder_attention_mask=mask
    ).logits.view(*shape, -1)
    session = make()
    got = torch.stack([session.step(codes[:, :, s].contiguous(), s) for s in range(steps)], dim=2)
    return ((got - want).abs().max() / want.abs().max()).item()


def torch_columns(model, inputs):
    """What stays in PyTorch."""
    codec = model.audio_encoder
    codes = torch.randint(0, codec.config.codebook_size, (1, 1, len(codec.quantizer.layers), 500))
    return {
        "t5_s": common.median_time(lambda: model.text_encoder(**inputs)),
        "decode10_s": common.median_time(lambda: codec.decode(codes, [None])),
    }


@torch.no_grad()
def measure(args, precision, stems):
    torch.set_num_threads(args.threads)
    path = prepare(args, precision)
    start = time.perf_counter()
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    load_s = time.perf_counter() - start
    model, _ = torch_musicgen.load(args.model, torch.float32)
    inputs = dict(torch_musicgen.load_tokenizer(args.model)(common.PROMPTS[:stems], padding=True, return_tensors="pt"))
    inputs = {k: inputs[k] for k in ("input_ids", "attention_mask")}
    states, mask = torch_musicgen.condition(model, inputs)
    keys, values, bias = stepnet.StepNet(model.decoder).text(states, mask)

    def make():
        return Session(path, args.threads, 2 * stems, (keys, values), bias)

    error = check(model, make, states, mask)
    print(f"{precision}: {error:.1e} of the peak away from transformers", file=sys.stderr)
    assert precision == "int8" or error < 1e-4
    config = model.config.decoder
    row = {
        "peer": "onnxruntime", "version": onnxruntime.__version__,
        "model": os.path.basename(os.path.normpath(args.model)), "precision": precision, "mode": "step",
        "threads": args.threads, "stems": stems, "steps": args.steps, "load_s": load_s, **torch_columns(model, inputs),
    }  # fmt: skip
    del model
    session = make()
    state = stepnet.Delay(stems, config.num_codebooks, config.vocab_size, common.GUIDANCE, common.TOP_K, seed=1)
    for p in range(args.steps + 8):
        if p == 8:
            start = time.perf_counter()
        state.take(session.step(state.rows(), p))
    row["steps_per_s"] = args.steps / (time.perf_counter() - start)
    common.write_row(common.finish(row, stems))


def main():
    parser = common.parser(__doc__.splitlines()[0], PRECISIONS)
    parser.add_argument("--cache", help="folder for the exported files, kept; of one checkpoint only")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    if args.row:
        precision, stems = args.row.split(",")
        if stems == "0":
            prepare(args, precision)  # in a process of its own, for the memory of the others
        else:
            measure(args, precision, int(stems))
        return 0
    jobs = [(p, 0) for p in args.precision] + [(p, s) for p in args.precision for s in args.stems]
    with tempfile.TemporaryDirectory() as made:
        common_args = ["--steps", str(args.steps), "--threads", str(args.threads), "--cache", args.cache or made]
        return common.each_in_its_process(__file__, jobs, [args.model, *common_args])


if __name__ == "__main__":
    sys.exit(main())
