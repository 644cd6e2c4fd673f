"""Stage decoder: the decoder of a model's folder alone, on frozen codes, against an adversary.

Encoder and codebooks stand still, so every code made so far stays valid, and with them the language model.  The
upsampling layers are kept level (level.py).  The state is written every few minutes and when the process is told to
stop; the same command goes on from it.  Nothing is lost but the minutes since.

  decoder.py --work DIR --model models/stemforge-mini --minutes 240 [--filters 24] [--windows 8192,2048,512 --channels 16 --stride 2]
  decoder.py --work DIR --model models/stemforge-mini --ship OUT       the folder with this decoder in it
"""

import argparse
import os
import signal
import time

import numpy as np
import torch

import codec
import critic
import folder
import level
import measure
import widen

AVERAGE = 0.995  # of the weights, a step
RAMP = 100  # steps over which a run, and each time it goes on without its optimisers, comes up to its rate
HELD_OUT = 20  # of the pool's clips, the last ones
SPECTRUM = 4.0  # weight of the spectral loss
CRITIC_RATE = 0.7  # of the decoder's


def device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Trainer:
    def __init__(self, args):
        self.args, self.device = args, device()
        self.path = os.path.join(args.work, args.state)
        saved = torch.load(self.path, map_location="cpu", weights_only=False) if os.path.exists(self.path) else {}
        shipped = folder.codec_of(args.model)
        self.z = level.latents(shipped)
        self.model = widen.widened(shipped, saved.get("filters", args.filters))
        if saved:
            self.model.decoder.load_state_dict(saved["model"])
        else:
            level.apply(self.model, level.directions(self.model, self.z))
        self.average = saved.get("average") or {k: v.clone() for k, v in self.model.decoder.state_dict().items()}
        self.step, self.spent = saved.get("step", 0), saved.get("spent", 0.0)
        self.critic = critic.Critic([int(n) for n in args.windows.split(",")], args.channels, args.stride)
        known = saved.get("windows") == (args.windows, args.channels, args.stride)  # another critic begins anew
        if known:
            self.critic.load_state_dict(saved["critic"])
        self.model.encoder.requires_grad_(False)
        self.model.to(self.device)
        self.critic.to(self.device)
        self.average = {k: v.float().to(self.device) for k, v in self.average.items()}
        self.learner = codec.Learner(self.model.decoder.parameters(), codec.Group(0, 1, 0), betas=(0.8, 0.95))
        self.rival = codec.Learner(self.critic.parameters(), codec.Group(0, 1, 0), betas=(0.5, 0.9))
        if "optimiser" in saved:
            self.learner.adam.load_state_dict(saved["optimiser"])
        if "rival" in saved and known:
            self.rival.adam.load_state_dict(saved["rival"])
        self.own = torch.zeros(())  # the critic's last loss; a run that goes on may begin at a step without one
        self.begun = 0 if "optimiser" in saved else self.step
        self.still = self._directions()
        self.pool = np.load(os.path.join(args.work, "pool.npy"), mmap_mode="r")
        self.rng = np.random.default_rng([19, self.step])
        self.spectral = codec.SpectralLoss(long=True).to(self.device)
        self.length = int(args.seconds * codec.RATE) // 640 * 640

    def _directions(self):
        self.model.to("cpu")
        still = level.directions(self.model, self.z)
        self.model.to(self.device)
        return {layer: v.to(self.device) for layer, v in still.items()}

    def rate(self):
        progress = self.spent / (self.args.minutes * 60)
        ramp = min(1, (self.step - self.begun + 1) / RAMP)
        return self.args.rate * ramp * (1 if progress < 0.6 else max(0.03, 2.5 * (1 - progress)))

    def batch(self):
        picks = self.rng.integers(0, len(self.pool) - HELD_OUT, self.args.batch)
        starts = self.rng.integers(0, self.pool.shape[1] - self.length, self.args.batch)
        x = np.stack([self.pool[i, s : s + self.length] for i, s in zip(picks, starts)])
        return torch.from_numpy(x.astype(np.float32) / 32768).to(self.device)

    def learn(self, x, rate):
        """One step of the decoder; the critic learns at every other one."""
        with torch.no_grad():
            z = codec.quantised(self.model, self.model.encoder(x[:, None]))
        with torch.autocast(self.device.type, torch.bfloat16):
            y = self.model.decoder(z).float()[:, 0, : self.length]
        wave, spec = codec.wave_error(x, y), self.spectral(x, y)
        loss, told = self.args.wave * wave + SPECTRUM * spec, dict(wave=wave, spec=spec)
        if self.args.fool or self.args.match:
            fool, match = self.judged(x, y, rate)
            loss = loss + min(1, self.step / 300) * (self.args.fool * fool + self.args.match * match)
            told.update(fool=fool, match=match, critic=self.own)
        loss.backward()
        self.rival.adam.zero_grad(set_to_none=False)
        told["grad"] = self.learner.step(rate)
        level.apply(self.model, self.still)
        return told

    def judged(self, x, y, rate):
        """The critic's two losses for the decoder, after its own step where one is due."""
        if self.step % 2 == 0:
            own = critic.own_loss(self.critic, x, y.detach())
            own.backward()
            self.rival.step(rate * CRITIC_RATE)
            self.own = own.detach()
        return critic.decoder_losses(self.critic, x, y)

    @torch.no_grad()
    def follow(self):
        now = self.model.decoder.state_dict()
        share = 1 - min(AVERAGE, (self.step + 1) / (self.step + 10))
        for name, value in self.average.items():
            value.lerp_(now[name], share)

    def averaged(self):
        """The codec with the averaged decoder, level, on the CPU."""
        model = widen.widened(folder.codec_of(self.args.model), self.model.config.num_filters)
        model.decoder.load_state_dict({k: v.cpu() for k, v in self.average.items()})
        level.apply(model, level.directions(model, self.z))
        return model.eval()

    def save(self, slim=False):
        """The state; slim: for carrying, without optimisers and in half the bits."""
        narrow = (lambda d: {k: v.to(torch.bfloat16).cpu() for k, v in d.items()}) if slim else (lambda d: d)
        state = dict(model=narrow(self.model.decoder.state_dict()), average=narrow(self.average), filters=self.model.config.num_filters,
                     critic=narrow(self.critic.state_dict()), windows=(self.args.windows, self.args.channels, self.args.stride),
                     step=self.step, spent=self.spent)
        if not slim:
            state.update(optimiser=self.learner.adam.state_dict(), rival=self.rival.adam.state_dict())
        path = self.path.replace(".pt", ".slim.pt") if slim else self.path
        torch.save(state, path + ".part")
        os.replace(path + ".part", path)

    def report(self):
        rate(f"step {self.step}, {self.spent / 60:.1f} min", self.averaged(), self.pool)

    def run(self):
        stop = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.append(1))
        last = looked = saved = time.time()
        if self.step == 0:
            self.report()
        while self.spent < self.args.minutes * 60 and not stop:
            now = time.time()
            x = self.batch()
            losses = self.learn(x, self.rate())
            self.step += 1
            self.spent += time.time() - now
            self.follow()
            if self.step % 25 == 0:
                speed = 25 * x.numel() / codec.RATE / (time.time() - last)
                last = time.time()
                print(f"step {self.step} {self.spent / 60:.1f} min", " ".join(f"{k} {float(torch.as_tensor(v).detach()):.3f}" for k, v in losses.items()),
                      f"{speed:.2f}x real time", flush=True)
            if time.time() - saved > 60 * self.args.save:
                self.save()
                saved = time.time()
            if time.time() - looked > 60 * self.args.look:
                self.still = self._directions()
                self.report()
                looked = time.time()
        self.save()
        self.save(slim=True)
        self.report()


