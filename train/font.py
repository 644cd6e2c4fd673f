"""A sound font with the samples of our presets only, for a machine to which little can be carried.

Every preset stays in its tables; samples that none of ours plays lose their data.  Works on .sf3, whose samples are
compressed one by one, so that it keeps their order and moves their places.

  font.py IN.sf3 OUT.sf3
"""

import struct
import sys

import music

INSTRUMENT, SAMPLE = 41, 53  # generators that point onwards
HEADER = 46  # bytes of a sample's header; its start and end follow the name of 20


def chunks(data, at, end):
    """(name, place, size) of the RIFF chunks between two places.  The fonts' makers do not pad chunks of odd size."""
    while at + 8 <= end:
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        yield name, at + 8, size
        at += 8 + size


def lists(data):
    """{name: (place, size)} of every chunk inside the three lists."""
    out = {}
    for name, at, size in chunks(data, 12, len(data)):
        out[data[at : at + 4]] = (at - 8, size + 8)
        out.update({n: (a, s) for n, a, s in chunks(data, at + 4, at + size)})
    return out


def ours():
    """{(bank, program)} that the phrase generator plays."""
    found = {(p[0], p[1]) for styles in music.PRESETS.values() for presets in styles.values() for p in presets if p[0] != music.VOICE}
    return found | {(128, style["kit"]) for style in music.STYLES.values()}


def samples(data, where, wanted):
    """Numbers of the samples that the wanted presets play."""
    def rows(name, form):
        at, size = where[name]
        return list(struct.iter_unpack(form, data[at : at + size]))

    def pointed(bags, generators, first, last, kind):
        spans = range(bags[first][0], bags[last][0])
        return {generators[i][1] for i in spans if generators[i][0] == kind}

    heads = rows(b"phdr", "<20sHHHIII")
    pbag, pgen, inst, ibag, igen = rows(b"pbag", "<HH"), rows(b"pgen", "<HH"), rows(b"inst", "<20sH"), rows(b"ibag", "<HH"), rows(b"igen", "<HH")
    played, missing = set(), set(wanted)
    for head, after in zip(heads, heads[1:]):
        if (head[2], head[1]) not in wanted:
            continue
        missing.discard((head[2], head[1]))
        for i in pointed(pbag, pgen, head[3], after[3], INSTRUMENT):
            played |= pointed(ibag, igen, inst[i][1], inst[i + 1][1], SAMPLE)
    if missing:
        raise SystemExit(f"font.py: the font has no presets {sorted(missing)}; take another font")
    return played


def trimmed(data):
    where = lists(data)
    keep = samples(data, where, ours())
    smpl, _ = where[b"smpl"]
    shdr, size = where[b"shdr"]
    heads, sound = bytearray(data[shdr : shdr + size]), bytearray()
    for i in range(size // HEADER - 1):
        start, end = struct.unpack_from("<II", heads, i * HEADER + 20)
        if i in keep:
            fresh = len(sound)
            sound += data[smpl + start : smpl + end]
            struct.pack_into("<II", heads, i * HEADER + 20, fresh, len(sound))
        else:
            struct.pack_into("<II", heads, i * HEADER + 20, 0, 0)
    sound += bytes(len(sound) % 2)
    tables, end = where[b"pdta"]
    pdta = bytearray(data[tables : tables + end])
    pdta[shdr - tables : shdr - tables + size] = heads
    at, end = where[b"INFO"]
    inner = b"sdta" + b"smpl" + struct.pack("<I", len(sound)) + sound
    body = b"sfbk" + data[at : at + end] + b"LIST" + struct.pack("<I", len(inner)) + inner + bytes(pdta)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    with open(sys.argv[1], "rb") as f:
        data = f.read()
    if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
        raise SystemExit(f"font.py: {sys.argv[1]} is no sound font")
    out = trimmed(data)
    with open(sys.argv[2], "wb") as f:
        f.write(out)
    print(f"{sys.argv[2]}: {len(out) / 1e6:.1f} MB of {len(data) / 1e6:.1f}")


if __name__ == "__main__":
    main()
