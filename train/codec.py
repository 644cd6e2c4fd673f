"""Stage codec: EnCodec's 32 kHz geometry, a quarter as wide, trained on the pool.

Two processes of one thread each average their gradients.  The first steps run without the quantiser;
then the codebooks are placed by k-means over the residuals and follow by moving averages.  What is used
afterwards is a moving average of the weights.  Stage decoder (decoder.py) goes on with the decoder alone.

  codec.py --work DIR --minutes 25 [--resume]
"""

import argparse
import os
import signal
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from transformers import EncodecConfig, EncodecModel

import ranks

RATE = 32000
BOOKS, CODES, HIDDEN = 4, 512, 128
FREE_STEPS = 250
EMA, DEAD = 0.97, 0.15
AVERAGE = 0.99      # of the weights, a step
FLOOR = 3e-3        # of log magnitudes: what lies deeper is not heard, and its gradient would drown the rest


def config(filters=16):
    return EncodecConfig(target_bandwidths=[2.2], sampling_rate=RATE, audio_channels=1, normalize=False,
                         hidden_size=HIDDEN, num_filters=filters, num_residual_layers=1, upsampling_ratios=[8, 5, 4, 4],
                         norm_type="weight_norm", kernel_size=7, last_kernel_size=7, residual_kernel_size=3,
                         dilation_growth_rate=2, use_causal_conv=False, pad_mode="reflect", compress=2,
                         num_lstm_layers=2, trim_right_ratio=1.0, codebook_size=CODES, codebook_dim=HIDDEN,
                         use_conv_shortcut=False)


class _Elu(torch.autograd.Function):
    """ELU through exp: the library's expm1 took half of a training step."""

    @staticmethod
    def forward(ctx, x):
        slope = x.clamp(max=0).exp_()
        ctx.save_for_backward(slope)
        return x.clamp(min=0).add_(slope).sub_(1)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


class FastElu(torch.nn.Module):
    def forward(self, x):
        return _Elu.apply(x)


def quicken(model):
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ELU):
                setattr(module, name, FastElu())
    return model


def fresh():
    """Fan-in normal weights: the default initialisation collapsed."""
    model = EncodecModel(config())
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv1d, torch.nn.ConvTranspose1d)):
            w = module.weight
            up = isinstance(module, torch.nn.ConvTranspose1d)
            fan = w.shape[0] * w.shape[2] / module.stride[0] if up else w.shape[1] * w.shape[2]
            module.weight = torch.randn_like(w) * (1.0 / fan) ** 0.5
            torch.nn.init.zeros_(module.bias)
    return quicken(model)


def load(path):
    model = quicken(EncodecModel(config()))
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=False)["average"])
    return model.eval()


def books(model):
    return torch.stack([layer.codebook.embed for layer in model.quantizer.layers])


def assign(r, book):
    return (r @ book.t() - 0.5 * (book * book).sum(1)).argmax(1)


@torch.no_grad()
def encode(model, x, narrow=False):
    """[n, 1, samples] -> codes [n, books, frames]; `narrow`: convolutions in bf16, 1.4 times as fast, 94-99 % the same codes."""
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        z = model.encoder(x).float()
    n, d, t = z.shape
    r = z.transpose(1, 2).reshape(-1, d)
    out = []
    for book in books(model):
        code = assign(r, book)
        r = r - book[code]
        out.append(code.view(n, t))
    return torch.stack(out, 1)


@torch.no_grad()
def quantised(model, z):
    """Latents [n, hidden, frames] -> the sums of codes that stand for them."""
    n, d, t = z.shape
    r = flat = z.transpose(1, 2).reshape(-1, d)
    for book in books(model):
        r = r - book[assign(r, book)]
    return (flat - r).view(n, t, d).transpose(1, 2)


@torch.no_grad()
def decode(model, codes):
    z = sum(F.embedding(codes[:, k], book) for k, book in enumerate(books(model)))
    return model.decoder(z.transpose(1, 2))


