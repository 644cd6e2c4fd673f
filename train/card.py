"""From rows to the tables of docs/MODEL_CARD.md.  eval.py makes the rows, the card says what each figure means."""

import itertools

import numpy as np

import measure
import music
import outside

SHARP = ("drums", "bass", "guitar", "piano")  # stems whose notes begin at once
NAMED = {"vocals": "a voice", "other": "strings or flute"}  # what a judge from outside calls them
DRAWS = 400  # of the bootstrap, over requests


def pick(rows, key, stem=None):
    """One list a request: the values of `key` of its stems, of one stem type if said."""
    return [[float(s[key]) for s in row["stems"] if key in s and stem in (None, s["stem"])] for row in rows]


def has_fault(rows, name=None):
    return [[float(bool(s["faults"]) if name is None else name in s["faults"]) for s in row["stems"]] for row in rows]


def mean(lists):
    values = [v for l in lists for v in l]
    return float(np.mean(values)) if values else float("nan")


def interval(lists):
    """95 % bootstrap interval of the mean, whole requests drawn."""
    sums, counts = (np.array([f(l) for l in lists], float) for f in (sum, len))
    draw = np.random.default_rng(0).integers(0, len(lists), (DRAWS, len(lists)))
    with np.errstate(invalid="ignore"):
        return tuple(np.nanpercentile(sums[draw].sum(1) / counts[draw].sum(1), [2.5, 97.5]))


def offsets(rows, late, stride=0, only=music.STEMS):
    """For each pair of stems of a request the median |ms| between their onsets; with a stride, of foreign requests."""
    out = []
    for i, row in enumerate(rows):
        partners = rows[(i + stride) % len(rows)]["stems"]
        pairs = itertools.product(row["stems"], partners) if stride else itertools.combinations(row["stems"], 2)
        gaps = []
        for a, b in pairs:
            if a["stem"] not in only or b["stem"] not in only:
                continue
            times = [np.array(s["onsets"]) - late[s["stem"]] for s in (a, b)]
            apart = measure.gaps(*times, 7.5 / row["bpm"])
            if len(apart) >= 4:
                gaps.append(1000 * float(np.median(np.abs(apart))))
        out.append(gaps)
    return out


def middle(lists):
    values = [v for l in lists for v in l]
    return float(np.median(values)) if values else float("nan")


def perplexity(rows):
    """Of each codebook, over all stems."""
    out = []
    for counts in zip(*(s["used"] for row in rows for s in row["stems"])):
        width = max(map(len, counts))
        p = sum(np.pad(np.array(c, float), (0, width - len(c))) for c in counts)
        p = p[p > 0] / p.sum()
        out.append(round(float(np.exp(-(p * np.log(p)).sum()))))
    return out


def share(value, of):
    return f"{100 * value / of:.0f} %" if of else ""


def percent(value):
    return "" if np.isnan(value) else f"{100 * value:.1f} %"


def tenth(value):
    return "" if np.isnan(value) else f"{value:.1f}"


def plain(value):
    return "" if np.isnan(value) else f"{value:.3f}"


