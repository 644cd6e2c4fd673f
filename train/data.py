"""Stage data: a pool of rendered samples for the codec, the tokenizer, and later the clips as codes.

  data.py pool      --work DIR --hours 4      samples, int16, for codec training
  data.py tokenizer --work DIR                unigram vocabulary from 60,000 captions
  data.py codes     --work DIR --hours 20     clips through the codec, for the language model: WORK/codec.pt, or --model DIR's

Every stage goes on where it was stopped.  --music wide draws clips from parts.py instead of music.py.
"""

import argparse
import functools
import json
import multiprocessing
import os
import time

import numpy as np

import captions
import clips
import control
import music
import parts
from shape import TEXT_TOKENS

VOCAB = 768
POOL_SEED, TEXT_SEED, CODE_SEED, HELD_OUT_SEED = 11, 12, 13, 99
SHARD = 240
WORKERS = min(16, os.cpu_count() or 1)
KINDS = {"plain": music.Song, "wide": parts.Piece}


def _pool_clip(index, kind):
    return (clips.make(POOL_SEED, index, kind)[1] * 32767).astype(np.int16)


def pool(work, hours, kind):
    count = int(hours * 3600 / clips.SECONDS)
    path = os.path.join(work, "pool.npy")
    shape, begun, mark = (count, clips.SECONDS * clips.RATE), 0, path + ".at"
    if os.path.exists(path) and np.load(path, mmap_mode="r").shape == shape:
        return
    if os.path.exists(mark) and np.load(path + ".part", mmap_mode="r").shape == shape:
        with open(mark) as f:
            begun = int(f.read())
    out = np.lib.format.open_memmap(path + ".part", "r+" if begun else "w+", np.int16, shape)
    with multiprocessing.Pool(WORKERS) as workers:
        for i, x in enumerate(workers.imap(functools.partial(_pool_clip, kind=kind), range(begun, count), chunksize=8), begun):
            out[i] = x
            if i % 100 == 99 or i == count - 1:
                out.flush()
                with open(mark + ".part", "w") as f:
                    f.write(str(i + 1))
                os.replace(mark + ".part", mark)
                print(f"{i + 1} of {count} clips", flush=True)
    os.rename(path + ".part", path)
    os.remove(mark)


def tokenizer(work):
    from tokenizers import Tokenizer, models, pre_tokenizers, decoders, processors, trainers
    tok = Tokenizer(models.Unigram())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")])
    tok.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    rng = np.random.default_rng(TEXT_SEED)

    def lines():
        for _ in range(60000):
            song = music.Song(rng)
            presets = music.PRESETS.get(song.stem, {}).get(song.style) or music.PRESETS.get(song.stem, {"": [(0, 0, "")]})[""]
            song.preset = presets[rng.integers(len(presets))]
            yield captions.caption(rng, song)
        for c in map(chr, range(33, 127)):
            for _ in range(20):
                yield c

    trainer = trainers.UnigramTrainer(vocab_size=VOCAB, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>",
                                      initial_alphabet=[chr(c) for c in range(33, 127)] + ["▁"], show_progress=False)
    tok.train_from_iterator(lines(), trainer)
    tok.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    tok.enable_truncation(TEXT_TOKENS)
    tok.enable_padding(direction="right", pad_id=0, pad_token="<pad>", length=TEXT_TOKENS)
    tok.save(os.path.join(work, "tokenizer.json"))
    for line in ("drums, rock, 120 bpm, punchy", "piano, jazz, 96.5 bpm, Eb major, sparse", "Ünknown wörds ♥"):
        print(line, "->", tok.encode(line).tokens)


def _encode_shards(job):
    import torch
    import codec
    import folder
    work, seed, shards, model, kind = job
    torch.set_num_threads(1)
    model = folder.codec_of(model) if model else codec.load(os.path.join(work, "codec.pt"))
    for shard in shards:
        path = os.path.join(work, "codes", f"{seed}-{shard:05d}.npz")
        if os.path.exists(path):
            continue
        codes, controls, texts, info = [], [], [], []
        for base in range(0, SHARD, 8):
            made = [clips.make(seed, shard * SHARD + base + i, kind) for i in range(8)]
            x = torch.from_numpy(np.stack([m[1] for m in made]))[:, None]
            codes.append(codec.encode(model, x, narrow=True).numpy().astype(np.int16))
            for song, _, rng in made:
                controls.append(song.control())
                texts.append([captions.caption(rng, song) for _ in range(2)])
                info.append(dict(stem=song.stem, style=song.style, bpm=song.bpm, start=song.start,
                                 chords=[control.spell(c) for c in song.chords]))
        np.savez(path + ".part.npz", codes=np.concatenate(codes), control=np.stack(controls).astype(np.float16),
                 texts=json.dumps(texts), info=json.dumps(info))
        os.rename(path + ".part.npz", path)


def codes(work, hours, seed, first=0, model=None, kind=music.Song):
    os.makedirs(os.path.join(work, "codes"), exist_ok=True)
    shards = max(1, round(hours * 3600 / clips.SECONDS / SHARD))
    jobs = [(work, seed, range(first + i, first + shards, WORKERS), model, kind) for i in range(WORKERS)]
    started = time.time()
    with multiprocessing.get_context("spawn").Pool(WORKERS) as workers:
        workers.map(_encode_shards, jobs)
    print(f"{shards} shards in {time.time() - started:.0f} s")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("stage", choices=["pool", "tokenizer", "codes"])
    args.add_argument("--work", required=True)
    args.add_argument("--hours", type=float, default=4)
    args.add_argument("--seed", type=int, default=CODE_SEED)
    args.add_argument("--first", type=int, default=0)
    args.add_argument("--model", help="codes: the folder whose codec encodes, instead of WORK/codec.pt")
    args.add_argument("--music", choices=list(KINDS), default="plain")
    got = args.parse_args()
    os.makedirs(got.work, exist_ok=True)
    if got.stage == "pool":
        pool(got.work, got.hours, KINDS[got.music])
    elif got.stage == "tokenizer":
        tokenizer(got.work)
    else:
        codes(got.work, got.hours, got.seed, got.first, got.model, KINDS[got.music])


if __name__ == "__main__":
    main()
