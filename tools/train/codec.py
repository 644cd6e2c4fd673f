"""Stage codec: EnCodec's 32 kHz geometry, a quarter as wide, trained on the pool.

Two processes of one thread each average their gradients.  The first steps run without the quantiser;
then the codebooks are placed by k-means over the residuals and follow by moving averages.

  codec.py --work DIR --minutes 25 [--resume]
"""

import argparse
import os
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from transformers import EncodecConfig, EncodecModel

RATE = 32000
BOOKS, CODES, HIDDEN = 4, 512, 128
FREE_STEPS = 250
EMA, DEAD = 0.97, 0.15


def config():
    return EncodecConfig(target_bandwidths=[2.2], sampling_rate=RATE, audio_channels=1, normalize=False,
                         hidden_size=HIDDEN, num_filters=16, num_residual_layers=1, upsampling_ratios=[8, 5, 4, 4],
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
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=False)["model"])
    return model.eval()


def books(model):
    return torch.stack([layer.codebook.embed for layer in model.quantizer.layers])


def assign(r, book):
    return (r @ book.t() - 0.5 * (book * book).sum(1)).argmax(1)


@torch.no_grad()
def encode(model, x):
    """[n, 1, samples] -> codes [n, books, frames]."""
    z = model.encoder(x)
    n, d, t = z.shape
    r = z.transpose(1, 2).reshape(-1, d)
    out = []
    for book in books(model):
        code = assign(r, book)
        r = r - book[code]
        out.append(code.view(n, t))
    return torch.stack(out, 1)


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


