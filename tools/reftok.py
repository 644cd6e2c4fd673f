"""Tokenizers for the fixtures: T5's tokenizer.json, trained on text that this file makes up.

train() runs sentencepiece's unigram trainer and returns the model as a tokenizer.json document in the form of the
published T5 files, or of the converter that newer transformers versions use. strings() makes the test strings.
Everything is seeded; no corpus is read.
"""

import io
import json
import random
import unicodedata

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer

SENTINELS = 100

MUSIC = """drums bass guitar piano synth vocals strings brass organ pad lead rock pop jazz funk techno house
ambient metal blues folk disco hip hop trap lofi classical reggae soul country tempo bpm key minor major fast slow
warm bright dark heavy light punchy mellow distorted clean acoustic electric groove beat melody chord progression
intro chorus verse bridge drop build loud soft with and the a of in for no at 80s 90s 70s track song loop stem
driving kick snare hats cymbals arpeggio riff solo""".split()

ONSETS = ["", *"b c d f g h j k l m n p r s t v w z".split(), "bl", "br", "ch", "cl", "cr", "dr", "fl", "fr", "gl",
          "gr", "kn", "ph", "pl", "pr", "qu", "sc", "sh", "sk", "sl", "sm", "sn", "sp", "st", "str", "th", "tr", "wh"]
VOWELS = [*"a e i o u y".split(), "ai", "ea", "ee", "ie", "oa", "oo", "ou", "au", "io"]
CODAS = ["", "", "", *"b d f g k l m n p r s t x".split(), "ck", "ct", "ft", "ld", "ll", "lt", "mp", "nd", "ng", "nk",
         "nt", "pt", "rd", "rk", "rm", "rn", "rt", "sh", "sk", "ss", "st", "th"]
ENDINGS = ["", "", "", "", "s", "ed", "ing", "er", "ly", "ness", "ment", "tion", "able", "ful", "ist", "ous"]
ACCENTED = "äöüßéèêëàâçîïôûùœășțăâîñóáíúø"
CYRILLIC = ["ба", "во", "ги", "де", "жи", "зо", "ка", "ло", "ми", "ну", "по", "ра", "ст", "ть", "че", "ша", "щи", "ы", "э", "я"]
GREEK = ["αλ", "βη", "γα", "δε", "ζω", "θε", "κα", "λο", "μι", "νυ", "ξα", "πο", "ρα", "σι", "τη", "φω", "χα", "ψυ", "ω"]
KANA = [chr(c) for c in range(0x3042, 0x3090, 3)] + [chr(c) for c in range(0x30A2, 0x30F0, 3)]
HAN = [chr(0x4E00 + 37 * i) for i in range(250)]


def word(rng):
    return "".join(
        rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.choice((1, 1, 2, 2, 2, 3, 3, 4)))
    ) + rng.choice(ENDINGS)


def accent(rng, w):
    i = rng.randrange(len(w))
    return w[:i] + rng.choice(ACCENTED) + w[i + 1 :]


def lexicon(rng, n):
    """n words, the first the most frequent."""
    out = list(MUSIC)
    while len(out) < n:
        kind = rng.random()
        w = word(rng)
        if kind < 0.15:
            w = accent(rng, w)
        elif kind < 0.20:
            w = "".join(rng.choice(CYRILLIC) for _ in range(rng.randint(1, 4)))
        elif kind < 0.23:
            w = "".join(rng.choice(GREEK) for _ in range(rng.randint(1, 3)))
        elif kind < 0.25:
            w = "".join(rng.choice(KANA) for _ in range(rng.randint(1, 4)))
        elif kind < 0.27:
            w = "".join(rng.choice(HAN) for _ in range(rng.randint(1, 3)))
        elif kind < 0.30:
            w = str(rng.randint(0, 3000))
        elif kind < 0.40:
            w = w.capitalize()
        elif kind < 0.42:
            w = w.upper()
        out.append(w)
    return out


