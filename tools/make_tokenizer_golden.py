#!/usr/bin/env python3
"""Writes src/text/testdata/tokenizer_golden.json and tokenizer_steps.json: small tokenizers and the ids that Hugging Face
tokenizers give for difficult strings. The first file has byte-level BPE. The second has BPE of characters and unigram
models with the steps around them.

Usage: make_tokenizer_golden.py [--seed N] [--strings N] [-o FOLDER]
Needs `pip install tokenizers sentencepiece`. Everything is made of seeded random text; no corpus, no vocabulary of any model. With a
large --strings the files are a fuzz run: point METAL_MARLIN_TOKENIZER_GOLDEN at the folder and run the test of src/text.

File: {"model": the "model" of tokenizer.json that all cases share,
       "cases": [{"name", "ignore_merges", "tokenizer": the rest of tokenizer.json, "strings": [[text, [id, ...]], ...]}]}
Encoded with special tokens in the text not parsed.
Steps: {"models": {name: the "model" of tokenizer.json},
        "cases": [{"name", "model": a name, "options": members of the model that differ, "special": whether special tokens
                   in the text are parsed, "tokenizer", "strings"}]}
"""
import argparse
import json
import pathlib
import random
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

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



# --- BPE of characters, unigram, and their steps ------------------------------------------------------------------------

SPACE = "\u2581"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
CHARSMAP_RULES = {"\u00e9": "e", "e\u0301": "E", "\uff21": "A", "\u3000": " ", "\u00df": "ss", "\u0301": "", "fi": "\ufb01"}


def space_model(rng):
    """BPE of characters in which U+2581 stands for a space, with the tokens of all bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<unk>", "<s>", "</s>"] + BYTES
    trainer = trainers.BpeTrainer(vocab_size=len(specials) + 70, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(training_text(rng, 400), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    # Runs of spaces, as language models have them.
    for size in (2, 3, 4):
        model["vocab"].setdefault(SPACE * size, len(model["vocab"]))
        model["merges"].append([SPACE * (size // 2), SPACE * (size - size // 2)])
    return model


def unigram_model(rng):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(training_text(rng, 400), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    model["vocab"] = [[token, round(score, 3)] for token, score in model["vocab"]]
    worst = min(score for _, score in model["vocab"])
    model["vocab"] += [[byte, round(worst - 1, 3)] for byte in BYTES if byte != "<0xE2>"]
    return model


def charsmap():
    """SentencePiece's own compilation of a few rules."""
    import base64

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    with tempfile.TemporaryDirectory() as folder:
        rules = pathlib.Path(folder) / "rules.tsv"
        lines = ["\t".join(" ".join(f"{ord(c):X}" for c in side) for side in rule) for rule in CHARSMAP_RULES.items()]
        rules.write_text("\n".join(lines) + "\n")
        prefix = str(pathlib.Path(folder) / "m")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e f g"] * 10), model_prefix=prefix, vocab_size=10, model_type="char",
            normalization_rule_tsv=str(rules), minloglevel=2,
        )  # fmt: skip
        model = sentencepiece_model_pb2.ModelProto()
        model.ParseFromString(pathlib.Path(prefix + ".model").read_bytes())
    return base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode()


