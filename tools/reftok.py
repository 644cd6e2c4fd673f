"""Tokenizers for the fixtures: T5's tokenizer.json, trained on text that this file makes up.

train() runs sentencepiece's unigram trainer and returns the model as a tokenizer.json document in the form of the
published T5 files, or of the converter that newer transformers versions use. strings() makes the test strings.
Everything is seeded; no corpus is read.
"""

import io
import json
import random

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


def sentences(seed, words, count):
    rng = random.Random(seed)
    lex = lexicon(rng, words)
    for _ in range(count):
        picks = [lex[min(words - 1, int(words ** rng.random()) - 1 + rng.randrange(1, 4))] for _ in range(rng.randint(4, 24))]
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
