#!/usr/bin/env python3
"""Compares ids of this program with Hugging Face tokenizers, built here from GGUF metadata or from a tokenizer.json.

Usage:
  metal-marlin inspect MODEL --tokenize TEXT > ours.txt          # one id per line
  check_tokenizer.py MODEL.gguf|tokenizer.json TEXT ours.txt     # exit 0 when all ids are equal
  check_tokenizer.py --ids ours.txt theirs.txt                   # just compares two files of ids

The text is encoded in one call, without BOS, special tokens in the text not parsed. The Hugging Face tokenizer of a GGUF
file is built here from the file's metadata alone, so it shares no code with the program.
Needs `pip install gguf tokenizers`.
"""
import argparse
import sys

GPT2, DIGITS_GPT2, QWEN2 = "gpt2", "digits-gpt2", "qwen2"
PRE = {"gpt-2": GPT2, "smollm": DIGITS_GPT2, "starcoder": DIGITS_GPT2, "qwen2": QWEN2}
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL_TYPES, USER_DEFINED = (2, 3), 4


def tokenizer_of_gguf(path):
    import gguf
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

    fields = gguf.GGUFReader(path).fields

    def get(key):
        return fields["tokenizer.ggml." + key].contents()

    assert get("model") == "gpt2", "not byte-level BPE"
    tokens = get("tokens")
    merges = [tuple(merge.split(" ")) for merge in get("merges")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    words = PRE[get("pre")]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words != QWEN2)
    steps = {
        GPT2: [byte_level],
        DIGITS_GPT2: [pre_tokenizers.Digits(individual_digits=True), byte_level],
        QWEN2: [pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated"), byte_level],
    }[words]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if words == QWEN2:
        tokenizer.normalizer = normalizers.NFC()
    for token, kind in zip(tokens, get("token_type")):
        added = AddedToken(token, normalized=False)
        if kind in SPECIAL_TYPES:
            tokenizer.add_special_tokens([added])
        elif kind == USER_DEFINED:
            tokenizer.add_tokens([added])
    return tokenizer


def theirs(model, text_path):
    from tokenizers import Tokenizer

    tokenizer = tokenizer_of_gguf(model) if model.endswith(".gguf") else Tokenizer.from_file(model)
    tokenizer.encode_special_tokens = True  # a special token in the text is text
    tokenizer.no_truncation()
    with open(text_path, encoding="utf-8", newline="") as file:
        return tokenizer.encode(file.read(), add_special_tokens=False).ids


def read_ids(path):
    with open(path) as file:
        return [int(line) for line in file]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", action="store_true", help="compare two files of ids")
    parser.add_argument("files", nargs="+", metavar="FILE")
    args = parser.parse_args()
    if len(args.files) != (2 if args.ids else 3):
        parser.error("wrong number of files; see the usage above")
    want = read_ids(args.files[1]) if args.ids else theirs(args.files[0], args.files[1])
    got = read_ids(args.files[0] if args.ids else args.files[2])
    for i, (a, b) in enumerate(zip(got, want)):
        if a != b:
            print(f"DIFFERENT at id {i}: ours {got[i:i + 8]}, theirs {want[i:i + 8]}")
            return 1
    if len(got) != len(want):
        print(f"DIFFERENT lengths: ours {len(got)}, theirs {len(want)}; equal up to the shorter")
        return 1
    print(f"equal: {len(got)} ids")
    return 0


if __name__ == "__main__":
    sys.exit(main())
