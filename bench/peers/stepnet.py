"""One step of the MusicGen decoder with nothing in the way.

transformers' own generate() spends part of each step in Python: masks, cache classes, delay pattern, sampling
warpers. To give PyTorch and onnxruntime their best, StepNet takes the weights of a loaded model and keeps only the
arithmetic: one query projection for q, k and v together, keys and values of the text computed once, a cache whose
length is fixed (Static) or that is passed in and out (Growing, for ONNX). check() compares it with the model it
came from.
"""

import torch
import torch.nn.functional as F
from torch import nn


def fuse(*linears):
    out = nn.Linear(linears[0].in_features, sum(x.out_features for x in linears), bias=False)
    out.weight = nn.Parameter(torch.cat([x.weight for x in linears]), requires_grad=False)
    return out.to(linears[0].weight.dtype)


class Layer(nn.Module):
    def __init__(self, source):
        super().__init__()
        own, text = source.self_attn, source.encoder_attn
        self.heads, self.width = own.num_heads, own.head_dim
        self.qkv, self.out = fuse(own.q_proj, own.k_proj, own.v_proj), own.out_proj
        self.text_q, self.text_out = text.q_proj, text.out_proj
        self.norm, self.text_norm, self.ffn_norm = (
            source.self_attn_layer_norm,
            source.encoder_attn_layer_norm,
            source.final_layer_norm,
        )
        self.fc1, self.fc2 = source.fc1, source.fc2
        # A step's projections are released with the model; the text's are needed once, by Decoder.text().
        self.text_k, self.text_v = text.k_proj, text.v_proj

    def split(self, x):
        """[R, d] to [R, heads, 1, width]"""
        return x.view(x.shape[0], self.heads, 1, self.width)

    def finish(self, x, mixed, text_k, text_v, bias, attend):
        """All of the layer after its self attention, whose mixed values are given."""
        x = x + self.out(mixed.reshape(x.shape))
        q = self.split(self.text_q(self.text_norm(x)))
        x = x + self.text_out(attend(q, text_k, text_v, bias).reshape(x.shape))
        return x + self.fc2(F.gelu(self.fc1(self.ffn_norm(x))))


class StepNet(nn.Module):
    """decoder: a MusicgenForCausalLM. Layers, embeddings and heads are shared with it."""

    def __init__(self, decoder):
        super().__init__()
        inner = decoder.model.decoder
        self.embed = inner.embed_tokens
        self.layers = nn.ModuleList([Layer(x) for x in inner.layers])
        self.norm = inner.layer_norm
        self.head = fuse(*decoder.lm_heads)
        self.codebooks, self.codes = decoder.num_codebooks, decoder.config.vocab_size
        self.register_buffer("table", inner.embed_positions.weights.to(self.norm.weight.dtype), persistent=False)

    def text(self, states, mask):
        """Keys, values [R, heads, Tt, width] of each layer and the bias [R, 1, 1, Tt], from projected text states."""
        keys, values = [], []
        for layer in self.layers:
            shape = (*states.shape[:2], layer.heads, layer.width)
            keys.append(layer.text_k(states).view(shape).transpose(1, 2).contiguous())
            values.append(layer.text_v(states).view(shape).transpose(1, 2).contiguous())
        bias = torch.zeros(mask.shape, dtype=states.dtype).masked_fill(mask == 0, -1e4)[:, None, None]
        return keys, values, bias

    def begin(self, codes, position):
        x = self.table[position].expand(codes.shape[0], -1)
        for k in range(self.codebooks):
            x = x + self.embed[k](codes[:, k])
        return x

    def end(self, x):
        return self.head(self.norm(x)).view(x.shape[0], self.codebooks, self.codes)


