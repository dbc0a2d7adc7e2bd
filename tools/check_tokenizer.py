#!/usr/bin/env python3
"""Compares ids of this program with Hugging Face tokenizers, built here from GGUF metadata or from a tokenizer.json.

Usage:
  metal-marlin inspect MODEL --tokenize TEXT > ours.txt          # one id per line
  check_tokenizer.py MODEL.gguf|tokenizer.json TEXT ours.txt     # exit 0 when all ids are equal
  check_tokenizer.py --ids ours.txt theirs.txt                   # just compares two files of ids
  check_tokenizer.py --test build/release/marlin_text_test [--speed] TEXT FILE...

The last form encodes TEXT and texts that are made here to be difficult, with the special tokens in them parsed and not.
A FILE is a GGUF file, which may have a vocabulary only, or a folder with tokenizer.json, tekken.json or tokenizer.model. The
ids are compared with Hugging Face tokenizers on the tokenizer.json that the program writes; of a tokenizer.model also with
sentencepiece, of a tekken.json with mistral_common, of FILE.gguf with FILE.gguf.inp and .out, where these stand beside it.

In the first form the text is encoded in one call, without BOS, special tokens in the text not parsed. The Hugging Face tokenizer of a GGUF
file is built here from the file's metadata alone, so it shares no code with the program.
Needs `pip install gguf tokenizers`, and sentencepiece, mistral_common for the last form.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

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


# What tokenizers treat in different ways.
ALPHABETS = [
    "abcdefgSTLDMREVK", "'’ʼ", "0123456789", " ", "  \t", "\r\n", ".,;:!?-_()[]{}<>=+*/\\|@#$%^&~`\"", "àéîõüßſKİıǅ",
    "\u0300\u0301\u0323\u0308\u0345\u0338", "АБВгдежз", "αβγΔΩς", "中文字漢龥一", "かなカナｶﾅガ\u3099",
    "한국어각\u1100\u1161\u11a8", "אבגשלום\u05b0", "عربي\u064b\u0660\u0669ﷺ", "देवनागरी०९क्ष", "ไทย๑๒ำ",
    "🙂👍🏽👨\u200d👩\u200d👧🇩🇪🏴\U000e0067\U000e007f❤\ufe0f1\u20e3", "½²³¹Ⅷ①৪፩ⅳ㊿",
    "\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u0085\u180e\u200b\ufeff\u2000", "\x00\x01\x1f\x7f\x0b\x0c\x1c", "\u2581\u2581_ ",
    "\u212b\u2126\u1e9b\ufb01\u0958", "\U00031350\U0002ebf0\U000105c0\U00010d40\U00016d70\U00011de0\U0001fae8", "\u0120\u010aâĭ",
    "\ufffd\ufffe\uffff\U0010ffff\ue000\U000f0000",
]  # fmt: skip
SPECIAL_TEXTS = ["<s>", "</s>", "<unk>", "<bos>", "<|endoftext|>", "<|im_start|>", "[INST]", "<0x41>", "<|end|>", "<start_of_turn>"]


def difficult_texts(text, seed=1, count=3000):
    """Every plane, mixed scripts, long runs, a megabyte without a space, special tokens spelled in the text."""
    rng = random.Random(seed)
    texts = ["", " ", "\n", "a" * 3000, "ab" * 2000, " " * 100 + "x", "  " * 33, "\n" * 70, "\t" * 40 + "x", "1" * 500, " a  "]
    texts += ["ée\u0301" * 200, "漢字" * 500, "🙂" * 300, "👩\u200d👩\u200d👧" * 50, "\u0301" * 200]
    for start in range(0, 0x110000, 0x400):
        if not 0xD800 <= start < 0xE000:
            texts.append("".join(chr(start + rng.randrange(0x400)) for _ in range(8)))
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 10)):
            if rng.random() < 0.1:
                parts.append(rng.choice(SPECIAL_TEXTS))
            else:
                alphabet = rng.choice(ALPHABETS)
                length = rng.choice([1, 1, 2, 3, 5]) if rng.random() < 0.95 else rng.randint(10, 60)
                parts.append("".join(rng.choice(alphabet) for _ in range(length)))
        texts.append("".join(parts))
    return texts + [text, "".join(text.split())[:1000000], "a" * 1000000, " " * 100000 + "x" + "\n" * 100000]


def inp_and_out(path):
    """The texts and ids beside a vocabulary of llama.cpp."""
    if not os.path.exists(path + ".out"):
        return [], []
    with open(path + ".inp", encoding="utf-8", newline="") as file:
        texts = file.read().split("\n__ggml_vocab_test__\n")
    with open(path + ".out") as file:
        ids = [[int(word) for word in line.split()] for line in file]
    return texts[: len(ids)], ids


def other_programs(path, document):
    """Name and a function from a text and whether special tokens are parsed to ids; None = not compared."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(document)
    tokenizer.no_truncation()

    def huggingface(text, special):
        tokenizer.encode_special_tokens = not special
        return tokenizer.encode(text, add_special_tokens=False).ids

    yield "tokenizers", huggingface
    folder = pathlib.Path(path)
    if (folder / "tokenizer.model").exists() and not (folder / "tokenizer.json").exists():
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
        yield "sentencepiece", lambda text, special: None if special or len(text) > 400000 else processor.encode(text)
    if (folder / "tekken.json").exists() and not (folder / "tokenizer.json").exists():
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer

        tekken = Tekkenizer.from_file(folder / "tekken.json")
        # Its merges take quadratic time on one long word.
        yield "mistral_common", lambda text, special: None if special or len(text) > 400000 else tekken.encode(text, False, False)


