"""The language model: MusicGen-melody's decoder and a small T5 encoder, with an initialisation that
already knows where to look.

Sinusoidal positions let a head find "my position minus a constant" by a rotation: some heads start
out attending to their own control column (chroma_length + text_tokens positions back), to the last
few audio columns, and to the text.  It is only an initialisation; every tensor is MusicGen's.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from transformers import T5Config, T5EncoderModel

import control
from shape import FFN, HEADS, LAYERS, TEXT_TOKENS, WIDTH

BOOKS, CODES = 4, 512
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS, TEXT_FFN, TEXT_VOCAB = 128, 2, 4, 256, 768
FRAMES = control.FRAMES
COLUMNS = FRAMES + BOOKS
PREFIX = FRAMES + TEXT_TOKENS
SHARP = 32          # sinusoid bands kept free of content at first
ALIGNED = 31        # bands by which a head finds a column a constant distance back
SLOW = 16           # sinusoid bands that hardly change over a piece
FLAG, ONE = WIDTH - 1, WIDTH - 2    # residual channels: "control column" and, in the upper norms, the constant one
FLAG_VALUE, FLAG_SCORE = -16.0, 240.0  # 60 was enough for four layers; columns grow louder through eight, and the flag less heard


def text_config():
    return T5Config(vocab_size=TEXT_VOCAB, d_model=TEXT_WIDTH, d_kv=TEXT_WIDTH // TEXT_HEADS, d_ff=TEXT_FFN,
                    num_layers=TEXT_LAYERS, num_heads=TEXT_HEADS, dropout_rate=0.0, feed_forward_proj="relu",
                    relative_attention_num_buckets=32, relative_attention_max_distance=128, is_encoder_decoder=False,
                    use_cache=False, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, tie_word_embeddings=True)


def sinusoids(count, width=WIDTH):
    half = width // 2
    w = torch.exp(torch.arange(half).double() * -(math.log(10000) / (half - 1)))
    angle = torch.arange(count).double()[:, None] * w
    return torch.cat([angle.cos(), angle.sin()], 1).float()


def delay(codes, bos=CODES):
    """[n, books, frames] -> [n, columns, books]: book k runs k columns late, behind one start column."""
    n, books, frames = codes.shape
    out = codes.new_full((n, frames + books, books), bos)
    for k in range(books):
        out[:, 1 + k:1 + k + frames, k] = codes[:, k]
    return out


def undelay(columns, frames=FRAMES):
    return torch.stack([columns[:, 1 + k:1 + k + frames, k] for k in range(columns.shape[2])], 1)


class CausalAttention(torch.autograd.Function):
    """Causal attention by blocks of rows in the given type, for queries from row `first` on.

    On the training machine the library's kernel ran at a third of this speed: it computes in small
    tiles, and here a whole block of scores fits the cache.
    """

    BLOCK = 264

    @staticmethod
    def blocks(first, total):
        size = CausalAttention.BLOCK
        return [(a, min(a + size, total)) for a in range(first, total, size)]

    @staticmethod
    def forward(ctx, q, k, v, first):
        total, scale = k.shape[2], q.shape[3] ** -0.5
        out = torch.empty_like(q)
        kept = []
        for a, b in CausalAttention.blocks(first, total):
            s = torch.matmul(q[:, :, a - first:b - first] * scale, k[:, :, :b].transpose(2, 3))
            s[:, :, :, a:] += torch.full((b - a, b - a), -1e30, dtype=s.dtype).triu_(1)
            p = s.softmax(-1)
            out[:, :, a - first:b - first] = torch.matmul(p, v[:, :, :b])
            kept.append(p)
        ctx.save_for_backward(q, k, v, out, *kept)
        ctx.first, ctx.scale = first, scale
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v, out, *kept = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        mean = (grad * out).sum(-1, keepdim=True)
        first = ctx.first
        for (a, b), p in zip(CausalAttention.blocks(first, k.shape[2]), kept):
            rows = slice(a - first, b - first)
            g = grad[:, :, rows]
            dv[:, :, :b] += torch.matmul(p.transpose(2, 3), g)
            ds = torch.matmul(g, v[:, :, :b].transpose(2, 3)).sub_(mean[:, :, rows]).mul_(p).mul_(ctx.scale)
            dq[:, :, rows] = torch.matmul(ds, k[:, :, :b])
            dk[:, :, :b] += torch.matmul(ds.transpose(2, 3), q[:, :, rows])
        return dq, dk, dv, None


def attention(q, k, v, first):
    """Causal attention for queries from row `first` on; on a GPU the library's kernel is the fast one."""
    if not q.is_cuda:
        return CausalAttention.apply(q, k, v, first)
    total = k.shape[2]
    seen = torch.ones(total - first, total, dtype=torch.bool, device=q.device).tril_(first)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.fc1 = nn.Linear(WIDTH, FFN, bias=False)
        self.fc2 = nn.Linear(FFN, WIDTH, bias=False)

    def heads(self, h, linear):
        n, t, _ = h.shape
        return linear(h).view(n, t, HEADS, WIDTH // HEADS).transpose(1, 2)

    def forward(self, x, keep=0):
        """`keep`: only positions from there on are needed afterwards."""
        h = self.norm1(x)
        x = x[:, keep:]
        a = attention(self.heads(h[:, keep:], self.q), self.heads(h, self.k), self.heads(h, self.v), keep)
        x = x + self.o(a.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))

    def step(self, x, cache, at):
        """`x` [n, t, width] at positions at..at+t; cache is [2, n, heads, positions, head width]."""
        h = self.norm1(x)
        t = x.shape[1]
        cache[0][:, :, at:at + t] = self.heads(h, self.k)
        cache[1][:, :, at:at + t] = self.heads(h, self.v)
        a = F.scaled_dot_product_attention(self.heads(h, self.q), cache[0][:, :, :at + t], cache[1][:, :, :at + t], is_causal=t > 1)
        x = x + self.o(a.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.text = T5EncoderModel(text_config())
        self.text_proj = nn.Linear(TEXT_WIDTH, WIDTH)
        self.control_proj = nn.Linear(control.DIMS, WIDTH)
        self.embed = nn.ModuleList(nn.Embedding(CODES + 1, WIDTH) for _ in range(BOOKS))
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.ModuleList(nn.Linear(WIDTH, CODES, bias=False) for _ in range(BOOKS))
        self.register_buffer("positions", sinusoids(2048), persistent=False)

    def prefix(self, track, ids, mask):
        states = self.text(input_ids=ids, attention_mask=mask.clamp(min=0) + (mask.sum(1, keepdim=True) == 0)).last_hidden_state
        return torch.cat([self.control_proj(track), self.text_proj(states) * mask[:, :, None]], 1)

    def embedded(self, columns):
        return sum(e(columns[:, :, k]) for k, e in enumerate(self.embed))

    def forward(self, track, ids, mask, columns, whole=False):
        """Logits [n, columns, books, codes] of the column after each given one.

        Above the first layer nobody looks at control columns (see seclude), so that they need not be
        computed there; `whole` computes them all the same, as any other program does.
        """
        x = torch.cat([self.prefix(track, ids, mask), self.embedded(columns)], 1)
        x = x + self.positions[:x.shape[1]]
        x = self.layers[0](x, keep=0 if whole else FRAMES)
        for layer in self.layers[1:-1]:
            x = layer(x)
        x = self.norm(self.layers[-1](x, keep=PREFIX if whole else TEXT_TOKENS))
        weight = torch.cat([h.weight for h in self.head])
        return F.linear(x, weight).view(x.shape[0], x.shape[1], BOOKS, CODES)

    @torch.no_grad()
    def generate(self, track, ids, mask, guidance=3.0, temperature=1.0, top_k=50, frames=FRAMES, rng=None):
        """Codes [n, books, frames], guided by the null condition."""
        n = track.shape[0]
        null = torch.from_numpy(control.null()).expand(n, -1, -1)
        track, ids = torch.cat([track, null]), torch.cat([ids, ids])
        mask = torch.cat([mask, torch.zeros_like(mask)])
        total = PREFIX + frames + BOOKS
        caches = [torch.zeros(2, 2 * n, HEADS, total, WIDTH // HEADS) for _ in self.layers]
        x = self.prefix(track, ids, mask)
        x = x + self.positions[:PREFIX]
        for layer, cache in zip(self.layers, caches):
            x = layer.step(x, cache, 0)
        columns = torch.full((n, frames + BOOKS, BOOKS), CODES)
        weight = torch.cat([h.weight for h in self.head])
        for p in range(1, frames + BOOKS):
            at = PREFIX + p - 1
            x = self.embedded(columns[:, p - 1:p]).repeat(2, 1, 1) + self.positions[at]
            for layer, cache in zip(self.layers, caches):
                x = layer.step(x, cache, at)
            logits = F.linear(self.norm(x[:, 0]), weight).view(2, n, BOOKS, CODES)
            logits = (logits[1] + guidance * (logits[0] - logits[1])) / temperature
            best, index = logits.topk(top_k, -1)
            noise = torch.empty_like(best).exponential_(generator=rng)
            got = index.gather(-1, (best.softmax(-1) / noise).argmax(-1, keepdim=True))[..., 0]
            for k in range(BOOKS):
                if 0 <= p - 1 - k < frames:
                    columns[:, p, k] = got[:, k]
        return undelay(columns, frames)


def secluded(model):
    """(tensor, index, value) of what must not be trained: control columns carry FLAG, nobody else does, and
    every head above the first layer scores them FLAG_SCORE x FLAG below the rest."""
    out = [(model.control_proj.weight, FLAG, 0.0), (model.control_proj.bias, FLAG, FLAG_VALUE),
           (model.text_proj.weight, FLAG, 0.0), (model.text_proj.bias, FLAG, 0.0)]
    out += [(e.weight, (slice(None), FLAG), 0.0) for e in model.embed]
    for layer in model.layers:
        out += [(layer.o.weight, FLAG, 0.0), (layer.fc2.weight, FLAG, 0.0)]
    dh = WIDTH // HEADS
    for layer in model.layers[1:]:
        out += [(layer.norm1.weight, ONE, 0.0), (layer.norm1.bias, ONE, 1.0),
                (layer.norm1.weight, FLAG, 1.0), (layer.norm1.bias, FLAG, 0.0)]
        for head in range(HEADS):
            row = head * dh + dh - 1
            out += [(layer.q.weight, row, 0.0), (layer.q.weight, (row, ONE), FLAG_SCORE),
                    (layer.k.weight, row, 0.0), (layer.k.weight, (row, FLAG), 1.0)]
    return out


@torch.no_grad()
def seclude(places):
    for tensor, index, value in places:
        tensor[index] = value


def _rotation(bands, offset):
    """Query rows that look `offset` positions back, key rows that look at themselves."""
    half = WIDTH // 2
    w = torch.exp(torch.arange(half).double() * -(math.log(10000) / (half - 1)))[bands]
    q, k = torch.zeros(2 * len(bands), WIDTH), torch.zeros(2 * len(bands), WIDTH)
    for row, (b, wb) in enumerate(zip(bands, w)):
        c, s = math.cos(float(wb) * offset), math.sin(float(wb) * offset)
        q[2 * row, b], q[2 * row, half + b] = c, s
        q[2 * row + 1, b], q[2 * row + 1, half + b] = -s, c
        k[2 * row, b] = k[2 * row + 1, half + b] = 1
    return q, k


def _fixed(bands, position):
    """Query rows that always look at one position: the slowest cosines are nearly constant ones."""
    half = WIDTH // 2
    w = torch.exp(torch.arange(half).double() * -(math.log(10000) / (half - 1)))[bands]
    q, k = torch.zeros(2 * len(bands), WIDTH), torch.zeros(2 * len(bands), WIDTH)
    for row, (b, wb) in enumerate(zip(bands, w)):
        q[2 * row, half - SLOW:half] = math.cos(float(wb) * position) / SLOW
        q[2 * row + 1, half - SLOW:half] = math.sin(float(wb) * position) / SLOW
        k[2 * row, b] = k[2 * row + 1, half + b] = 1
    return q, k


@torch.no_grad()
def initialise(model, seed=3):
    gen = torch.Generator().manual_seed(seed)
    sharp = torch.zeros(WIDTH, dtype=torch.bool)
    sharp[:SHARP] = sharp[WIDTH // 2:WIDTH // 2 + SHARP] = True

    def normal(shape, std):
        return torch.randn(shape, generator=gen) * std

    for e in model.embed:
        e.weight.copy_(normal(e.weight.shape, 0.25))
        e.weight[:, sharp] = 0
    for linear, std in ((model.control_proj, 0.3), (model.text_proj, 0.04)):
        linear.weight.copy_(normal(linear.weight.shape, std))
        linear.weight[sharp] = 0
        linear.bias.zero_()
    for h in model.head:
        h.weight.copy_(normal(h.weight.shape, 0.02))
    dh = WIDTH // HEADS
    fine, coarse = list(range(ALIGNED)), list(range(16, 16 + ALIGNED))
    aligned, text = ("aligned", PREFIX), ("text", FRAMES + 3)
    plans = [[aligned, ("near", 1), ("around", 3), text],
             [("near", 1), ("near", 2), ("around", 5)], [("near", 1)]] + [[]] * (LAYERS - 3)
    x = model.positions[:PREFIX + COLUMNS]
    level = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 0.25).sqrt()
    spread = 1 / (x.var(1) + 0.25).sqrt().mean()
    for layer, plan in zip(model.layers, plans):
        for linear, std in ((layer.q, 0.06), (layer.k, 0.06), (layer.v, 0.06), (layer.fc1, 0.06)):
            linear.weight.copy_(normal(linear.weight.shape, std))
        layer.v.weight[:, sharp] = 0
        for linear, std in ((layer.o, 0.04), (layer.fc2, 0.02)):
            linear.weight.copy_(normal(linear.weight.shape, std))
            linear.weight[sharp] = 0
        layer.norm1.bias[sharp] = -level.mean(0)[sharp]
        for i, (kind, what) in enumerate(plan):
            bands = coarse if kind == "text" else fine
            q, k = _fixed(bands, what) if kind == "text" else _rotation(bands, what)
            beta = {"aligned": 35, "around": 8, "near": 25, "text": 12}[kind]
            amp = (beta * math.sqrt(dh) / len(bands)) ** 0.5 / spread
            if kind == "text":
                q = q * (1 / (level[:, WIDTH // 2 - SLOW:WIDTH // 2].mean() / spread))
            if layer is model.layers[0] and kind in ("aligned", "text"):
                layer.o.weight[:, i * dh:(i + 1) * dh] *= 5     # as loud as the tokens, or it is learned late
            layer.q.weight[i * dh:i * dh + len(q)] = q * amp
            layer.k.weight[i * dh:i * dh + len(k)] = k * amp
    seclude(secluded(model))
    return model


@torch.no_grad()
def peaks(model, track, ids, mask, columns):
    """Per layer and head: mean attention of audio columns at their control column, at the three columns before, and on the text."""
    x = torch.cat([model.prefix(track, ids, mask), model.embedded(columns)], 1)
    x = x + model.positions[:x.shape[1]]
    rows = torch.arange(PREFIX + 4, x.shape[1])
    out = []
    for layer in model.layers:
        h = layer.norm1(x)
        q, k = layer.heads(h, layer.q), layer.heads(h, layer.k)
        s = (q @ k.transpose(-1, -2)) / math.sqrt(WIDTH // HEADS)
        s = s.masked_fill(torch.ones(s.shape[-2:]).triu(1).bool(), -1e9).softmax(-1)
        out.append([[round(v.mean().item(), 2) for v in (
            s[:, i, rows, rows - PREFIX], s[:, i, rows, rows - 1], s[:, i, rows, rows - 2], s[:, i, rows, rows - 3],
            s[:, i, rows][:, :, FRAMES:PREFIX].sum(-1))] for i in range(HEADS)])
        x = layer(x)
    return out