class SpectralLoss:
    """Log-mel and magnitude distances at several resolutions; convergence is taken over the batch."""

    def __init__(self):
        self.sizes = [(2048, 80), (1024, 64), (512, 40), (256, 20), (128, 10)]
        self.windows = [torch.hann_window(n) for n, _ in self.sizes]
        self.mels = [mel_filters(n, m) for n, m in self.sizes]

    def __call__(self, x, y):
        loss = 0
        for (n, _), window, mel in zip(self.sizes, self.windows, self.mels):
            a, b = (torch.stft(v, n, n // 4, window=window, return_complex=True).abs() / n ** 0.5 for v in (x, y))
            ma, mb = mel @ a, mel @ b
            loss = loss + (torch.log10(ma + 1e-3) - torch.log10(mb + 1e-3)).abs().mean()
            loss = loss + 0.5 * (a - b).norm() / a.norm().clamp(min=1e-3)
        return loss / len(self.sizes)


def si_sdr(x, y):
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    target = (x * y).sum(-1, keepdim=True) / (x * x).sum(-1, keepdim=True).clamp(min=1e-8) * x
    return 10 * torch.log10(target.pow(2).sum(-1) / (y - target).pow(2).sum(-1).clamp(min=1e-8))


def worker(rank, world, args):
    torch.set_num_threads(1)
    torch.manual_seed(5)
    rng = np.random.default_rng([7, rank, int(time.time()) if args.resume else 0])
    if world > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{args.port}", rank=rank, world_size=world)

    def reduce(tensor, average=True, share=False):
        if world > 1:
            if share:
                dist.broadcast(tensor, 0)
                return
            dist.all_reduce(tensor)
            if average:
                tensor /= world

    model = fresh()
    quantiser = Quantiser(model)
    params = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=args.rate, betas=(0.8, 0.95), weight_decay=0.0, foreach=True)
    step, spent = 0, 0.0
    path = os.path.join(args.work, "codec.pt")
    if args.resume and os.path.exists(path):
        saved = torch.load(path, map_location="cpu", weights_only=False)
        model.load_state_dict(saved["model"])
        quantiser.restore(saved["quantiser"])
        optimiser.load_state_dict(saved["optimiser"])
        step, spent = saved["step"], saved["spent"]
    pool = np.load(os.path.join(args.work, "pool.npy"), mmap_mode="r")
    spectral = SpectralLoss()
    length = int(args.seconds * RATE) // 640 * 640
    total = args.minutes * 60
    begun, last = time.time() - spent, time.time()
    vectors = []
    while True:
        spent_now = torch.tensor([time.time() - begun])
        reduce(spent_now)
        progress = float(spent_now) / total
        if progress >= 1:
            break
        for group in optimiser.param_groups:
            since = step - FREE_STEPS
            warm = min(1, (step + 1) / 50) if since < 0 else min(1, 0.1 + since / 150)
            group["lr"] = args.rate * warm * (1 if progress < 0.5 else max(0.03, 2 * (1 - progress)))
        picks = rng.integers(0, len(pool) - 20, args.batch)
        starts = rng.integers(0, pool.shape[1] - length, args.batch)
        x = torch.from_numpy(np.stack([pool[i, s:s + length] for i, s in zip(picks, starts)]).astype(np.float32) / 32768)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            z = model.encoder(x[:, None])
        z = z.float()
        commit = torch.zeros(())
        if step < FREE_STEPS:
            if step >= FREE_STEPS - 30:
                vectors.append(z.detach().transpose(1, 2).reshape(-1, HIDDEN))
        else:
            if not quantiser.placed:
                all_vectors = torch.cat(vectors)
                if world > 1:
                    parts = [torch.empty_like(all_vectors) for _ in range(world)]
                    dist.all_gather(parts, all_vectors)
                    all_vectors = torch.cat(parts)
                quantiser.place(all_vectors, np.random.default_rng(1))
                vectors = []
            z, commit = quantiser(z, rng, reduce)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            y = model.decoder(z)
        y = y.float()[:, 0, :length]
        wave = (x - y).pow(2).sum() / x.pow(2).sum().clamp(min=1e-3)
        spec = spectral(x, y)
        loss = 3 * wave + 3 * spec + 1.5 * commit
        loss.backward()
        flat = torch.cat([p.grad.view(-1) for p in params])
        reduce(flat)
        norm = flat.norm()
        flat *= min(1.0, 1.0 / (float(norm) + 1e-6))
        at = 0
        for p in params:
            p.grad.copy_(flat[at:at + p.numel()].view_as(p))
            at += p.numel()
        optimiser.step()
        for p in params:
            p.grad.zero_()
        step += 1
        if rank == 0 and (step % 50 == 0 or step < 5):
            speed = 50 * args.batch * world * length / RATE / (time.time() - last)
            last = time.time()
            print(f"step {step} {float(spent_now) / 60:.1f} min wave {wave.item():.3f} spec {spec.item():.3f} commit {commit.item():.3f} "
                  f"grad {norm.item():.2f} {speed:.1f}x real time", flush=True)
        if rank == 0 and step % 150 == 0:
            evaluate(model, pool, quantiser.placed)
            save(path, model, quantiser, optimiser, step, float(spent_now))
    if rank == 0:
        evaluate(model, pool, True)
        save(path, model, quantiser, optimiser, step, total)


def save(path, model, quantiser, optimiser, step, spent):
    torch.save(dict(model=model.state_dict(), quantiser=quantiser.state(), optimiser=optimiser.state_dict(),
                    step=step, spent=spent), path + ".part")
    os.rename(path + ".part", path)


@torch.no_grad()
def evaluate(model, pool, quantised):
    """SI-SDR and log-mel distance (dB) over the pool's last clips, which training never draws."""
    model.eval()
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
    model.train()


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--work", required=True)
    args.add_argument("--minutes", type=float, default=25)
    args.add_argument("--seconds", type=float, default=2)
    args.add_argument("--batch", type=int, default=4)
    args.add_argument("--rate", type=float, default=1e-3)
    args.add_argument("--world", type=int, default=2)
    args.add_argument("--port", type=int, default=29511)
    args.add_argument("--bf16", action="store_true")
    args.add_argument("--resume", action="store_true")
    got = args.parse_args()
    if got.world == 1:
        worker(0, 1, got)
    else:
        torch.multiprocessing.spawn(worker, (got.world, got), nprocs=got.world)


if __name__ == "__main__":
    main()
