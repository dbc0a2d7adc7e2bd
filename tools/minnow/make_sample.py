"""Makes data/sample/sample.txt: text of the kind that minnow was trained on, but held out from its training.

    make_sample.py --data DIR -o data/sample/sample.txt

DIR holds the four .txt files that train.py was given. The text comes from the held-out part of each file alone. The files share it
equally, SHARE characters each; Moby Dick's held-out part is shorter and is taken whole. Each share is cut into ROUNDS passages, and the
files take turns, so the first windows of the text are balanced too. A passage consists of whole units: paragraphs of the novels, verses
of the Bible, sentences of an address. The addresses have no paragraphs; each of the seven in the held-out part gives its opening.

The result depends on the data alone. Prints sizes and the share of 13-word runs that also occur in the training part. Fails where that
share is above 1 %, the limit of the program for calibration texts.
"""

import argparse
import hashlib
import pathlib
import re
import sys

from corpus import split_files

SHARE = 36_000  # characters of each file
ROUNDS = 7
RUN_WORDS = 13
MAX_OVERLAP = 0.01


def paragraphs(text):
    return [[(paragraph.strip("\n"), "\n\n") for paragraph in re.split(r"\n{2,}", text) if paragraph.strip()]]


def verses(text):
    return [[(line, "\n") for line in text.split("\n") if line]]


def sentences_of_addresses(text):
    """One list of sentences for each line, which is an address. One space joins two sentences."""
    return [[(sentence, " ") for sentence in re.split(r"(?<=[.?!])\s+", line)] for line in text.split("\n") if line]


UNITS = {
    "austen-six-novels.txt": paragraphs,
    "king-james-bible.txt": verses,
    "moby-dick.txt": paragraphs,
    "sotu-1790-2021.txt": sentences_of_addresses,
}


def cut(units, step, count):
    """`count` passages of consecutive whole units; a unit belongs to the passage in which it starts."""
    passages, at = [""] * count, 0
    for unit, joint in units:
        i = int(at / step)
        if i >= count:
            break
        passages[i] += (joint if passages[i] else "") + unit
        at += len(unit) + len(joint)
    return passages


def passages_of(name, training, held_out):
    """ROUNDS passages of one file."""
    series = UNITS[name](held_out)
    if len(series) == ROUNDS:
        return [cut(units, SHARE / ROUNDS, 1)[0] for units in series]
    (units,) = series
    if UNITS[name] is paragraphs and not training.endswith("\n\n"):
        units = units[1:]  # the split went through this paragraph
    size = sum(len(unit) + len(joint) for unit, joint in units)
    return cut(units, min(SHARE, size) / ROUNDS, ROUNDS)


def runs(text):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + RUN_WORDS]) for i in range(len(words) - RUN_WORDS + 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of the four .txt files")
    parser.add_argument("-o", "--out", required=True, type=pathlib.Path, help="file to write")
    options = parser.parse_args()
    parts = split_files(options.data)
    if [name for name, *_ in parts] != sorted(UNITS):
        raise SystemExit(f"{options.data}: got {', '.join(name for name, *_ in parts)}; want {', '.join(sorted(UNITS))}")

    by_file = {name: passages_of(name, training, held_out) for name, training, held_out in parts}
    text = "\n\n".join(passages[i] for i in range(ROUNDS) for passages in by_file.values()) + "\n"

    trained_on = set().union(*(runs(training) for _, training, _ in parts))
    for name, passages in by_file.items():
        own = set().union(*(runs(passage) for passage in passages))
        print(f"{name}: {sum(map(len, passages))} characters, {len(own & trained_on)} of {len(own)} runs of {RUN_WORDS} words were trained on")
    own = runs(text)
    overlap = len(own & trained_on) / len(own)
    data = text.encode("utf-8")
    print(f"{len(data)} bytes, {len(text.split())} words, sha256 {hashlib.sha256(data).hexdigest()}; {100 * overlap:.3f} % trained on")
    if overlap > MAX_OVERLAP:
        print(f"more than {100 * MAX_OVERLAP:.0f} % of the text was trained on: nothing was written", file=sys.stderr)
        return 1
    options.out.write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
