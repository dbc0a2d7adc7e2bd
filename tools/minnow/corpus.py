"""The corpus of minnow and how it is split: what train.py trains on, and what make_sample.py takes the sample text from."""

import pathlib

HELD_OUT = 0.02  # the last part of every file, in characters; never trained on


def split_files(folder):
    """[(name, training part, held-out part)] of every .txt file, cut at the end of a line."""
    parts = []
    for path in sorted(pathlib.Path(folder).glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        cut = text.rfind("\n", 0, int(len(text) * (1 - HELD_OUT))) + 1
        parts.append((path.name, text[:cut], text[cut:]))
    if not parts:
        raise SystemExit(f"{folder}: no .txt files")
    return parts
