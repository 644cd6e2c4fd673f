"""The language model's shapes, chosen by LM=small and the like in the environment.

The model's file may hold 20 million weights (40 MB).  With the codec's 16 filters `large` just fits, with 24 or more
it does not: a wider codec has to be paid for here.
"""

import os

SHAPES = {  # width, layers, heads, feed-forward width, text tokens
    "small": (256, 4, 4, 1024, 24),  # versions 1 to 4
    "read": (256, 4, 4, 1024, 64),  # the same with a longer text: lm --warm models/stemforge-mini
    "deep": (256, 8, 4, 1024, 64),  # what `read` becomes
    "wide": (384, 4, 6, 1408, 64),  # what `large` begins as: lm --warm
    "large": (384, 8, 6, 1408, 64),
}
NAME = os.environ.get("LM", "small")
if NAME not in SHAPES:
    raise SystemExit(f"LM={NAME}: expected {' or '.join(SHAPES)}")
WIDTH, LAYERS, HEADS, FFN, TEXT_TOKENS = SHAPES[NAME]