def sentences(seed, words, count, first=0):
    """Text over a lexicon of so many words, the frequent ones first; first is the rank of the most frequent."""
    rng = random.Random(seed)
    lex = lexicon(rng, words)
    for _ in range(count):
        picks = [lex[min(words - 1, int(words ** rng.random()) - 1 + first + rng.randrange(3))] for _ in range(rng.randint(4, 24))]
        text = " ".join(p + rng.choice(("", "", "", "", "", ",", "-", "'s", ":")) for p in picks)
        yield text + rng.choice((".", ".", "!", "?", " (live)", " #7", " & more"))


def tiny_rules():
    """A character map of a few hundred entries: full-width forms, blanks, ligatures, some accents composed."""
    rules = {(0xFF01 + i,): (0x21 + i,) for i in range(94)}
    rules |= {(c,): (0x20,) for c in (9, 10, 13, 0xA0, 0x2003, 0x3000)}
    rules |= {(0xFB01,): (0x66, 0x69), (0xFB02,): (0x66, 0x6C), (0x2460,): (0x31,), (0x200B,): (0x20,)}
    rules |= {(ord(b), 0x0301): (ord(c),) for b, c in zip("aeiou", "áéíóú")}
    rules |= {(c,): () for c in (1, 2, 3, 0x7F, 0xAD)}
    return "".join(
        " ".join(f"{c:X}" for c in k) + "\t" + " ".join(f"{c:X}" for c in v) + "\n" for k, v in sorted(rules.items())
    )


def train_model(text, pieces, rules_file=None):
    out = io.BytesIO()
    rules = {"normalization_rule_tsv": rules_file} if rules_file else {"normalization_rule_name": "nmt_nfkc"}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=out,
        vocab_size=pieces,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        unk_surface=" \u2047 ",
        character_coverage=0.99995,
        num_threads=2,
        minloglevel=2,
        **rules,
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(out.getvalue())
    return model


def document(model, form="t5", digits=5):
    """The tokenizer.json document. form "t5" is that of the published files, "new" that of today's converter."""
    import base64

    vocab = [[p.piece, round(p.score, digits) if p.type == 1 else 0.0] for p in model.pieces]
    first = len(vocab)
    vocab += [[f"<extra_id_{i}>", 0.0] for i in reversed(range(SENTINELS))]
    special = [(0, "<pad>"), (1, "</s>"), (2, "<unk>")]
    special += [(first + SENTINELS - 1 - i, f"<extra_id_{i}>") for i in range(SENTINELS)]
    precompiled = {
        "type": "Precompiled",
        "precompiled_charsmap": base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode(),
    }
    metaspace = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}
    if form == "t5":
        normalizer = precompiled
        pre = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]}
    else:
        normalizer = {
            "type": "Sequence",
            "normalizers": [
                precompiled,
                {"type": "Strip", "strip_left": False, "strip_right": True},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
            ],
        }
        metaspace = pre = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": t,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, t in sorted(special)
        ],
        "normalizer": normalizer,
        "pre_tokenizer": pre,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
            ],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": vocab},
    }


def to_text(doc):
    """Compact, one vocabulary entry a line."""
    vocab = doc["model"]["vocab"]
    doc = {**doc, "model": {**doc["model"], "vocab": "@"}}
    lines = ",\n".join(json.dumps(v, ensure_ascii=False, separators=(",", ":")) for v in vocab)
    text = json.dumps(doc, ensure_ascii=False, separators=(",", ":"))
    return text.replace('"vocab":"@"', '"vocab":[\n' + lines + "]") + "\n"


BLANKS = " \t\n\r\v\f\x1c\x1d\x85\xa0\u1680\u2000\u2003\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff\u180e"
SPECIALS = ["</s>", "<pad>", "<unk>", "<extra_id_0>", "<extra_id_3>", "<extra_id_99>", "<extra_id_100>", "<s>", "</S>",
            "<extra_id_03>", "＜pad＞", "＜/s＞", "＜extra_id_7＞", "<extra_id_1", "< /s>", "<\u200b/s>", "</s\u0301>"]