def step_cases():
    """Name, model, options of the model, normalizer, pre-tokenizer, decoder, added tokens, whether specials are parsed."""
    prefixed = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    escaped = normalizers.Replace(" ", SPACE)
    bytes_too = {"byte_fallback": True, "fuse_unk": True}
    metaspace = pre_tokenizers.Metaspace
    decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    added = [
        AddedToken("des", single_word=True, normalized=True),
        AddedToken("##", lstrip=True, rstrip=True, normalized=False),
        AddedToken("e\u0301", normalized=True),
        AddedToken("  ", normalized=False),
        AddedToken("<tool>", normalized=False, rstrip=True),
        AddedToken("<|end|>", special=True, normalized=False),
        AddedToken("<|END|>", special=True, normalized=True, lstrip=True),
    ]
    yield "llama", "space", bytes_too, prefixed, None, decoder, [], False
    yield "llama-added", "space", bytes_too, prefixed, None, decoder, added, True
    yield "gemma", "space", bytes_too, escaped, pre_tokenizers.Split(" ", "merged_with_previous"), decoder, added[3:5], False
    for scheme in ("first", "always", "never"):
        yield f"metaspace-{scheme}", "space", bytes_too, None, metaspace(prepend_scheme=scheme, split=scheme != "first"), (
            decoders.Metaspace(prepend_scheme=scheme)
        ), added, scheme != "never"
    yield "unknown", "space", {"fuse_unk": False}, escaped, None, None, [], False
    yield "unknown-fused", "space", {"fuse_unk": True}, escaped, metaspace(), None, [], False
    yield "dropped", "space", {"unk_token": None}, None, pre_tokenizers.WhitespaceSplit(), None, [], False
    yield "whole-words", "space", {"ignore_merges": True} | bytes_too, None, metaspace(), None, [], False
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        yield form.lower(), "space", bytes_too, getattr(normalizers, form)(), None, None, added[:3], False
    yield "lowercase-strip", "space", bytes_too, normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Strip(), normalizers.Replace(Regex(r"\s+|(?=a)"), "-")]
    ), None, None, added, True
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        yield f"punctuation-{behavior}", "space", bytes_too, None, pre_tokenizers.Sequence(
            [pre_tokenizers.Punctuation(behavior), metaspace(prepend_scheme="first")]
        ), None, [], False
    yield "whitespace", "space", bytes_too, None, pre_tokenizers.Whitespace(), None, [], False
    yield "spelled-bytes", "space", bytes_too, None, pre_tokenizers.Sequence(
        [pre_tokenizers.ByteLevel(add_prefix_space=True), pre_tokenizers.Digits(), pre_tokenizers.Split(Regex("[0-9]"), "removed")]
    ), None, [], False
    yield "unigram", "unigram", {}, None, metaspace(), decoders.Metaspace(), added, True
    yield "unigram-whole", "unigram", {"byte_fallback": True}, prefixed, None, decoder, [], False
    yield "unigram-nfkc", "unigram", {}, normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(" {2,}"), " ")]
    ), metaspace(), None, [], False
    charsmap_step = {"type": "Precompiled", "precompiled_charsmap": charsmap()}
    yield "unigram-charsmap", "unigram", {}, charsmap_step, metaspace(), None, [], False


def write_steps(path, seed, count):
    rng = random.Random(seed)
    shared = {"space": space_model(rng), "unigram": unigram_model(rng)}
    lines = []
    for name, model, options, normalizer, pre_tokenizer, decoder, added, special in step_cases():
        parts = {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": shared[model] | options,
        }  # fmt: skip
        if isinstance(normalizer, dict):
            parts["normalizer"] = normalizer
        tokenizer = Tokenizer.from_str(json.dumps(parts))
        if normalizer is not None and not isinstance(normalizer, dict):
            tokenizer.normalizer = normalizer
        if pre_tokenizer is not None:
            tokenizer.pre_tokenizer = pre_tokenizer
        if decoder is not None:
            tokenizer.decoder = decoder
        for token in added:
            (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
        tokenizer.encode_special_tokens = not special
        parts = json.loads(tokenizer.to_str())
        del parts["model"]
        texts = (FIXED[:6:2] if name != "llama" else FIXED[::2]) + (ADDED_STRINGS if added else [])
        texts += ["<s> a</s><0x41> \u00e9e\u0301\uff21fi\u3000x", "<|end|> <|END|>\u00a0<tool>  a"]
        texts += [random_text(rng) for _ in range(count)]
        strings = [[text, tokenizer.encode(text, add_special_tokens=False).ids] for text in texts]
        case = {"name": name, "model": model, "options": options, "special": special, "tokenizer": parts, "strings": strings}
        lines.append(json.dumps(case, ensure_ascii=False, separators=(",", ":")))
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"models": %s,\n"cases": [\n' % json.dumps(shared, ensure_ascii=False, separators=(",", ":")))
        file.write(",\n".join(lines) + "\n]}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strings", type=int, help="random strings per case (default: 24, and 1 for the steps)")
    parser.add_argument("-o", "--output", default="src/text/testdata", help="a folder")
    args = parser.parse_args()
    output = pathlib.Path(args.output)
    write_steps(output / "tokenizer_steps.json", args.seed, args.strings or 1)
    rng = random.Random(args.seed)
    model = train(rng)
    lines = []
    for name, tokenizer in cases(model):
        parts = json.loads(tokenizer.to_str())
        ignore_merges = parts.pop("model")["ignore_merges"]
        tokenizer.encode_special_tokens = True
        texts = FIXED + (ADDED_STRINGS if name == "added-tokens" else [])
        texts += [random_text(rng) for _ in range(args.strings or 14)]
        strings = [[text, tokenizer.encode(text, add_special_tokens=False).ids] for text in texts]
        case = {"name": name, "ignore_merges": ignore_merges, "tokenizer": parts, "strings": strings}
        lines.append(json.dumps(case, ensure_ascii=False, separators=(",", ":")))
    with open(output / "tokenizer_golden.json", "w", encoding="utf-8") as file:
        file.write('{"model": %s,\n"cases": [\n' % json.dumps(model, ensure_ascii=False, separators=(",", ":")))
        file.write(",\n".join(lines) + "\n]}\n")


if __name__ == "__main__":
    main()
