#!/usr/bin/env python3
"""Writes the sketch of a text that src/text/text_overlap.h describes: the hashes of its runs of 13 words that are
multiples of 256, ascending.

  tools/make_text_sketch.py wiki.test.raw > src/text/wikitext2_test_sketch.inc
"""
import re
import sys

WORDS, ONE_IN = 13, 256
OFFSET, PRIME, MASK = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1


def fnv(data):
    value = OFFSET
    for byte in data:
        value = ((value ^ byte) * PRIME) & MASK
    return value


def sketch(text):
    words = [fnv(word).to_bytes(8, "little") for word in re.split(rb"[ \n\t\r\f\v]+", text) if word]
    runs = (fnv(b"".join(words[i : i + WORDS])) for i in range(len(words) - WORDS + 1))
    return sorted({run for run in runs if run % ONE_IN == 0})


def main():
    with open(sys.argv[1], "rb") as file:
        hashes = [f"0x{value:016x}," for value in sketch(file.read())]
    for i in range(0, len(hashes), 6):
        print(" ".join(hashes[i : i + 6]))


if __name__ == "__main__":
    main()
