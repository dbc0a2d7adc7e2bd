#!/usr/bin/env python3
"""Writes src/text/unicode_additions.cc: code points assigned after Unicode 14 that Hugging Face tokenizers already know.

Usage: make_unicode_additions.py > src/text/unicode_additions.cc
Needs `pip install tokenizers` and a Python whose unicodedata is version 14 (Python 3.11).
"""
import sys
import unicodedata

import tokenizers
from tokenizers import Regex, pre_tokenizers

CATEGORIES = "Lu Ll Lm Lo Mn Mc Nd No Pd Po Sm So".split()
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def members(pre_tokenizer):
    """The code points that `pre_tokenizer` removes."""
    result = set()
    for begin in range(0, len(CODE_POINTS), 4096):
        chunk = CODE_POINTS[begin : begin + 4096]
        kept = {ord(c) for piece, _ in pre_tokenizer.pre_tokenize_str("".join(map(chr, chunk))) for c in piece}
        result.update(c for c in chunk if c not in kept)
    return result


def numeric():
    """The code points that the pre-tokenizer Digits isolates."""
    digits = pre_tokenizers.Digits(individual_digits=True)
    return {c for c in CODE_POINTS if len(digits.pre_tokenize_str("a" + chr(c))) == 2}


def ranges(code_points):
    result = []
    for c in sorted(code_points):
        if result and result[-1][1] == c - 1:
            result[-1][1] = c
        else:
            result.append([c, c])
    return result


def main():
    assert unicodedata.unidata_version == "14.0.0", "needs Python 3.11, whose tables are Unicode 14"
    rows, known_numbers = [], set()
    for category in CATEGORIES:
        ours = members(pre_tokenizers.Split(Regex(r"\p{%s}" % category), "removed"))
        if category in ("Nd", "No"):
            known_numbers |= ours
        new = {c for c in ours if unicodedata.category(chr(c)) == "Cn"}
        rows += [(category, first, last) for first, last in ranges(new)]
    known_numbers |= {c for c in CODE_POINTS if unicodedata.category(chr(c)) == "Nl"}
    rows += [("#", first, last) for first, last in ranges(numeric() - known_numbers)]
    print("// Made by tools/make_unicode_additions.py with tokenizers %s; not edited by hand." % tokenizers.__version__)
    print('#include "text/unicode_additions.h"\n\nnamespace marlin {\n')
    print("constexpr UnicodeAddition kAdditions[] = {")
    for row in rows:
        print('    {"%s", 0x%x, 0x%x},' % row)
    print("};\n\nstd::span<const UnicodeAddition> UnicodeAdditions() { return kAdditions; }\n\n}  // namespace marlin")


if __name__ == "__main__":
    sys.exit(main())
