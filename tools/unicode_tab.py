#!/usr/bin/env python3
"""Writes src/format/unicode_tab.h from the Unicode data in the `regex` package.

Unicode 16.0, the version that Hugging Face tokenizers 0.22 segments by: pip install regex==2024.11.6

    tools/unicode_tab.py > src/format/unicode_tab.h
"""
import regex

# Order matters: the first property that holds names the class.
CLASSES = [
    ("LINKER", r"\p{InCB=Linker}"),
    ("EXTEND", r"[\p{GCB=Extend}--[\u200C]]"),
    ("ZWNJ", "\u200C"),
    ("ZWJ", "\u200D"),
    ("CONTROL", r"\p{GCB=Control}"),
    ("PREPEND", r"\p{GCB=Prepend}"),
    ("SPACING", r"\p{GCB=SpacingMark}"),
    ("CONSONANT", r"\p{InCB=Consonant}"),
    ("REGIONAL", r"\p{GCB=RI}"),
    ("L", r"\p{GCB=L}"),
    ("V", r"\p{GCB=V}"),
    ("T", r"\p{GCB=T}"),
    ("PICT", r"\p{Extended_Pictographic}"),
]
WORD = regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]", regex.V1)


def ranges(classify):
    out = []
    for cp in range(0x110000):
        if 0xD800 <= cp < 0xE000:
            continue
        c = chr(cp)
        k = classify(c)
        if k is None:
            continue
        if out and out[-1][1] == cp - 1 and out[-1][2] == k:
            out[-1][1] = cp
        else:
            out.append([cp, cp, k])
    return out


def emit(rows, per_line):
    for i in range(0, len(rows), per_line):
        print("    " + " ".join(rows[i:i + per_line]))


def main():
    compiled = [(n, regex.compile(p, regex.V1)) for n, p in CLASSES]

    def cluster(c):
        return next((n for n, p in compiled if p.match(c)), None)

    def word(c):
        return 1 if WORD.match(c) else None

    print("// unicode_tab.h - Unicode 16.0 properties as ranges; written by tools/unicode_tab.py.")
    print("//\n// Included by unicode.c alone.")
    print("#pragma once\n#include <stdint.h>\n\n// clang-format off")
    print("typedef enum {\n    G_OTHER, G_CR, G_LF, G_LV, G_LVT,\n    "
          + ",\n    ".join(", ".join("G_" + n for n, _ in CLASSES[i:i + 7]) for i in (0, 7))
          + "\n} grapheme_class;\n")
    print("// For grapheme clusters (UAX #29). Hangul syllables are computed. EXTEND, LINKER and ZWNJ are all")
    print("// Grapheme_Cluster_Break=Extend; they differ in Indic_Conjunct_Break.")
    print("static const struct {\n    uint32_t lo, hi;\n    grapheme_class type;\n} grapheme_ranges[] = {")
    emit(["{0x%X, 0x%X, G_%s}," % tuple(r) for r in ranges(cluster)], 3)
    print("};\n\n// \\w of UTS #18: Alphabetic, M, Nd, Pc, Join_Control.")
    print("static const struct {\n    uint32_t lo, hi;\n} word_ranges[] = {")
    emit(["{0x%X, 0x%X}," % (r[0], r[1]) for r in ranges(word)], 5)
    print("};\n// clang-format on")


main()