def check_file(path, texts, given, lines, document):
    """Prints a line for each comparison; gives the number of differences."""
    got = [[int(word) for word in line.split()] for line in lines]
    total = 0
    for name, encode in other_programs(path, document):
        differences = compared = ids = 0
        for i, ours in enumerate(got):
            want = encode(texts[i % len(texts)], i >= len(texts))
            if want is None:
                continue
            compared, ids = compared + 1, ids + len(want)
            if want != ours:
                differences += 1
                if differences == 1:
                    print(f"  first difference: {texts[i % len(texts)][:60]!r}: ours {ours[:12]}, theirs {want[:12]}")
        print(f"{path}: {name}: {compared} texts, {ids} ids, differences {differences}", flush=True)
        total += differences
    if given:
        differences = sum(want != ours for want, ours in zip(given, got))
        print(f"{path}: llama.cpp's .out: {len(given)} texts, differences {differences}", flush=True)
        total += differences
    return total


def print_speed(path, text, seconds, document):
    """The best of five calls that encode the whole text, both on one thread, one after the other."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(document)
    tokenizer.no_truncation()
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        tokenizer.encode(text, add_special_tokens=False)
        times.append(time.perf_counter() - begin)
    megabytes = len(text.encode()) / 1e6
    print(f"{path}: ours {megabytes / seconds:.1f} MB/s, tokenizers {megabytes / min(times):.1f} MB/s", flush=True)


def check_files(program, text_path, paths, speed):
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with open(text_path, encoding="utf-8", newline="") as file:
        difficult = difficult_texts(file.read(), count=0 if speed else 3000)
    total = 0
    for path in paths:
        given_texts, given = inp_and_out(path)
        with tempfile.TemporaryDirectory() as folder:
            texts = given_texts + difficult
            check = {"files": [os.path.abspath(path)], "texts": texts, "timed": len(texts) - 4}
            (pathlib.Path(folder) / "check.json").write_text(json.dumps(check))
            run = subprocess.run(
                [program, "--gtest_filter=TokenizerCheck.*"], env=os.environ | {"METAL_MARLIN_TOKENIZER_CHECK": folder},
                capture_output=True, text=True,
            )  # fmt: skip
            if run.returncode != 0:
                print(f"{path}: {[line for line in run.stdout.splitlines() if str(path) in line or 'rror' in line][:3]}")
                total += 1
                continue
            lines = (pathlib.Path(folder) / "0.ids").read_text().splitlines()
            document = (pathlib.Path(folder) / "0.json").read_text()
            if speed:
                print_speed(path, texts[-4], float((pathlib.Path(folder) / "0.seconds").read_text()), document)
            else:
                total += check_file(path, texts, given, lines, document)
    return 1 if total else 0


def read_ids(path):
    with open(path) as file:
        return [int(line) for line in file]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", action="store_true", help="compare two files of ids")
    parser.add_argument("--test", metavar="PROGRAM", help="the tests of src/text, which encode for this script")
    parser.add_argument("--speed", action="store_true", help="with --test: print megabytes of TEXT per second instead")
    parser.add_argument("files", nargs="+", metavar="FILE")
    args = parser.parse_args()
    if args.test:
        return check_files(args.test, args.files[0], args.files[1:], args.speed)
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