class Quantiser:
    """Residual codebooks with moving averages; gradients pass straight through."""

    def __init__(self, model):
        self.embed = [layer.codebook.embed for layer in model.quantizer.layers]
        self.count = [torch.ones(CODES) for _ in self.embed]
        self.total = [e.clone() for e in self.embed]
        self.placed = False

    def state(self):
        return dict(count=self.count, total=self.total, placed=self.placed)

    def restore(self, state):
        self.count, self.total, self.placed = state["count"], state["total"], state["placed"]

    def place(self, vectors, rng):
        r = vectors
        for k, embed in enumerate(self.embed):
            book = r[torch.from_numpy(rng.choice(len(r), CODES, replace=len(r) < CODES))].clone()
            for _ in range(15):
                code = assign(r, book)
                count = torch.bincount(code, minlength=CODES).float()
                total = torch.zeros_like(book).index_add_(0, code, r)
                book = torch.where(count[:, None] > 0, total / count[:, None].clamp(min=1), book)
                empty = (count == 0).nonzero()[:, 0]
                book[empty] = r[torch.from_numpy(rng.choice(len(r), len(empty)))]
            embed.copy_(book)
            code = assign(r, book)
            self.count[k] = torch.bincount(code, minlength=CODES).float().clamp(min=1) * 0.1
            self.total[k] = book * self.count[k][:, None]
            r = r - book[code]
        self.placed = True

    def __call__(self, z, rng, reduce):
        n, d, t = z.shape
        flat = z.transpose(1, 2).reshape(-1, d)
        with torch.no_grad():
            r = flat.detach()
            quantised = torch.zeros_like(r)
            for k, embed in enumerate(self.embed):
                code = assign(r, embed)
                got = embed[code]
                stats = torch.zeros(CODES, d + 1)
                stats.index_add_(0, code, torch.cat([r, torch.ones(len(r), 1)], 1))
                spare = r[torch.from_numpy(rng.choice(len(r), 16))]
                reduce(stats, average=False)
                self.count[k] = EMA * self.count[k] + (1 - EMA) * stats[:, d]
                self.total[k] = EMA * self.total[k] + (1 - EMA) * stats[:, :d]
                embed.copy_(self.total[k] / self.count[k][:, None].clamp(min=1e-4))
                dead = (self.count[k] < DEAD).nonzero()[:, 0][:16]
                if len(dead):
                    reduce(spare, average=True, share=True)
                    embed[dead] = spare[: len(dead)]
                    self.count[k][dead] = 0.6
                    self.total[k][dead] = embed[dead] * 0.6
                quantised += got
                r = r - got
        commit = F.mse_loss(flat, quantised)
        out = flat + (quantised - flat).detach()
        return out.view(n, t, d).transpose(1, 2), commit / flat.detach().var(0).mean().clamp(min=1e-6)


def mel_filters(n_fft, n_mels):
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    centres = 700 * (10 ** (np.linspace(0, top, n_mels + 2) / 2595) - 1)
    freq = np.linspace(0, RATE / 2, n_fft // 2 + 1)
    up = (freq[None] - centres[:-2, None]) / (centres[1:-1] - centres[:-2])[:, None]
    down = (centres[2:, None] - freq[None]) / (centres[2:] - centres[1:-1])[:, None]
    return torch.from_numpy(np.maximum(0, np.minimum(up, down))).float()


def movement(level, lag):
    return (level[..., lag:] - level[..., :-lag]).abs().mean(-1)


def texture(a, b):
    """Distance of each band's mean and spread over time, and of how much it moves: a median of uncertain detail is
    too low and too even, and quantised tones waver."""
    still = (a.mean(-1) - b.mean(-1)).abs().mean() + (a.std(-1) - b.std(-1)).abs().mean()
    return 0.7 * still + sum((movement(a, n) - movement(b, n)).abs().mean() for n in (1, 2, 4))


class SpectralLoss:
    """Log-mel, texture and magnitude distances at several resolutions; convergence is taken over the batch.

    `long`: one resolution more, whose bands are narrow enough to show a line among noise.
    """

    def __init__(self, long=False):
        self.sizes = [(8192, 512)] * long + [(2048, 80), (1024, 64), (512, 40), (256, 20), (128, 10)]
        self.windows = [torch.hann_window(n) for n, _ in self.sizes]
        self.mels = [mel_filters(n, m) for n, m in self.sizes]

    def to(self, device):
        self.windows, self.mels = ([v.to(device) for v in part] for part in (self.windows, self.mels))
        return self

    def __call__(self, x, y):
        loss = 0
        for (n, _), window, mel in zip(self.sizes, self.windows, self.mels):
            a, b = (torch.stft(v, n, n // 4, window=window, return_complex=True).abs() / n ** 0.5 for v in (x, y))
            ma, mb = mel @ a, mel @ b
            la, lb = torch.log10(ma + FLOOR), torch.log10(mb + FLOOR)
            loss = loss + (la - lb).abs().mean() + texture(la, lb)
            loss = loss + 0.5 * (a - b).norm() / a.norm().clamp(min=1e-3)
        return loss / len(self.sizes)


def wave_error(x, y):
    return (x - y).pow(2).sum() / x.pow(2).sum().clamp(min=1e-3)


def si_sdr(x, y):
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    target = (x * y).sum(-1, keepdim=True) / (x * x).sum(-1, keepdim=True).clamp(min=1e-8) * x
    return 10 * torch.log10(target.pow(2).sum(-1) / (y - target).pow(2).sum(-1).clamp(min=1e-8))


class Group:
    """The processes that train together."""

    def __init__(self, rank, world, port):
        self.rank, self.world = rank, world
        if world > 1:
            dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)

    def reduce(self, tensor, average=True, share=False):
        """Sum or mean over all in place; `share`: the first one's values for all."""
        if self.world == 1:
            return
        if share:
            dist.broadcast(tensor, 0)
            return
        dist.all_reduce(tensor)
        if average:
            tensor /= self.world

    def gather(self, tensor):
        if self.world == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.world)]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)


