"""The decoder's adversary: convolutional nets on complex spectrograms of several resolutions.

Hinge loss and feature matching, in EnCodec's layout.  Lines that lie a few bins apart must stay apart for it, so
by default no layer strides along frequency.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Scale(nn.Module):
    """One resolution: magnitudes to the power 0.3 with their phase, dilated along time."""

    def __init__(self, size, channels, stride):
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        inner = [nn.Conv2d(channels, channels, (9, 3), (stride, 1), (4, d), (1, d)) for d in (1, 2, 4)]
        self.convs = nn.ModuleList([nn.Conv2d(2, channels, (9, 3), 1, (4, 1)), *inner, nn.Conv2d(channels, channels, 3, 1, 1)])
        self.last = nn.Conv2d(channels, 1, 3, 1, 1)

    def forward(self, x):
        """[n, samples] -> the verdict's map and every layer's features."""
        z = torch.stft(x, self.size, self.size // 4, window=self.window, return_complex=True) / self.size ** 0.5
        z = z[:, :-1]
        size = (z.real ** 2 + z.imag ** 2 + 1e-5) ** -0.35
        h = torch.stack([z.real * size, z.imag * size], 1)
        features = []
        with torch.autocast(x.device.type, torch.bfloat16):
            for conv in self.convs:
                h = F.leaky_relu(conv(h), 0.2)
                features.append(h)
            return self.last(h).float(), features


class Critic(nn.Module):
    def __init__(self, sizes, channels, stride=1):
        super().__init__()
        self.scales = nn.ModuleList(Scale(n, channels, stride) for n in sizes)

    def forward(self, x):
        return [scale(x) for scale in self.scales]


def own_loss(critic, real, fake):
    """What the critic minimises; both waves without history."""
    loss = 0
    for (r, _), (f, _) in zip(critic(real), critic(fake)):
        loss = loss + F.relu(1 - r).mean() + F.relu(1 + f).mean()
    return loss / len(critic.scales)


def decoder_losses(critic, real, fake):
    """(fooling the critic, distance of its features relative to their size)."""
    with torch.no_grad():
        wanted = critic(real)
    fool, match = 0, 0
    for (_, want), (verdict, got) in zip(wanted, critic(fake)):
        fool = fool - verdict.mean() / len(wanted)
        for a, b in zip(want, got):
            match = match + (a.float() - b.float()).abs().mean() / a.float().abs().mean().clamp(min=1e-3) / len(want)
    return fool, match / len(wanted)
