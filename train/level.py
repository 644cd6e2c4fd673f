"""Stage level: keeps what stands still in a decoder layer's input from coming out as a tone.

A transposed convolution of stride s and kernel 2s answers a constant input with s values, one a phase.  Where
they differ, the output has a tone at the input's rate and its multiples: a buzz.  Training cannot see it well,
but it can be taken out exactly: for the directions of input space that hardly change within 100 ms, every phase
gets the mean of the phases' answers.  Same tensors, same codes, no training.

  level.py --model models/stemforge-mini [--out DIR]
"""

import argparse

import numpy as np
import torch

import clips
import codec
import folder
import measure
import music

LEVELLED = {6: (8, 40), 9: (4, 200)}  # decoder layer: its directions in 16 filters, and its input frames in 100 ms
SERIES, CLIPS, SECONDS = 14, 28, 4  # the clips that say which directions stand still; training draws from other series


def latents(model):
    """Quantised latents [n, hidden, frames] of clips of all stems."""
    made = [clips.make(SERIES, i, stem=music.STEMS[i % len(music.STEMS)])[1] for i in range(CLIPS)]
    x = torch.from_numpy(np.stack(made)[:, : SECONDS * codec.RATE])
    with torch.no_grad():
        return torch.cat([codec.quantised(model, model.encoder(part[:, None])) for part in x.split(4)])


@torch.no_grad()
def directions(model, z):
    """{layer: [channels, k]}: the leading eigenvectors of the 100 ms means of each levelled layer's input."""
    totals = {}

    def watch(layer, frames):
        def hook(_, inputs):
            x = inputs[0].float()
            means = x[..., : x.shape[2] // frames * frames].unflatten(2, (-1, frames)).mean(3)
            flat = means.transpose(0, 1).flatten(1).double()
            totals[layer] = totals.get(layer, 0) + flat @ flat.T
        return model.decoder.layers[layer].register_forward_pre_hook(hook)

    hooks = [watch(layer, frames) for layer, (_, frames) in LEVELLED.items()]
    for part in z.split(4):
        model.decoder(part)
    for hook in hooks:
        hook.remove()
    wider = model.config.num_filters / 16
    return {layer: torch.linalg.eigh(total)[1].flip(1)[:, : round(wider * LEVELLED[layer][0])].float() for layer, total in totals.items()}


def levelled(weight, stride, still):
    """The folded weight [in, out, 2 stride] with equal phases for the input directions `still` [in, k]."""
    phases = weight[..., :stride] + weight[..., stride:]
    apart = phases - phases.mean(2, keepdim=True)
    part = torch.einsum("ik,jk,jop->iop", still, still, apart) / 2
    return weight - torch.cat([part, part], 2)


@torch.no_grad()
def apply(model, still):
    """Levels the layers in place."""
    for layer, of in still.items():
        conv = model.decoder.layers[layer].conv
        conv.weight = levelled(conv.weight, conv.stride[0], of.to(conv.weight.device))


@torch.no_grad()
def sound(model, z):
    return torch.cat([model.decoder(part)[:, 0] for part in z.split(4)]).numpy()


def report(name, heard):
    shares, heights = zip(*(measure.comb(x) for x in heard))
    print(f"{name}: 400 Hz comb {100 * np.mean(shares):.1f} % of the energy over 1.5 kHz, lines {np.median(heights):.1f} dB over their neighbours")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--model", required=True)
    args.add_argument("--out", help="another folder; without it the model is changed where it is")
    got = args.parse_args()
    torch.set_num_threads(1)
    model = folder.codec_of(got.model)
    z = latents(model)
    report("before", sound(model, z))
    apply(model, directions(model, z))
    folder.put_codec(model, got.model, got.out or got.model)
    report("after, as written", sound(folder.codec_of(got.out or got.model), z))


if __name__ == "__main__":
    main()
