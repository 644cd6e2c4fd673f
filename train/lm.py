"""Stage lm: the text encoder and the decoder, trained together on the clips' codes.

Matrices inside the decoder follow an orthogonalised momentum, everything else Adam.  Two processes of
one thread average their gradients.  Guidance needs a null condition: a tenth of the examples lose text
and control, a few lose one of them or the chords.

  lm.py --work DIR --minutes 60 [--resume | --warm lm-before.pt] [--out lm.pt]

LM=... in the environment makes another shape (shape.py); --warm goes from fewer layers to more, and from a shorter text to a longer one.  On a GPU say
--world 1 and a larger --batch.  The state is written every few minutes and when the process is told to stop; --resume goes on from it.
"""

import argparse
import glob
import json
import os
import signal
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from tokenizers import Tokenizer

import control
import deepen
import model as lm
import ranks

BOOK_WEIGHT = torch.tensor([1.3, 1.1, 0.9, 0.7])


class Clips:
    """Every shard of codes under DIR/codes with this seed, in memory; call refresh to see new ones."""

    def __init__(self, work, seed, rank=0, world=1):
        self.pattern = os.path.join(work, "codes", f"{seed}-*.npz")
        self.tokenizer = Tokenizer.from_file(os.path.join(work, "tokenizer.json"))
        self.tokenizer.enable_truncation(lm.TEXT_TOKENS)
        self.tokenizer.enable_padding(direction="right", pad_id=0, pad_token="<pad>", length=lm.TEXT_TOKENS)
        self.rank, self.world = rank, world
        self.seen, self.codes, self.control, self.ids = set(), [], [], []
        self.info = []
        self.refresh()

    def refresh(self):
        for path in sorted(glob.glob(self.pattern)):
            if path in self.seen or path.endswith(".part.npz") or int(path[-9:-4]) % self.world != self.rank:
                continue
            self.seen.add(path)
            with np.load(path) as shard:
                texts = json.loads(str(shard["texts"]))
                self.info += json.loads(str(shard["info"]))
                flat = self.tokenizer.encode_batch([t for pair in texts for t in pair])
                ids = np.array([e.ids for e in flat], np.int16).reshape(len(texts), -1, lm.TEXT_TOKENS)
                self.codes.extend(shard["codes"])
                self.control.extend(shard["control"])
                self.ids.extend(ids)

    def batch(self, rng, n, picks=None, drop=True):
        if picks is None:
            picks = rng.integers(0, len(self.codes), n)
        codes = torch.from_numpy(np.stack([self.codes[i] for i in picks]).astype(np.int64))
        track = np.stack([self.control[i] for i in picks]).astype(np.float32)
        ids = np.stack([self.ids[i][rng.integers(len(self.ids[i]))] for i in picks]).astype(np.int64)
        mask = (ids != 0).astype(np.int64)
        if drop:
            for i in range(len(picks)):
                u = rng.random()
                if u < 0.12:
                    mask[i] = 0
                if u < 0.10:
                    track[i] = control.null()
                elif u > 0.96:
                    track[i][:, 6:] = 0
                elif u > 0.94:
                    track[i] = control.null()
        return torch.from_numpy(track), torch.from_numpy(ids), torch.from_numpy(mask), lm.delay(codes)


def narrower(device):
    """Is a product in bf16 the faster one here?  It is on GPUs and was on Zen 5; a Xeon without AMX takes 1.6 times as long as in f32."""
    def seconds(dtype):
        a, b = (torch.ones(shape, dtype=dtype) for shape in ((2048, 384), (384, 1408)))
        times = []
        for _ in range(5):
            start = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - start)
        return min(times)
    return device.type == "cuda" or seconds(torch.bfloat16) < seconds(torch.float32)


def agreed(yes, world):
    """What rank 0 says."""
    said = torch.tensor([float(yes)])
    if world > 1:
        dist.broadcast(said, 0)
    return bool(said[0])


class Muon:
    """Momentum whose every update is made (nearly) orthogonal by Newton-Schulz steps, each rank doing its share."""

    def __init__(self, params, rank=0, world=1, momentum=0.95, dtype=torch.bfloat16):
        self.params, self.momentum, self.dtype = params, momentum, dtype
        self.rank, self.world = rank, world
        self.moving = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self, rate):
        shapes = {}
        for i, p in enumerate(self.params):
            self.moving[i].mul_(self.momentum).add_(p.grad)
            if i % self.world == self.rank:
                shapes.setdefault(tuple(p.shape), []).append(i)
        updates = [torch.zeros_like(p) for p in self.params]
        for shape, which in shapes.items():
            g = torch.stack([self.params[i].grad + self.momentum * self.moving[i] for i in which])
            tall = shape[0] > shape[1]
            x = g.transpose(1, 2) if tall else g
            x = (x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)).to(self.dtype)
            for _ in range(4):
                a = x @ x.transpose(1, 2)
                x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
            x = (x.transpose(1, 2) if tall else x).float()
            for i, update in zip(which, x):
                updates[i] = update
        flat = torch.cat([u.reshape(-1) for u in updates])
        if self.world > 1:
            dist.all_reduce(flat)
        at = 0
        for p in self.params:
            p.sub_(flat[at:at + p.numel()].view_as(p), alpha=0.2 * max(p.shape) ** 0.5 * rate)
            at += p.numel()