class Static(nn.Module):
    """Cache of a fixed length, written in place. Attends to the first `position + 1` entries, by slice or by mask."""

    def __init__(self, net, rows, length, by_mask):
        super().__init__()
        self.net, self.by_mask = net, by_mask
        shape = (rows, net.layers[0].heads, length, net.layers[0].width)
        kind = net.norm.weight.dtype
        self.keys = [torch.zeros(shape, dtype=kind) for _ in net.layers]
        self.values = [torch.zeros(shape, dtype=kind) for _ in net.layers]
        self.register_buffer("steps", torch.arange(length), persistent=False)

    def forward(self, codes, position, text_k, text_v, bias):
        attend = F.scaled_dot_product_attention
        x = self.net.begin(codes, position)
        if self.by_mask:
            seen = (self.steps <= position)[None, None, None]
        for layer, key, value, tk, tv in zip(self.net.layers, self.keys, self.values, text_k, text_v):
            q, k, v = layer.qkv(layer.norm(x)).chunk(3, dim=-1)
            key.index_copy_(2, position, layer.split(k))
            value.index_copy_(2, position, layer.split(v))
            if self.by_mask:
                mixed = attend(layer.split(q), key, value, attn_mask=seen)
            else:
                end = int(position) + 1
                mixed = attend(layer.split(q), key[:, :, :end], value[:, :, :end])
            x = layer.finish(x, mixed, tk, tv, bias, attend)
        return self.net.end(x)


def plain_attention(q, k, v, bias=None):
    """Attention in operators that every exporter and runtime knows."""
    scores = torch.matmul(q * (q.shape[-1] ** -0.5), k.transpose(-1, -2))
    return torch.matmul(torch.softmax(scores if bias is None else scores + bias, dim=-1), v)


class Growing(nn.Module):
    """Cache passed in and handed back one entry longer: the form for ONNX."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, codes, position, bias, *caches):
        """caches: for each layer past keys, past values, text keys, text values."""
        x = self.net.begin(codes, position)
        present = []
        for i, layer in enumerate(self.net.layers):
            past_k, past_v, tk, tv = caches[4 * i : 4 * i + 4]
            q, k, v = layer.qkv(layer.norm(x)).chunk(3, dim=-1)
            key, value = torch.cat([past_k, layer.split(k)], dim=2), torch.cat([past_v, layer.split(v)], dim=2)
            present += [key, value]
            x = layer.finish(x, plain_attention(layer.split(q), key, value), tk, tv, bias, plain_attention)
        return (self.net.end(x), *present)


class Delay:
    """The delay pattern and guided sampling of a few sequences, as far as a measurement needs them."""

    def __init__(self, stems, codebooks, special, guidance, top_k, seed):
        self.stems, self.codebooks, self.special = stems, codebooks, special
        self.guidance, self.top_k = guidance, top_k
        self.gen = torch.Generator().manual_seed(seed)
        self.column = torch.full((stems, codebooks), special)
        self.step = 0

    def rows(self):
        """Codes to feed [2 stems, K]: conditional rows first."""
        return self.column.repeat(2, 1)

    def take(self, logits):
        cond, null = logits.float().chunk(2)
        guided = null + self.guidance * (cond - null)
        best, index = guided.topk(min(self.top_k, guided.shape[-1]), dim=-1)
        drawn = torch.multinomial(best.softmax(-1).flatten(0, 1), 1, generator=self.gen)
        codes = index.flatten(0, 1).gather(1, drawn).view(self.stems, self.codebooks)
        self.step += 1
        late = torch.arange(self.codebooks) >= self.step
        self.column = torch.where(late, self.special, codes)
        return self.column


@torch.no_grad()
def check(model, net, states, mask, steps=6):
    """Largest difference from the model's own logits on a few columns, relative to their peak."""
    codes = torch.randint(0, net.codes, (states.shape[0], net.codebooks, steps), generator=torch.Generator().manual_seed(3))
    want = model.decoder(
        input_ids=codes.flatten(0, 1), encoder_hidden_states=states, encoder_attention_mask=mask
    ).logits.view(states.shape[0], net.codebooks, steps, -1)
    static = Static(net, states.shape[0], steps, by_mask=False)
    text = net.text(states, mask)
    worst = 0.0
    for s in range(steps):
        got = static(codes[:, :, s], torch.tensor([s]), *text)
        worst = max(worst, ((got - want[:, :, s]).abs().max() / want.abs().max()).item())
    return worst