class Learner:
    """Parameters, their optimiser, one clipped step on gradients averaged over the group."""

    def __init__(self, params, group, **options):
        self.params, self.group = [p for p in params if p.requires_grad], group
        self.adam = torch.optim.AdamW(self.params, weight_decay=0.0, foreach=True, **options)

    def step(self, rate):
        flat = torch.cat([p.grad.view(-1) for p in self.params])
        self.group.reduce(flat)
        norm = float(flat.norm())
        flat *= min(1.0, 1.0 / (norm + 1e-6))
        at = 0
        for p in self.params:
            p.grad.copy_(flat[at:at + p.numel()].view_as(p))
            at += p.numel()
        for g in self.adam.param_groups:
            g["lr"] = rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=False)
        return norm


class Trainer:
    def __init__(self, rank, world, args):
        self.args, self.group = args, Group(rank, world, args.port)
        self.rng = np.random.default_rng([7, rank, int(time.time()) if args.resume else 0])
        self.model = fresh()
        self.quantiser = Quantiser(self.model)
        self.step, self.spent, self.vectors = 0, 0.0, []
        self.path = os.path.join(args.work, "codec.pt")
        saved = torch.load(self.path, map_location="cpu", weights_only=False) if args.resume else None
        if saved:
            self.model.load_state_dict(saved["model"])
            self.quantiser.restore(saved["quantiser"])
            self.step, self.spent = saved["step"], saved["spent"]
        self.learner = Learner(self.model.parameters(), self.group, betas=(0.8, 0.95))
        if saved:
            self.learner.adam.load_state_dict(saved["optimiser"])
        self.average = {k: v.clone() for k, v in (saved.get("average") or saved["model"] if saved else self.model.state_dict()).items()}
        self.pool = np.load(os.path.join(args.work, "pool.npy"), mmap_mode="r")
        self.spectral = SpectralLoss()
        self.length = int(args.seconds * RATE) // 640 * 640

    def rate(self, progress):
        since = self.step - FREE_STEPS
        warm = min(1, (self.step + 1) / 50) if since < 0 else min(1, 0.1 + since / 150)
        return self.args.rate * warm * (1 if progress < 0.5 else max(0.03, 2 * (1 - progress)))

    def batch(self):
        picks = self.rng.integers(0, len(self.pool) - 20, self.args.batch)
        starts = self.rng.integers(0, self.pool.shape[1] - self.length, self.args.batch)
        x = np.stack([self.pool[i, s:s + self.length] for i, s in zip(picks, starts)])
        return torch.from_numpy(x.astype(np.float32) / 32768)

    def latents(self, x):
        """Quantised latents, and how far the encoder's were."""
        with torch.autocast("cpu", torch.bfloat16):
            z = self.model.encoder(x[:, None]).float()
        if self.step < FREE_STEPS:
            if self.step >= FREE_STEPS - 30:
                self.vectors.append(z.detach().transpose(1, 2).reshape(-1, HIDDEN))
            return z, torch.zeros(())
        if not self.quantiser.placed:
            self.quantiser.place(self.group.gather(torch.cat(self.vectors)), np.random.default_rng(1))
            self.vectors = []
        return self.quantiser(z, self.rng, self.group.reduce)

    def decoded(self, z):
        with torch.autocast("cpu", torch.bfloat16):
            return self.model.decoder(z).float()[:, 0, :self.length]

    def together(self, x, rate):
        """One step of encoder, codebooks and decoder."""
        z, commit = self.latents(x)
        y = self.decoded(z)
        wave, spec = wave_error(x, y), self.spectral(x, y)
        (2 * wave + 4 * spec + 1.5 * commit).backward()
        return dict(wave=wave, spec=spec, commit=commit, grad=self.learner.step(rate))

    @torch.no_grad()
    def follow(self):
        now = self.model.state_dict()
        share = 1 - min(AVERAGE, (self.step + 1) / (self.step + 10))
        for name, value in self.average.items():
            if value.dtype == torch.float32 and "quantizer" not in name:
                value.lerp_(now[name], share)
            else:
                value.copy_(now[name])

    def save(self):
        state = dict(model=self.model.state_dict(), average=self.average, quantiser=self.quantiser.state(),
                     optimiser=self.learner.adam.state_dict(), step=self.step, spent=self.spent)
        torch.save(state, self.path + ".part")
        os.rename(self.path + ".part", self.path)

    def check(self):
        """Measure the averaged weights and save."""
        if self.group.rank == 0:
            model = quicken(EncodecModel(config()))
            model.load_state_dict(self.average)
            evaluate(model.eval(), self.pool, self.quantiser.placed)
            self.save()

    def run(self):
        stop = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.append(1))
        begun, last = time.time() - self.spent, time.time()
        while True:
            now = torch.tensor([time.time() - begun, float(len(stop))])
            self.group.reduce(now)
            self.spent = float(now[0])
            progress = self.spent / (self.args.minutes * 60)
            if progress >= 1 or now[1] > 0:
                break
            x = self.batch()
            losses = self.together(x, self.rate(progress))
            self.step += 1
            self.follow()
            if self.group.rank == 0 and self.step % 25 == 0:
                speed = 25 * x.numel() * self.group.world / RATE / (time.time() - last)
                last = time.time()
                print(f"step {self.step} {self.spent / 60:.1f} min", " ".join(f"{k} {float(torch.as_tensor(v).detach()):.3f}" for k, v in losses.items()),
                      f"{speed:.1f}x real time", flush=True)
            if self.step % self.args.every == 0:
                self.check()
        self.check()


