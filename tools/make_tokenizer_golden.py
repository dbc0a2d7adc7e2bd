#!/usr/bin/env python3
"""Writes src/text/testdata/tokenizer_golden.json: small byte-level BPE tokenizers and the ids that Hugging Face tokenizers
give for difficult strings.

Usage: make_tokenizer_golden.py [--seed N] [--strings N] [-o FILE]
Needs `pip install tokenizers`. Everything is made of seeded random text; no corpus, no vocabulary of any model. With a
large --strings the file is a fuzz run: point METAL_MARLIN_TOKENIZER_GOLDEN at it and run the test of src/text.

File: {"model": the "model" of tokenizer.json that all cases share,
       "cases": [{"name", "ignore_merges", "tokenizer": the rest of tokenizer.json, "strings": [[text, [id, ...]], ...]}]}
Encoded with special tokens in the text not parsed.
"""
import argparse
import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")

# Ranges the strings are drawn from: what pre-tokenizers treat in different ways.
ALPHABETS = [
    "abcdefgSTLDMREVK", "''’", "0123456789", " ", " \t", "\r\n", ".,;:!?-_()[]{}<>=+*/\\|@#$%^&~`\"",
    "àéîõüßſK", "\u0300\u0301\u0323\u0308\u0345", "АБВгдежз", "αβγΔΩς", "中文字漢龥", "かなカナｶﾅ", "한국어각\u1100\u1161\u11a8",
    "אבגשלום\u05b0", "عربي\u064b\u0660\u0669", "देवनागरी०९", "ไทย๑๒", "🙂👍🏽👨\u200d👩\u200d👧🇩🇪", "½²Ⅷ①৪፩",
    "\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u0085\u180e\u200b\ufeff", "\u0000\u0001\u001f\u007f",
    "\u212b\u2126\u1e9b\ufb01\u0958", "\U00031350\U0002ebf0\U000105c0\U00010d40\U00016d70\U00011de0\U00016ff4\U0001fae8",
]  # fmt: skip
FIXED = [
    "", " ", "\n", "\x00", "It's we'll they'D I'M you'Re 'ſ 'S", "a  b   c    d", "x\r\n\r\ny \n z", "1234567 3.14 1,000",
    "tab\tseparated\t\tvalues", "<|end|> a<|end|>b <tool>c</tool> <|end", "e\u0301 \u00e9 e\u0323\u0301 e\u0301\u0323",
    " " * 70 + "x", "\n" * 40, "a" * 90, "'" * 20, "\u200d" * 5, "٣٤٥ ४५६", "word" + " " * 3 + "\t\n" + " next",
]  # fmt: skip


def random_text(rng):
    text = ""
    for _ in range(rng.randint(1, 8)):
        alphabet = rng.choice(ALPHABETS)
        length = rng.choice([1, 1, 2, 3, 5]) if rng.random() < 0.95 else rng.randint(10, 40)
        text += "".join(rng.choice(alphabet) for _ in range(length))
    return text


def training_text(rng, lines):
    """Words of random syllables, so that merges of several levels appear, and some of the random strings."""
    syllables = ["".join(rng.choice(p) for p in ("bdgklmnprst", "aeiou", "nrs")) for _ in range(24)]
    words = ["".join(rng.choice(syllables) for _ in range(rng.randint(1, 3))) for _ in range(80)]
    for _ in range(lines):
        yield " ".join(rng.choice(words) for _ in range(8)) + random_text(rng)


def train(rng):
    """The model that all cases share."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=340, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(training_text(rng, 400), trainer)
    return json.loads(tokenizer.to_str())["model"]


def build(model, steps, normalizer=None, ignore_merges=False):
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(model["vocab"], merges, ignore_merges=ignore_merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    tokenizer.add_special_tokens([AddedToken("<|end|>", normalized=False)])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("</tool>", normalized=False)])
    return tokenizer


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert=invert)


def byte_level(use_regex, prefix=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)


def cases(model):
    digits = pre_tokenizers.Digits(individual_digits=True)
    yield "gpt2", build(model, [byte_level(True)])
    yield "smollm", build(model, [digits, byte_level(True)])
    yield "qwen2", build(model, [split(QWEN2), byte_level(False)], normalizers.NFC())
    yield "llama3", build(model, [split(LLAMA3), byte_level(False)], ignore_merges=True)
    yield "prefix-space", build(model, [pre_tokenizers.Digits(False), byte_level(True, prefix=True)])
    yield "split-behaviors", build(
        model,
        [
            split(r"\p{P}", "merged_with_previous"),
            split(r"[\p{S}a-c]", "merged_with_next"),
            split(r"\d", "contiguous"),
            split(r"[^\s]+", "isolated", invert=True),
            pre_tokenizers.Split("\u00a0", "removed"),
            split(r"\P{L}(?=\p{Lu})|(?<=\p{Nd})\D|x{,2}"),
            byte_level(False),
        ],
    )
    added = build(model, [byte_level(True)], normalizers.NFC())
    added.add_tokens(
        [
            AddedToken("des", single_word=True),
            AddedToken("##", lstrip=True, rstrip=True, normalized=False),
            AddedToken("e\u0301", normalized=True),
            AddedToken("<|end|>x", normalized=False),
        ]
    )
    yield "added-tokens", added


ADDED_STRINGS = [
    "des ades des_ des\u0301 (des) Ⓐdes des", "a  ## \u00a0b##c ## ##", "\u00e9e\u0301\u0301", "<|end|>x<|end|>", "##", " ## ",
]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strings", type=int, default=24, help="random strings per case")
    parser.add_argument("-o", "--output", default="src/text/testdata/tokenizer_golden.json")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    model = train(rng)
    lines = []
    for name, tokenizer in cases(model):
        parts = json.loads(tokenizer.to_str())
        ignore_merges = parts.pop("model")["ignore_merges"]
        tokenizer.encode_special_tokens = True
        texts = FIXED + (ADDED_STRINGS if name == "added-tokens" else [])
        texts += [random_text(rng) for _ in range(args.strings)]
        strings = [[text, tokenizer.encode(text, add_special_tokens=False).ids] for text in texts]
        case = {"name": name, "ignore_merges": ignore_merges, "tokenizer": parts, "strings": strings}
        lines.append(json.dumps(case, ensure_ascii=False, separators=(",", ":")))
    with open(args.output, "w", encoding="utf-8") as file:
        file.write('{"model": %s,\n"cases": [\n' % json.dumps(model, ensure_ascii=False, separators=(",", ":")))
        file.write(",\n".join(lines) + "\n]}\n")


if __name__ == "__main__":
    main()
