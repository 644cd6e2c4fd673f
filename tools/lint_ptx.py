#!/usr/bin/env python3
"""lint_ptx.py FILE... - whether the kernels' PTX keeps the bits that it promises; silent when it does.

An instruction that approximates, flushes denormals or lets the assembler fuse a product and a sum could
give other bits than the CPU. The GPU's assembler may fuse "mul.f32" and "add.f32", never "mul.rn.f32" and
"add.rn.f32" (PTX ISA, floating point instructions).
"""
import re
import sys

RULES = (
    (r"\.approx\b", "an approximation"),
    (r"\.ftz\b", "denormals become zero"),
    (r"\.full\.", "a division that is not rounded as IEEE says"),
    (r"\b(add|sub|mul)(\.sat)?\.(f32|f64|f32x2)\b", "no rounding is named, so it may be fused"),
    (r"\bmad\.", "a product and a sum of unknown rounding"),
    (r"\b(red|atom)\b.*\.f(16|32|64)", "sums without an order"),
    (r"\bcall\b", "a function that was not expanded here"),
)


def main():
    faults = 0
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as f:
            for n, line in enumerate(f, 1):
                code = line.split("//")[0]
                for pattern, why in RULES:
                    # Integers may be multiplied and added in one instruction.
                    if re.search(pattern, code) and not re.search(r"\bmad\.(lo|hi|wide|cc|lo\.cc|hi\.cc)?\.?[usb]", code):
                        print(f"lint: {path}:{n}: {code.strip()}: {why}")
                        faults += 1
    return 1 if faults else 0


sys.exit(main())