def worker(rank, world, args):
    torch.set_num_threads(1)
    torch.manual_seed(5)
    Trainer(rank, world, args).run()


@torch.no_grad()
def evaluate(model, pool, quantised):
    """SI-SDR and log-mel distance (dB) over the pool's last clips, which training never draws."""
    x = torch.from_numpy(pool[-20:, :4 * RATE].astype(np.float32) / 32768)
    z = model.encoder(x[:, None])
    perplexity = []
    if quantised:
        codes = encode(model, x[:, None])
        y = decode(model, codes)[:, 0]
        for k in range(BOOKS):
            p = torch.bincount(codes[:, k].reshape(-1), minlength=CODES).float()
            p = p / p.sum()
            perplexity.append(int(torch.exp(-(p * (p + 1e-9).log()).sum())))
    else:
        y = model.decoder(z)[:, 0]
    mel, window = mel_filters(2048, 80), torch.hann_window(2048)
    a, b = (mel @ torch.stft(v, 2048, 512, window=window, return_complex=True).abs() for v in (x, y))
    floor = a.amax((1, 2), keepdim=True) * 1e-3
    distance = (20 * (torch.log10(a + floor) - torch.log10(b + floor))).abs().mean()
    print(f"  held out: SI-SDR {si_sdr(x, y).mean():.2f} dB, mel {distance:.2f} dB, perplexity {perplexity}", flush=True)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--work", required=True)
    args.add_argument("--minutes", type=float, default=25)
    args.add_argument("--seconds", type=float, default=2)
    args.add_argument("--batch", type=int, default=4)
    args.add_argument("--rate", type=float, default=1e-3)
    ranks.add_arguments(args, port=29511)
    args.add_argument("--every", type=int, default=150)
    args.add_argument("--resume", action="store_true")
    ranks.run(worker, args.parse_args())


if __name__ == "__main__":
    main()
