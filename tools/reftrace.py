"""Runs a checkpoint through transformers, stage by stage.

Reference.trace(run) takes a run as tests/parity/README.md describes it and returns its tensors by their names there.
Nothing is recomputed here: every number comes out of transformers' own forward passes, generate, feature extractor
and codec. What this file does is call them, catch what they pass to one another, and put axes in our order.
"""

import os
import struct
import warnings

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyFeatureExtractor,
    MusicgenMelodyForConditionalGeneration,
    logging,
)
from transformers.modeling_outputs import BaseModelOutput

logging.set_verbosity_error()
warnings.filterwarnings("ignore")

def wav_write(path, x, rate=32000):
    """x [channels, n] float; values must be whole multiples of 1/32768."""
    x = np.atleast_2d(x)
    data = np.round(x.T * 32768).astype("<i2").tobytes()
    channels = x.shape[0]
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, channels, rate,
        rate * channels * 2, channels * 2, 16, b"data", len(data),
    )  # fmt: skip
    with open(path, "wb") as f:
        f.write(head + data)


def wav_read(path):
    raw = open(path, "rb").read()
    channels = struct.unpack_from("<H", raw, 22)[0]
    assert raw[36:40] == b"data" and struct.unpack_from("<H", raw, 34)[0] == 16
    return (np.frombuffer(raw, "<i2", offset=44).reshape(-1, channels).T / 32768.0).astype(np.float32)


def chroma_of(extractor, x):
    """(one-hot [F, 12], raw [F, 12]) of mono x [n]. torchaudio has divided the raw power by the window's energy."""
    seen = {}
    spectrogram = extractor.spectrogram

    def listen(wave):
        seen["spec"] = spectrogram(wave)
        return seen["spec"]

    extractor.spectrogram = listen
    onehot = extractor(np.asarray(x, np.float32), sampling_rate=32000, return_tensors="pt")["input_features"][0]
    extractor.spectrogram = spectrogram
    spec = seen["spec"].reshape(-1, *seen["spec"].shape[-2:])
    raw = torch.einsum("cf,...ft->...ct", extractor.chroma_filters, spec)[0].T
    return onehot, raw