class Data:
    """The rows of every group, and the judges that helped to make them."""

    def __init__(self, judge, n):
        self.judge, self.n = judge, n

    def lines(self):
        return [self._head(), "", *self._main(), "", *self._by_stem(), "", *self._lines_by_stem(), "", *self._codec(), "", self._judges()]

    def _head(self):
        stems = [len(r["stems"]) for r in self.made]
        drums = sum(s["stem"] == "drums" for r in self.made for s in r["stems"])
        return (f"{self.n} held-out requests: {sum(stems)} stems of 10 s, {drums} of them drums; guidance and sampling at the model's defaults. "
                f"True renders, plain and through the codec: of the first {len(self.true)}. Brackets: 95 % interval, whole requests redrawn.")  # fmt: skip

    def _row(self, name, target, lists_of, form, columns=("made", "true", "coded")):
        cells = []
        for column in columns:
            lists = lists_of(getattr(self, column))
            cells.append(form(mean(lists)))
            if column == "made":
                cells[-1] += " ({} - {})".format(*(form(v).removesuffix(" %") for v in interval(lists)))
        return f"| {name} | {target} | {' | '.join(cells)} |"

    def frechet(self):
        """Distances of generated, coded and true stems to other renders, as many of each."""
        sets = {k: np.array([s["feature"] for r in getattr(self, k) for s in r["stems"]]) for k in ("made", "true", "coded", "reference")}
        count = min(map(len, sets.values()))
        return count, *(measure.frechet(sets[k][:count], sets["reference"][:count]) for k in ("made", "true", "coded"))

    def _main(self):
        agreement = [mean(pick(getattr(self, k), "chord")) for k in ("made", "true", "coded")]
        controls = {k: mean([[c[k]] for c in self.controls if k in c]) for k in ("withheld", "others", "others asked")}
        lags = {k: [middle(offsets(getattr(self, k), self.judge.late, *how)) for how in ((0,), (0, SHARP), (1,))]
                for k in ("made", "true", "coded")}  # fmt: skip
        count, *distance = self.frechet()
        spread = {k: float(np.mean([t[k] for t in self.takes])) for k in ("made", "true")}
        out = ["| measure | target | generated | true renders | renders through the codec |", "| --- | --- | --- | --- | --- |",
               self._row("drums: tempo within 2 %, 50-200 bpm searched", "95 %", lambda r: pick(r, "tempo"), percent),
               self._row("the same, requests of 85-145 bpm", "", lambda r: pick([q for q in r if 85 <= q["bpm"] <= 145], "tempo"), percent),
               self._row("drums: tempo within 2 %, a factor of 1.25 searched", "", lambda r: pick(r, "near"), percent),
               self._row("drums: onset strength on the sixteenth grid", "", lambda r: pick(r, "grid"), plain),
               self._row("the same, spread evenly", "", lambda r: pick(r, "even"), plain),
               self._row("tone purity", "", lambda r: pick(r, "chord"), plain),
               f"| as a share of the true renders' | 95 % | {' | '.join(share(a, agreement[1]) for a in agreement)} |",
               self._row("purity with other chords: chance", "", lambda r: pick(r, "moved"), plain),
               f"| purity when the chords are withheld | chance | {plain(controls['withheld'])} | | |",
               f"| purity when other chords are asked for (with those) | chance | {plain(controls['others'])} ({plain(controls['others asked'])}) | | |",
               self._row("right stem type", "98 %", lambda r: pick(r, "type"), percent),
               self._row("right stem type, by the judge of clean renders", "stated", lambda r: pick(r, "plain"), percent),
               self._row("energy over 1.5 kHz in lines at multiples of 400 Hz", "< 3 %", lambda r: pick(r, "comb"), percent),
               self._row("leak: energy heard as another group's", "stated", lambda r: pick(r, "leak"), percent),
               "| onsets of two stems of a request apart, median ms | < 15 | " + " | ".join(f"{lags[k][0]:.1f}" for k in lags) + " |",
               "| the same, drums, bass, guitar and piano only | | " + " | ".join(f"{lags[k][1]:.1f}" for k in lags) + " |",
               "| the same for stems of different requests: chance | | " + " | ".join(f"{lags[k][2]:.1f}" for k in lags) + " |",
               f"| distance of features to other renders (Fréchet, {count} stems each) | stated | " + " | ".join(f"{d:.2f}" for d in distance) + " |",
               f"| as a share of the codec's own | 1.5 | {distance[0] / distance[2]:.2f} | {distance[1] / distance[2]:.2f} | 1 |"]  # fmt: skip
        for fault in ("silence", "clipping", "clicks", "stuck", "collapse"):
            out.append(self._row(f"stems with {fault}", "< 1 %", lambda r, f=fault: has_fault(r, f), percent))
        equal = [r["equal"] for r in self.repeats]
        return out + [f"| same seed twice, one thread and two: equal bytes | equal | {sum(equal)} of {len(equal)} requests | | |",
                      f"| ten seeds of a stem apart, {len(self.takes)} stems, dB | differ | {spread['made']:.1f} | {spread['true']:.1f} | |",
                      f"| four 10 s stems on two threads, s | < 5 | {self.seconds:.1f} | | |"]  # fmt: skip

    def _by_stem(self):
        out = ["| stem | right type: generated | renders | codec | tone purity: generated | renders | codec | leak: generated | renders | codec |",
               "| --- |" + " --- |" * 9]  # fmt: skip
        for stem in music.STEMS:
            cells = [form(mean(pick(getattr(self, k), key, stem))) for key, form in (("type", percent), ("chord", plain), ("leak", percent))
                     for k in ("made", "true", "coded")]  # fmt: skip
            out.append(f"| {stem} | {' | '.join(cells)} |")
        return out

    def _lines_by_stem(self):
        out = ["| stem | 400 Hz lines, share over 1.5 kHz: generated | renders | codec | over their neighbours, dB: generated | renders | codec | "
               "type by the judge of clean renders: generated | renders | codec |", "| --- |" + " --- |" * 9]  # fmt: skip
        for stem in music.STEMS:
            cells = [form(mean(pick(getattr(self, k), key, stem))) for key, form in (("comb", percent), ("lines", tenth), ("plain", percent))
                     for k in ("made", "true", "coded")]  # fmt: skip
            out.append(f"| {stem} | {' | '.join(cells)} |")
        return out

    def _codec(self):
        values = {k: mean(pick(self.coded, k)) for k in ("sdr", "mel")}
        used = perplexity(self.coded)
        return [f"The codec alone on the true renders: SI-SDR {values['sdr']:.2f} dB, mel distance {values['mel']:.2f} dB, "
                f"perplexity of the codebooks {', '.join(map(str, used))}."]  # fmt: skip

    def _judges(self):
        p = self.judge.proof
        stems = ", ".join(f"{s} {percent(p[s])}" for s in music.STEMS)
        late = ", ".join(f"{s} {1000 * v:.0f}" for s, v in self.judge.late.items())
        quick = "These judges learned from a quarter of the renders. " if p["quick"] else ""
        return (f"{quick}The judges on renders they never learned from: stem type {percent(p['family'])} ({stems}); tempo {percent(p['tempo'])}; leak "
                f"{percent(p['leak 0'])}, and {percent(p['leak 0.01'])} and {percent(p['leak 0.1'])} with another group's stem mixed in 20 and 10 dB "
                f"below. Onsets are heard late by, ms: {late}.")  # fmt: skip