def rate(name, model, pool):
    """Measures of a codec on the pool's held-out clips."""
    x = pool[-HELD_OUT:, : 4 * codec.RATE].astype(np.float32) / 32768
    with torch.no_grad():
        z = torch.cat([codec.quantised(model, model.encoder(part[:, None])) for part in torch.from_numpy(x).split(4)])
    y = level.sound(model, z)
    share, height = zip(*(measure.comb(v) for v in y))
    print(f"  {name}, held out: SI-SDR {np.mean([measure.si_sdr(a, b) for a, b in zip(x, y)]):.2f} dB, "
          f"mel {np.mean([measure.mel_distance(a, b) for a, b in zip(x, y)]):.2f} dB, "
          f"comb {100 * np.mean(share):.1f} %, lines {np.median(height):.1f} dB", flush=True)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--work", required=True)
    args.add_argument("--model", required=True, help="the folder whose encoder and codebooks stand still")
    args.add_argument("--state", default="decoder.pt")
    args.add_argument("--minutes", type=float, default=240, help="of training in all; the rate falls over the last two fifths")
    args.add_argument("--filters", type=int, default=24, help="16 as shipped; 32 makes the model's file larger than 40 MB")
    args.add_argument("--windows", default="8192,4096,2048,1024,512", help="of the critic")
    args.add_argument("--channels", type=int, default=32, help="of the critic")
    args.add_argument("--stride", type=int, default=1, help="of the critic's inner layers, along frequency")
    args.add_argument("--seconds", type=float, default=2)
    args.add_argument("--batch", type=int, default=4)
    args.add_argument("--rate", type=float, default=3e-4)
    args.add_argument("--wave", type=float, default=1.5, help="weight of the error of the samples: SI-SDR against mel distance")
    args.add_argument("--fool", type=float, default=1.5, help="weight of the critic's verdict")
    args.add_argument("--match", type=float, default=4.0, help="weight of the distance of its features; both 0: no critic")
    args.add_argument("--save", type=float, default=3, help="minutes between two states on disk")
    args.add_argument("--look", type=float, default=10, help="minutes between two measurements")
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--ship", metavar="OUT", help="write the model's folder with the trained decoder there, and stop")
    got = args.parse_args()
    torch.set_num_threads(got.threads)
    torch.manual_seed(5)
    trainer = Trainer(got)
    if got.ship:
        folder.put_codec(trainer.averaged(), got.model, got.ship)
        rate("as written", folder.codec_of(got.ship), trainer.pool)
    else:
        trainer.run()


if __name__ == "__main__":
    main()
