"""A codec with more filters that sounds the same: new channels are silent, but they are read, so that they can learn.

The encoder's new channels are silent for good: codes, and the language model that was trained on them, stay valid.
"""

import torch
from torch import nn
from transformers import EncodecModel

import codec

READ = 0.3  # of the spread of the old weights: how loud new channels are read


def _place(wide, narrow, reads, gen):
    """The narrow tensor in a corner of a new one of the wide shape; the rest random or zero."""
    out = torch.zeros(wide)
    if reads:
        out = READ * narrow.std() * torch.randn(wide, generator=gen)
    out[tuple(slice(n) for n in narrow.shape)] = narrow
    return out


def _conv(new, old, learns, gen):
    """Weights are g v / |v|, per output channel, or per input channel of a transposed convolution."""
    weight, before = new.parametrizations.weight, old.parametrizations.weight
    up = isinstance(new, nn.ConvTranspose1d)
    ins, outs = (old.weight.shape[i] for i in ((0, 1) if up else (1, 0)))
    v = _place(weight.original1.shape, before.original1, learns, gen)
    if up:
        v[:ins, outs:] = 0  # what the old channels say to the new ones
    v[(v == 0).flatten(1).all(1)] = 1  # a direction for channels whose g is 0
    size = v.flatten(1).norm(dim=1)[:, None, None]
    corner = before.original1.flatten(1).norm(dim=1)[:, None, None]
    g = torch.zeros_like(weight.original0) if not (up and learns) else size.clone()
    n = len(before.original0)
    g[:n] = before.original0 * (size[:n] / corner)
    weight.original0.copy_(g)
    weight.original1.copy_(v)
    new.bias.zero_()
    new.bias[:outs] = old.bias


def _lstm(new, old, learns, gen):
    """Four gates of rows each; a new cell stays at 0 as long as its candidate is 0."""
    for name, value in new.named_parameters():
        narrow = getattr(old, name).unflatten(0, (4, -1))
        wide = torch.Size((4, len(value) // 4, *value.shape[1:]))
        out = _place(wide, narrow, learns and value.ndim > 1, gen)
        out[2, narrow.shape[1] :] = 0
        value.copy_(out.flatten(0, 1))


@torch.no_grad()
def widened(model, filters):
    """The same codec with that many filters; the model itself if it has them."""
    if filters == model.config.num_filters:
        return model
    gen = torch.Generator().manual_seed(8)
    out = codec.quicken(EncodecModel(codec.config(filters)))
    out.quantizer.load_state_dict(model.quantizer.state_dict())
    for part, learns in (("encoder", False), ("decoder", True)):
        old = dict(getattr(model, part).named_modules())
        for name, new in getattr(out, part).named_modules():
            if isinstance(new, (nn.Conv1d, nn.ConvTranspose1d)):
                _conv(new, old[name], learns, gen)
            elif isinstance(new, nn.LSTM):
                _lstm(new, old[name], learns, gen)
    return out.eval()