RANGES = [(0x21, 0x7E), (0xA1, 0x17F), (0x180, 0x24F), (0x250, 0x2FF), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x58F),
          (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x7BF), (0x900, 0x97F), (0x980, 0xD7F), (0xE01, 0xE5B), (0xE80, 0xFD9),
          (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x16F0), (0x1780, 0x18AA),
          (0x1C90, 0x1CBF), (0x1D00, 0x1DBF), (0x1E00, 0x1FFE), (0x2000, 0x206F), (0x2070, 0x20BF), (0x2100, 0x218B),
          (0x2190, 0x23FF), (0x2460, 0x24FF), (0x2500, 0x27BF), (0x2E80, 0x2FD5), (0x3001, 0x303F), (0x3041, 0x30FF),
          (0x3131, 0x318E), (0x3200, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF), (0xA980, 0xA9DF),
          (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFB50, 0xFDFF), (0xFE30, 0xFE6F), (0xFE70, 0xFEFC),
          (0xFF01, 0xFFEE), (0x10000, 0x100FA), (0x10280, 0x1049D), (0x11000, 0x1106F), (0x1D100, 0x1D1E8),
          (0x1D400, 0x1D7FF), (0x1F100, 0x1F1FF), (0x1F200, 0x1F265), (0x1F300, 0x1F64F), (0x20000, 0x2A6DF),
          (0x2F800, 0x2FA1D), (0xE0001, 0xE007F), (0xE0100, 0xE01EF)]  # fmt: skip
MARKS = [*range(0x300, 0x370), *range(0x483, 0x488), *range(0x591, 0x5BE), *range(0x64B, 0x660), *range(0x93E, 0x94E),
         *range(0x1AB0, 0x1ABF), *range(0x20D0, 0x20F1), 0x3099, 0x309A, *range(0xFE00, 0xFE10), *range(0xFE20, 0xFE30),
         0x200D, 0x0E33, 0x0600, 0x06DD]  # fmt: skip
EMOJI = [*range(0x1F300, 0x1F340), *range(0x1F466, 0x1F480), *range(0x1F600, 0x1F640), 0x2764, 0x2600, 0x1F3F3, 0x231A]


def assigned(rng, low, high):
    while True:
        c = rng.randint(low, high)
        if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co"):
            return chr(c)


def of_script(rng, n):
    low, high = rng.choice(RANGES)
    return "".join(rng.choice((" ", "")) * (rng.random() < 0.3) + assigned(rng, low, high) for _ in range(n))


def marked(rng, n):
    """Base letters of one to four bytes with combining marks: graphemes on both sides of six bytes."""
    out = []
    for _ in range(n):
        low, high = rng.choice(RANGES[:12] + [(0x61, 0x7A), (0x41, 0x5A), (0x2460, 0x2473), (0xFF21, 0xFF5A), (0x304B, 0x3068)])
        out.append(assigned(rng, low, high) + "".join(chr(rng.choice(MARKS)) for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))))
    return "".join(out)


def emoji(rng):
    kind = rng.random()
    one = chr(rng.choice(EMOJI))
    if kind < 0.3:
        return one + rng.choice(("\ufe0f", "\ufe0e", "\U0001f3fd", ""))
    if kind < 0.6:
        return "\u200d".join(chr(rng.choice(EMOJI)) for _ in range(rng.randint(2, 4)))
    if kind < 0.8:
        return "".join(chr(0x1F1E6 + rng.randrange(26)) for _ in range(rng.randint(1, 4)))
    return rng.choice("0123456789#*") + "\ufe0f\u20e3"


def prompt(rng, lex):
    return " ".join(rng.choice(MUSIC) if rng.random() < 0.7 else rng.choice(lex) for _ in range(rng.randint(1, 9)))