def forget(columns, rng, share=0.6):
    """History with gaps: in most examples spans of columns become unknown, so that they must be told from
    text and control.  Without it a clip's past says nearly everything and the condition is learned late."""
    out = columns.clone()
    n, width, _ = columns.shape
    for i in range(n):
        if rng.random() < share:
            rate, span = rng.uniform(0.2, 1.0), int(rng.integers(4, 60))
            gone = np.repeat(rng.random(width // span + 1) < rate, span)[:width]
            out[i, torch.from_numpy(gone)] = lm.CODES
    return out


def loss_of(model, batch, books=False, first=None, seen=None):
    track, ids, mask, columns = batch
    logits = model(track, ids, mask, (columns if seen is None else seen)[:, :-1]).float()
    target = columns[:, 1:]
    real = target < lm.CODES
    if first:
        real[:, first:] = False
    ce = F.cross_entropy(logits.reshape(-1, lm.CODES), target.clamp(max=lm.CODES - 1).reshape(-1), reduction="none")
    ce = (ce.view(target.shape) * real).sum((0, 1)) / real.sum((0, 1))
    return ce if books else (ce * BOOK_WEIGHT.to(ce.device)).mean()


def worker(rank, world, args):
    torch.set_num_threads(1)
    torch.manual_seed(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{args.port}", rank=rank, world_size=world)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clips = Clips(args.work, args.seed, rank, world)
    held = Clips(args.work, args.held_seed) if rank == 0 else None
    model = lm.initialise(lm.Model())
    model.text.encoder.embed_tokens.weight = model.text.shared.weight
    model.to(device)
    matrices = [p for layer in model.layers for p in (layer.q.weight, layer.k.weight, layer.v.weight, layer.o.weight,
                                                       layer.fc1.weight, layer.fc2.weight)]
    inner = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inner]
    params = matrices + others
    narrow = agreed(narrower(device), world)
    muon = Muon(matrices, rank, world, dtype=torch.bfloat16 if narrow else torch.float32)
    outer = {id(p) for module in (model.embed, model.head) for p in module.parameters()}
    text = {id(p) for p in model.text.parameters()}
    adam = torch.optim.Adam([dict(params=[p for p in others if id(p) in outer], share=2.0),
                             dict(params=[p for p in others if id(p) in text], share=0.4),
                             dict(params=[p for p in others if id(p) not in outer | text], share=1.0)],
                            lr=args.rate, betas=(0.9, 0.97), foreach=True)
    places = lm.secluded(model)
    step, spent = 0, 0.0
    path = os.path.join(args.work, args.out)
    if args.resume and os.path.exists(path):
        saved = torch.load(path, map_location="cpu", weights_only=False)
        if saved.get("text_tokens", lm.TEXT_TOKENS) != lm.TEXT_TOKENS:
            raise SystemExit(f"{path}: expected a model that reads {lm.TEXT_TOKENS} tokens, found one of {saved['text_tokens']}: go on from it with --warm and another --out")
        model.load_state_dict(saved["model"])
        if "adam" in saved:     # a carried state has the weights alone
            muon.moving = [m.to(device) for m in saved["muon"]]
            adam.load_state_dict(saved["adam"])
        step, spent = saved["step"], saved["spent"]
    elif args.warm:
        deepen.begin(model, args.warm if os.path.isdir(args.warm) else os.path.join(args.work, args.warm))
    stop = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(1))
    rng = np.random.default_rng([17, rank, step])
    begun, last, last_step = time.time() - spent, time.time(), step
    smooth, saved_at = None, time.time()
    while True:
        now = torch.tensor([time.time() - begun, float(len(stop))])
        if world > 1:
            dist.all_reduce(now)
            now /= world
        spent = min(float(now[0]), args.minutes * 60)
        progress = spent / (args.minutes * 60)
        if progress >= 1 or now[1] > 0:
            break
        shape = min(1, (step + 1) / 30) * (1 if progress < args.hold else max(0.02, (1 - progress) / (1 - args.hold)))
        for group in adam.param_groups:
            group["lr"] = args.rate * shape * group["share"]
        if step % 40 == 39:
            clips.refresh()
        batch = clips.batch(rng, args.batch)
        seen = forget(batch[3], rng, args.forget).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
            loss = loss_of(model, [part.to(device) for part in batch], seen=seen)
        loss.backward()
        flat = torch.cat([p.grad.view(-1) for p in params] + [loss.detach().view(1)])
        if world > 1:
            dist.all_reduce(flat)
            flat /= world
        norm = flat[:-1].norm()
        if not torch.isfinite(norm):  # the same on all ranks
            raise SystemExit(f"step {step}: the gradient is not finite; {path} is as it was last saved: go on from it at a lower --rate")
        clip = min(1.0, 1.0 / (float(norm) + 1e-6))
        at = 0
        for p in params:
            p.grad.copy_(flat[at:at + p.numel()].view_as(p)).mul_(clip)
            at += p.numel()
        adam.step()
        muon.step(args.rate * shape * args.muon)
        lm.seclude(places)
        for p in params:
            p.grad.zero_()
        step += 1
        smooth = float(flat[-1]) if smooth is None else 0.97 * smooth + 0.03 * float(flat[-1])
        if rank == 0 and step % 25 == 0:
            speed = (step - last_step) * args.batch * world * lm.FRAMES / (time.time() - last)
            last, last_step = time.time(), step
            print(f"step {step} {spent / 60:.1f} min loss {smooth:.3f} grad {norm:.2f} {speed:.0f} positions/s, {len(clips.codes) * world} clips", flush=True)
        if rank == 0 and step % args.every == 0:
            if held.codes:
                report(model, held, narrow)
        if rank == 0 and time.time() - saved_at > 60 * args.save:
            save(path, model, muon, adam, step, spent)
            saved_at = time.time()
    if rank == 0:
        save(path, model, muon, adam, step, spent)
        if held.codes:
            report(model, held, narrow)


def save(path, model, muon, adam, step, spent):
    torch.save(dict(model=model.state_dict(), text_tokens=lm.TEXT_TOKENS, muon=muon.moving, adam=adam.state_dict(), step=step, spent=spent), path + ".part")
    os.replace(path + ".part", path)
    slim = os.path.splitext(path)[0] + ".slim.pt"      # for carrying: the weights alone, in half the bits
    torch.save(dict(model={k: v.to(torch.bfloat16).cpu() for k, v in model.state_dict().items()}, text_tokens=lm.TEXT_TOKENS,
                    step=step, spent=spent), slim + ".part")
    os.replace(slim + ".part", slim)


@torch.no_grad()
def report(model, held, narrow):
    """Cross-entropy of held-out clips per codebook, with the condition and without."""
    rng = np.random.default_rng(1)
    n = min(24, len(held.codes))
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
        batch = [part.to(device) for part in held.batch(rng, n, picks=range(n), drop=False)]
        ce = loss_of(model, batch, books=True)
        track, ids, mask, columns = batch
        null = torch.from_numpy(control.null()).to(device).expand_as(track)
        bare = loss_of(model, (null, ids, torch.zeros_like(mask), columns), books=True)
        other = loss_of(model, (track.roll(1, 0), ids, mask, columns), books=True)
        blind = [loss_of(model, (t, ids, mask, columns), books=True, seen=torch.full_like(columns, lm.CODES))[0]
                 for t in (track, track.roll(1, 0))]
        print(f"  without history {blind[0]:.3f}, and with other control {blind[1]:.3f};", end="")
        start = [loss_of(model, (track, i, mask, columns), books=True, first=20)[0] for i in (ids, ids.roll(1, 0))]
    print(f"  other control {other[0]:.3f}; first 20 frames {start[0]:.3f}, other text {start[1]:.3f}")
    print("  held out:", " ".join(f"{v:.3f}" for v in ce), "| null:", " ".join(f"{v:.3f}" for v in bare), flush=True)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--work", required=True)
    args.add_argument("--minutes", type=float, default=60)
    args.add_argument("--batch", type=int, default=4)
    args.add_argument("--rate", type=float, default=3e-3)
    args.add_argument("--muon", type=float, default=1.0)
    args.add_argument("--hold", type=float, default=0.3)
    args.add_argument("--forget", type=float, default=0.6)
    args.add_argument("--every", type=int, default=200, help="steps between two measurements")
    args.add_argument("--save", type=float, default=3, help="minutes between two states on disk")
    args.add_argument("--seed", type=int, default=13)
    args.add_argument("--held-seed", type=int, default=99)
    ranks.add_arguments(args, port=29521)
    args.add_argument("--out", default="lm.pt")
    args.add_argument("--resume", action="store_true")
    args.add_argument("--warm", help="begin with the weights of this earlier model, a state or a folder, whatever codec it was for, of as many layers or fewer")
    ranks.run(worker, args.parse_args())


if __name__ == "__main__":
    main()