def outside_lines(rows, missing):
    """What judges from outside hear in the first requests, and the program's own judge in the same samples."""
    def row(name, judge, key, stem, form, ask=lambda s: True):
        out = []
        for who, found in ((judge, key), ("the program's", f"own {key}")):
            cells = []
            for kind in ("made", "true", "coded"):
                values = [float(s[found]) for r in rows for s in r[kind] if stem in (None, s["stem"]) and found in s and ask(s)]
                cells.append(form(values) if values else "")
            if any(cells) and who not in missing:
                out.append(f"| {name} | {who} | {' | '.join(cells)} |")
        return out

    count = lambda v: f"{sum(v):.0f} of {len(v)}"
    share = lambda v: plain(float(np.mean(v)))
    out = [f"Judges from outside and the program's own, on the first {len(rows)} held-out requests, {sum(len(r['made']) for r in rows)} stems of 10 s"
           + (f" (not installed: {', '.join(missing)})" if missing else "") + ".", "",
           "| measure | judge | generated | true renders | renders through the codec |", "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for stem in music.STEMS:
        out += row(f"{stem} heard as {NAMED.get(stem, stem)}", "MusicNN", "tagged", stem, count)
        out += row("its tag, mean", "MusicNN", "sure_tag", stem, share)
    out += row("all of these but bass", "MusicNN", "tagged", None, count, lambda s: s["stem"] != "bass")
    out += row("what is heard of another group, drums", "MusicNN", "leak", "drums", share)
    out += row("the same, all others but bass", "MusicNN", "leak", None, share, lambda s: s["stem"] not in ("drums", "bass"))
    for stem in ("bass", "vocals"):
        out += row(f"{stem}: sure of a pitch, mean", "SwiftF0", "sure", stem, share)
        out += row(f"{stem}: sounding frames that hold a pitch for 100 ms", "SwiftF0", "held", stem, share)
    out += row("drums: tempo within 2 %", "madmom", "strict", "drums", count)
    out += row("the same, requests of 85-145 bpm", "madmom", "strict", "drums", count, lambda s: 85 <= s["bpm"] <= 145)
    out += row("the same, half and double allowed", "madmom", "octave", "drums", count)
    for stem in outside.CHORDED:
        out += row(f"{stem}: time on the asked root", "madmom", "root", stem, share)
        out += row(f"{stem}: the same", "Chordino", "root Chordino", stem, share)
    return out


def compare(columns, data):
    """The musical measures of several variants on the same first requests."""
    n = min(map(len, columns.values()))
    late = data.judge.late
    true = mean(pick(data.true[:n], "chord"))
    sets = {k: np.array([s["feature"] for r in rows for s in r["stems"]]) for k, rows in {**columns, "": data.reference[:n]}.items()}
    count = min(map(len, sets.values()))
    measures = {
        "drums: tempo within 2 %": lambda r: percent(mean(pick(r, "tempo"))),
        "drums: onset strength on the sixteenth grid": lambda r: plain(mean(pick(r, "grid"))),
        "tone purity": lambda r: plain(mean(pick(r, "chord"))),
        "as a share of the true renders'": lambda r: share(mean(pick(r, "chord")), true),
        "right stem type": lambda r: percent(mean(pick(r, "type"))),
        "the same by the judge of clean renders": lambda r: percent(mean(pick(r, "plain"))),
        "energy over 1.5 kHz in lines at multiples of 400 Hz": lambda r: percent(mean(pick(r, "comb"))),
        "leak": lambda r: percent(mean(pick(r, "leak"))),
        "onsets of two stems apart, ms": lambda r: f"{middle(offsets(r, late)):.1f}",
        "stems with a fault": lambda r: percent(mean(has_fault(r))),
    }
    out = [f"The first {n} of these requests.", "", "| measure | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for name, value in measures.items():
        out.append(f"| {name} | " + " | ".join(value(rows[:n]) for rows in columns.values()) + " |")
    far = [measure.frechet(sets[k][:count], sets[""][:count]) for k in columns]
    return out + [f"| distance of features (Fréchet, {count} stems) | " + " | ".join(f"{f:.2f}" for f in far) + " |"]


def publish(lines, name, path):
    """Prints the lines and, if a file is given, puts them between its marks of that name."""
    print("\n".join(lines))
    if not path:
        return
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    with open(path, encoding="utf-8") as f:
        head, rest = f.read().split(begin)
    with open(path, "w", encoding="utf-8") as f:
        f.write(head + begin + "\n" + "\n".join(lines) + "\n" + end + rest.split(end)[1])