def blanked(rng, text):
    return "".join(
        rng.choice(BLANKS) * rng.choice((1, 1, 2, 5)) if c == " " or rng.random() < 0.04 else c for c in f" {text} "
    )


def sprinkle(rng, text, bits):
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(text))
        text = text[:at] + bits() + text[at:]
    return text


def test_string(rng, lex):
    kind = rng.random()
    base = prompt(rng, lex)
    if kind < 0.34:
        return base
    if kind < 0.40:
        return sprinkle(rng, base, lambda: rng.choice(",.;:!?-_/()[]{}'\"&%$#@*+=<>|~^`\\"))
    if kind < 0.62:
        return of_script(rng, rng.randint(1, 10))
    if kind < 0.70:
        return marked(rng, rng.randint(1, 8))
    if kind < 0.74:
        return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" and rng.random() < 0.7 else c for c in base)
    if kind < 0.78:
        return sprinkle(rng, base, lambda: rng.choice("ﬁﬂﬀﬃﬄﬅⅣⅷ½²³ªº№℡™㎏㍿ǆĳŉſ…‥ﷺ①⑳㈱ｶﾞﾊﾟ가각각"))
    if kind < 0.83:
        return sprinkle(rng, base, lambda: chr(rng.choice([*range(32), *range(0x7F, 0xA0), 0xAD, 0x200C, 0x200D, 0x200E, 0x2060, 0xFFFC, 0xFFFD, 0xFEFF, 0xFFFF])))
    if kind < 0.88:
        return blanked(rng, base)
    if kind < 0.92:
        return sprinkle(rng, base, lambda: emoji(rng))
    if kind < 0.97:
        return sprinkle(rng, base, lambda: rng.choice(("", "", " ", "  ")) + rng.choice(SPECIALS) + rng.choice(("", "", " ", "\t")))
    if kind < 0.99:
        return sprinkle(rng, base, lambda: rng.choice(("▁", "▁▁", " ▁", "▁ ", "\u0120")))
    return "".join(chr(rng.choice((rng.randint(1, 0xFF), rng.randint(1, 0xD7FF), rng.randint(0xE000, 0x10FFFF)))) for _ in range(rng.randint(1, 6)))


def test_strings(seed, count):
    """Strings that a tokenizer has to agree on, the awkward ones first."""
    rng = random.Random(seed)
    lex = lexicon(random.Random(seed + 1), 4000)
    out = ["", " ", "   ", "\n", "\t \n", "\0", "a", "▁", "▁▁", "</s>", "</s></s>", " </s> ", "<extra_id_3>", "a" * 700]
    out += ["e\u0301", "①\u0301", "Ａ\u0308b", "\r\n", "a\r\nb", "\u0600a", "ﬁ\u0301", "\u1100\u1161\u11a8", "가\u11a8"]
    out += ["x" + "\u0301" * 400, "\u200d" * 50, "\U0001f468\u200d\U0001f469\u200d\U0001f467", "☃" * 300, "ﷺ" * 40]
    long = ""
    while len(long) < 20000:
        long += prompt(rng, lex) + rng.choice((" ", ", ", ". "))
    out.append(long)
    out.append("".join(rng.choice("abcdefghij") for _ in range(6000)))  # one word of 6 kB
    out.append("".join(of_script(rng, 6) for _ in range(400)))
    out += [" ".join(test_string(rng, lex) for _ in range(30)) for _ in range(10)]
    while len(out) < count:
        out.append(test_string(rng, lex))
    return out


class SmallTokenizer:
    """A tokenizer with a save() like transformers' own, kept as text."""

    def __init__(self, text):
        self.text = text
        self.tokenizer = Tokenizer.from_str(text)

    def ids(self, prompt):
        return self.tokenizer.encode(prompt).ids

    def save(self, path):
        with open(path, "w", encoding="utf-8") as f:
            f.write(self.text)