class Reference:
    def __init__(self, folder, dtype=torch.float32, check=False):
        self.folder = folder
        self.check = check  # compare generate() with teacher-forced passes
        self.config = AutoConfig.from_pretrained(folder)
        self.melody = self.config.model_type == "musicgen_melody"
        cls = MusicgenMelodyForConditionalGeneration if self.melody else MusicgenForConditionalGeneration
        self.model, info = cls.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        assert not info["missing_keys"] and not info["mismatched_keys"], info
        self.model.eval()
        self.model.to(dtype)
        if dtype == torch.float64:
            # With every key masked T5's scores overflow in float64 (not in float32); the mask removes its output anyway.
            self.model.text_encoder.encoder.final_layer_norm.register_forward_hook(lambda m, i, o: o.nan_to_num())
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        decoder = self.config.decoder
        self.K = decoder.num_codebooks
        self.special = decoder.vocab_size
        self.per_channel = self.K // (2 if decoder.audio_channels == 2 else 1)
        self.extractor = MusicgenMelodyFeatureExtractor.from_pretrained(folder) if self.melody else None
        self.dtype = dtype

    def delay(self, k):
        return k * self.per_channel // self.K

    # Text.

    def tokens(self, runs):
        """ids and mask of runs as one batch, padded on the right."""
        lists = [self.run_ids(r) for r in runs]
        rows = 0 if any(r.get("ids") for r in runs) else (self.tokenizer.padding or {}).get("length") or 0
        longest = max(rows, *map(len, lists))
        ids = torch.tensor([x + [0] * (longest - len(x)) for x in lists])
        mask = torch.tensor([[1] * len(x) + [0] * (longest - len(x)) for x in lists])
        return ids, mask

    def run_ids(self, run):
        if run.get("ids") is not None:
            return list(run["ids"])
        if run.get("prompt") is None:
            return [1]
        got = self.tokenizer.encode(run["prompt"])
        return [i for i, real in zip(got.ids, got.attention_mask) if real]

    def features(self, run):
        """Chroma rows [1, F, 12] of a melody run, or None for the null chroma."""
        if run.get("chroma") is not None:
            return torch.tensor(run["chroma"], dtype=self.dtype)[None]
        if run.get("melody_wav") is not None:
            return chroma_of(self.extractor, self.wav(run["melody_wav"]).mean(0))[0][None].to(self.dtype)
        return None

    def wav(self, path):
        return wav_read(os.path.join(self.folder, "..", path) if not os.path.isabs(path) else path)

    def null_run(self, run):
        return run.get("prompt") is None and run.get("ids") is None

    def arguments(self, runs):
        """What generate() takes as the condition of these runs."""
        ids, mask = self.tokens(runs)
        args = {"input_ids": ids, "attention_mask": mask}
        if all(self.null_run(r) for r in runs):
            if not self.melody:
                uncond = self.model.get_unconditional_inputs(num_samples=len(runs))
                return {"encoder_outputs": uncond.encoder_outputs, "attention_mask": uncond.attention_mask}
            args["attention_mask"] = torch.zeros_like(mask)
        if self.melody:
            features = [self.features(r) for r in runs]
            if features[0] is not None:
                args["input_features"] = torch.cat(features)
        return args

    # Forward passes.

    def forward_logits(self, args, codes, null):
        """[B, S, K, V] on columns codes, [K, S] shared by the batch or [B, K, S]; one branch."""
        batch = args["attention_mask"].shape[0]
        columns = torch.as_tensor(codes)
        columns = columns.flatten(0, 1) if columns.dim() == 3 else columns.repeat(batch, 1)
        if self.melody:
            made = self.model._prepare_encoder_hidden_states_kwargs_for_generation(
                args["input_ids"],
                {k: v for k, v in args.items() if k != "input_ids"},
                "input_ids",
                self.guided_config(),
            )["encoder_hidden_states"]
            self.prefix = made[:batch]
            out = self.model(encoder_hidden_states=made[batch:] if null else made[:batch], decoder_input_ids=columns)
        elif null:
            width = self.config.text_encoder.d_model
            zeros = torch.zeros(*args["attention_mask"].shape, width, dtype=self.dtype)
            out = self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=zeros),
                attention_mask=torch.zeros_like(args["attention_mask"]),
                decoder_input_ids=columns,
            )
        else:
            out = self.model(**args, decoder_input_ids=columns)
        logits = out.logits[:, -columns.shape[1] :]
        return logits.reshape(batch, self.K, *logits.shape[1:]).permute(0, 2, 1, 3)

    def guided_config(self):
        import copy

        c = copy.deepcopy(self.model.generation_config)
        c.guidance_scale = 3.0
        return c

    # Generation.

    def generate(self, args, guidance, frames, prompt_codes=None, wave=None, delay=True):
        """greedy codes [B, K, T], first-step scores [B, K, V], and the smallest relative gap of the best two."""
        batch = args["attention_mask"].shape[0]
        caught = []
        codec = self.model.audio_encoder
        decode, encode = codec.decode, codec.encode
        extra = {}
        if wave is not None:
            extra["input_values"] = torch.from_numpy(wave)[None].to(self.dtype)
            prompt = -(-wave.shape[1] // 640)
        elif prompt_codes is not None:
            extra["decoder_input_ids"] = torch.tensor(prompt_codes)
            prompt = extra["decoder_input_ids"].shape[1]
        else:
            prompt = 0

        def catch(codes, **_):
            caught.append(codes[0])
            return type("Decoded", (), {"audio_values": torch.zeros(batch, 1, 1)})

        codec.decode = lambda audio_codes, audio_scales=None, **_: catch(audio_codes)
        try:
            out = self.model.generate(
                **args,
                **extra,
                do_sample=False,
                guidance_scale=guidance,
                max_new_tokens=frames + self.per_channel - 1 - prompt if delay else frames,
                return_dict_in_generate=True,
                output_scores=True,
                # transformers 4.50 to 5.x drop the whole melody condition when generate() makes the cache
                # (issue 45647, corrected by pull request 48679). Without a cache the condition stays.
                use_cache=not self.melody,
            )
        finally:
            codec.decode, codec.encode = decode, encode
        if self.config.decoder.audio_channels == 2:
            codes = torch.stack(caught, dim=2).flatten(1, 2)
        else:
            codes = caught[0]
        assert codes.shape == (batch, self.K, frames), codes.shape
        scores = torch.stack([s.reshape(batch, self.K, -1) for s in out.scores])
        return codes, scores[0], self.min_gap(scores, frames, prompt, delay)

    def min_gap(self, scores, frames, prompt, delay):
        """Over the entries that generation chose freely, of (best - second) / largest magnitude."""
        top = scores.topk(2, dim=-1).values
        gap = (top[..., 0] - top[..., 1]) / scores.abs().amax(-1)
        worst = float("inf")
        for step in range(scores.shape[0]):
            column = prompt + 1 + step
            for k in range(self.K):
                frame = column - 1 - (self.delay(k) if delay else 0)
                if prompt <= frame < frames:
                    worst = min(worst, gap[step, :, k].min().item())
        return worst

    def disagreements(self, args, run, codes, guidance, null):
        """How many freely chosen codes are not the best of a teacher-forced pass over the finished columns.

        It checks generate() itself: caches, masks and the condition have to be the same in both.
        """
        batch, _, frames = codes.shape
        if not run.get("delay", True):
            columns, prompt = torch.nn.functional.pad(codes, (1, 0), value=self.special), 0
        else:
            prompt = run.get("prompt_frames", 0)
            columns = torch.full((batch, self.K, frames + self.per_channel), self.special)
            for k in range(self.K):
                columns[:, k, 1 + self.delay(k) : 1 + self.delay(k) + frames] = codes[:, k]
        logits = self.forward_logits(args, columns, null=null and not self.melody)
        if guidance > 1:
            uncond = self.forward_logits(args, columns, null=True)
            logits = uncond + guidance * (logits - uncond)
        best, wrong = logits.argmax(-1), 0
        for k in range(self.K):
            d = self.delay(k) if run.get("delay", True) else 0
            wrong += (best[:, prompt + d : frames + d, k] != codes[:, k, prompt:]).sum().item()
        return wrong

    # Everything a run asks for.

    @torch.no_grad()
    def trace(self, run, runs=None):
        """Tensors of a run by name, and min_gap. runs: the other runs of the case by name, for a batch."""
        members = [runs[n] for n in run["batch"]] if run.get("batch") else [run]
        single = not run.get("batch")
        guidance = run.get("guidance", 1.0)
        out, info = {}, {}
        if single and (run.get("encode_wav") or run.get("decode_codes")):
            out |= self.codec(run)
        if run.get("codes") or run.get("greedy_frames") or run.get("prompt") is not None:
            args = self.arguments(members)
            null = all(self.null_run(r) for r in members)
            if not null:
                out |= self.text(args)
            if run.get("codes"):
                out |= self.logits(args, run["codes"], guidance, null)
            if run.get("greedy_frames"):
                out |= self.greedy(args, members, run, guidance, info)
            if not single:
                out["mask"] = args["attention_mask"]
        if single:
            for k in ("ids", "t5", "proj"):  # without the rows that a tokenizer of fixed length adds
                if k in out:
                    out[k] = out[k][:, : len(self.run_ids(run))]
            drop = ("ids", "t5", "proj", "logits", "logits_null", "logits_guided", "first", "greedy", "audio_proj")
            out = {k: v[0] if k in drop else v for k, v in out.items()}
        if run.get("melody_wav"):
            out["chroma"], out["chroma_raw"] = chroma_of(self.extractor, self.wav(run["melody_wav"]).mean(0))
        return out, info

    def text(self, args):
        ids, mask = args["input_ids"], args["attention_mask"]
        t5 = self.model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        keep = mask[..., None].to(self.dtype)
        project = getattr(self.model, "enc_to_dec_proj", lambda x: x)  # there is none between equal widths
        return {"ids": ids, "t5": t5 * keep, "proj": project(t5) * keep}

    def logits(self, args, codes, guidance, null):
        if null:
            # Melody: the null branch of a null text is the whole condition, as generate() makes it.
            return {"logits_null": self.forward_logits(args, codes, null=not self.melody)}
        cond = self.forward_logits(args, codes, null=False)
        uncond = self.forward_logits(args, codes, null=True)
        out = {"logits": cond, "logits_null": uncond}
        if self.melody:
            out["audio_proj"] = self.prefix[:, : self.config.chroma_length]
        if guidance != 1.0:
            out["logits_guided"] = uncond + guidance * (cond - uncond)
        return out

    def greedy(self, args, members, run, guidance, info):
        wave = self.wav(run["continue_wav"]) if run.get("continue_wav") else None
        codes, first, info["min_gap"] = self.generate(
            args, guidance, run["greedy_frames"], run.get("prompt_codes"), wave, run.get("delay", True)
        )
        out = {"greedy": codes, "first": first}
        given = run.get("prompt_codes")
        if wave is not None:
            out["prompt_codes"] = given = self.encode_channels(wave)[1]
        if self.check:
            prompt_frames = 0 if given is None else len(given[0])
            null = all(self.null_run(r) for r in members)
            wrong = self.disagreements(args, {**run, "prompt_frames": prompt_frames}, codes, guidance, null)
            assert not wrong, f"{run['name']}: generate and forward disagree in {wrong} codes"
        return out

    def encode_channels(self, wave):
        """(latents of each channel, codes [K, frames])."""
        codec = self.model.audio_encoder
        latents, codes = [], []
        for channel in torch.from_numpy(wave).to(self.dtype):
            x = channel[None, None]
            latents.append(codec.encoder(x)[0])
            codes.append(codec.encode(x).audio_codes[0, 0])
        return latents, torch.stack(codes, dim=1).flatten(0, 1)

    def codec(self, run):
        out = {}
        if run.get("encode_wav"):
            latents, out["enc_codes"] = self.encode_channels(self.wav(run["encode_wav"]))
            names = ["latents"] if len(latents) == 1 else ["latents_left", "latents_right"]
            out |= dict(zip(names, latents))
        if run.get("decode_codes"):
            codes = torch.tensor(run["decode_codes"])
            step = self.K // self.per_channel
            waves = [self.model.audio_encoder.decode(codes[c::step][None, None], [None])[0][0] for c in range(step)]
            out["wave"] = torch.cat(waves)
        return out


def to_file(tensors):
    """Element types of the committed files: I32 and F32."""
    return {
        k: v.detach().to(torch.float32 if v.is_floating_point() else torch.int32).contiguous().clone()
        for k, v in tensors.items()
    }
