"""The adversary of the codec's last stage: small convolutional nets on complex spectrograms.

Hinge loss and feature matching; only the decoder learns from it, so that codes stay what they were.
"""

import torch
import torch.nn.functional as F
from torch import nn

SIZES = (2048, 512)
CHANNELS = 16


class Scale(nn.Module):
    """One resolution: magnitudes to the power 0.3 with their phase, strided along frequency."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        self.convs = nn.ModuleList([
            nn.Conv2d(2, CHANNELS, (7, 3), (3, 1), (3, 1)), nn.Conv2d(CHANNELS, CHANNELS, (5, 3), (2, 1), (2, 1)),
            nn.Conv2d(CHANNELS, CHANNELS, (5, 3), (2, 1), (2, 1)), nn.Conv2d(CHANNELS, CHANNELS, (3, 3), 1, 1)])
        self.last = nn.Conv2d(CHANNELS, 1, 3, 1, 1)

    def forward(self, x):
        """[n, samples] -> the verdict's map and every layer's features."""
        z = torch.stft(x, self.size, self.size // 4, window=self.window, return_complex=True) / self.size ** 0.5
        z = z[:, :-1]
        size = (z.real ** 2 + z.imag ** 2 + 1e-5) ** -0.35
        h = torch.stack([z.real * size, z.imag * size], 1)
        features = []
        with torch.autocast("cpu", torch.bfloat16):
            for conv in self.convs:
                h = F.leaky_relu(conv(h), 0.2)
                features.append(h)
            return self.last(h).float(), features


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.scales = nn.ModuleList(Scale(n) for n in SIZES)

    def forward(self, x):
        return [scale(x) for scale in self.scales]


def own_loss(critic, real, fake):
    """What the critic minimises; both waves without history."""
    loss = 0
    for (r, _), (f, _) in zip(critic(real), critic(fake)):
        loss = loss + F.relu(1 - r).mean() + F.relu(1 + f).mean()
    return loss / len(SIZES)


def decoder_losses(critic, real, fake):
    """(fooling the critic, distance of its features relative to their size)."""
    with torch.no_grad():
        wanted = critic(real)
    fool, match = 0, 0
    for (_, want), (verdict, got) in zip(wanted, critic(fake)):
        fool = fool - verdict.mean() / len(SIZES)
        for a, b in zip(want, got):
            match = match + (a.float() - b.float()).abs().mean() / a.float().abs().mean().clamp(min=1e-3)
    return fool, match / (len(SIZES) * 4)
