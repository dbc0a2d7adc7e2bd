"""Seeds of the targets that read texts: tokenizers of every kind and chat templates. make_seeds.py writes them."""

import base64
import struct

from seed_files import byte_alphabet, compact, write

# --- tokenizer.json ----------------------------------------------------------------------------------------------------


def tokenizers() -> None:
    vocabulary = {token: i for i, token in enumerate(byte_alphabet())} | {"he": 256, "hel": 257, "\u0120a": 258}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    bytes_only = byte_level | {"use_regex": False}

    def tokenizer(**change) -> dict:
        return {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": byte_level,
                "post_processor": None, "decoder": byte_level,
                "model": {"type": "BPE", "vocab": vocabulary, "merges": ["h e", "he l", "\u0120 a"]}} | change

    def seed(name: str, value: dict, config: str = "", text: str = "hello, a wörld 12345\n\n  It's\t日本\u0301") -> None:
        write("tokenizer", name, compact(value) + "\0" + config + "\0" + text)

    def split(pattern: dict, behavior: str = "Isolated", invert: bool = False) -> dict:
        return {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}, bytes_only]}

    end = {"id": 259, "content": "<|end|>", "single_word": False, "lstrip": True, "rstrip": True, "normalized": False,
           "special": True}
    words = r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    seed("accepted-byte-level", tokenizer())
    seed("accepted-regex", tokenizer(pre_tokenizer=split({"Regex": words})))
    for behavior in ("Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        seed(f"accepted-split-{behavior.lower()}", tokenizer(pre_tokenizer=split({"String": "l"}, behavior)))
    seed("accepted-digits", tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, byte_level | {"add_prefix_space": True}]}))
    seed("accepted-nfc", tokenizer(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]}))
    seed("accepted-added", tokenizer(added_tokens=[end]), '{"eos_token":"<|end|>","add_bos_token":false}',
         "hello <|end|> a")
    seed("accepted-bos", tokenizer(added_tokens=[end], post_processor={
        "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}],
        "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [259]}}}))
    seed("accepted-ignore-merges", tokenizer(model={
        "type": "BPE", "ignore_merges": True, "vocab": vocabulary, "merges": [["h", "e"], ["he", "l"]]}))
    characters = {"<unk>": 0, "<0xE6>": 1, "<0x97>": 2, "<0xA5>": 3, "\u2581": 4, "h": 5, "e": 6, "l": 7, "he": 8, "\u2581h": 9,
                  "\u2581he": 10, "ll": 11}
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    seed("accepted-characters", tokenizer(
        normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, space]}, pre_tokenizer=None,
        decoder={"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                                                  {"type": "ByteFallback"}, {"type": "Fuse"},
                                                  {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        model={"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": characters,
               "merges": [["\u2581", "h"], ["\u2581h", "e"], ["h", "e"], ["l", "l"]]}))
    seed("accepted-unigram", tokenizer(
        normalizer={"type": "Sequence", "normalizers": [
            {"type": "NFKC"}, {"type": "Strip", "strip_left": True, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}, {"type": "Lowercase"}]},
        pre_tokenizer={"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Contiguous"},
            {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}]},
        decoder={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True},
        model={"type": "Unigram", "unk_id": 0, "byte_fallback": False,
               "vocab": [[token, -float(id)] for token, id in characters.items()]}))
    seed("accepted-spelled-bytes", tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": [
        byte_level, {"type": "Digits", "individual_digits": False}, {"type": "Whitespace"}]}))
    seed("invalid-charsmap", tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "CAAAAAAAAAA="}))
    seed("unsupported-kind", tokenizer(model={"type": "WordPiece", "vocab": {}}))
    seed("unsupported-pattern", tokenizer(pre_tokenizer=split({"Regex": r"(?<name>a)\k<name>"})))
    seed("unsupported-vocabulary", tokenizer(model={"type": "BPE", "vocab": {"a": 0}, "merges": []}))
    seed("invalid-ids", tokenizer(model={"type": "BPE", "vocab": {"a": 5}, "merges": []}))
    seed("invalid-merge", tokenizer(model={"type": "BPE", "vocab": vocabulary, "merges": ["x y"]}))
    seed("invalid-added", tokenizer(added_tokens=[end | {"id": 300}]))
    write("tokenizer", "invalid-text", compact(tokenizer()).encode() + b"\0\0\xff\xfe")
    write("tokenizer", "invalid-cut", compact(tokenizer())[:-9])


# --- chat templates ----------------------------------------------------------------------------------------------------


def chat_templates() -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <b> \u00e9"},
            {"role": "assistant", "content": [{"type": "text", "text": "Ho"}], "tool_calls": [{"a": 1, "b": [None, 1.5]}]}]

    def seed(name: str, template: str, messages=None) -> None:
        write("jinja", name, template + "\0" + compact(chat if messages is None else messages))

    seed("accepted-plain", "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m['content'] | trim }}\n{% endfor %}")
    seed("accepted-loop", "{%- for m in messages if m.role != 'system' -%} {{ loop.index0 }}{{ loop.last }}{{ loop.nextitem }}"
                          "{% if loop.index > 1 %}{% break %}{% else %}{% continue %}{% endif %}{%- endfor -%}")
    seed("accepted-macro", "{% macro show(m, end='.') -%}{{ m.role|upper ~ end }}"
                           "{%- endmacro %}{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
                           "{{ show(m, end=ns.n) }}{% endfor %}")
    seed("accepted-json", "{{ messages|tojson(indent=2) }}{{ messages[-1].tool_calls|tojson(ensure_ascii=true, sort_keys=true) }}")
    seed("accepted-filters", "{{ messages|map(attribute='role')|unique|join(',') }}{{ messages|selectattr('role', 'eq', 'user')|list|length }}"
                             "{{ messages[0]|dictsort }}{{ [3, 1]|sort|first + 2 ** 3 // 2 % 5 }}{{ 'a b'|title|replace('A', 'x')|indent(2) }}")
    seed("accepted-methods", "{{ messages[1].content.split(' ')[-1].upper()[::-1] }}{% for k, v in messages[0].items() %}{{ k }}={{ v }}{% endfor %}"
                             "{{ '{}'.format(1) }}{{ 'x' if messages[0].get('z') is none else 'y' }}{{ 1 < 2 < 3 and not 'a' in 'b' }}")
    seed("accepted-whitespace", " a\n  {%- if true -%}\n b {%+ endif +%}\n{# c -#}  {% raw %}{{ x }}{% endraw %}\n{% generation %}g{% endgeneration %}\n")
    seed("accepted-set", "{% set a, b = 1, 'x' %}{% set c | trim %} {{ a }}{{ b }} {% endset %}{{ c }}{% filter upper %}y{% endfilter %}")
    seed("invalid-raise", "{{ raise_exception('no ' ~ messages|length) }}")
    seed("invalid-undefined", "{{ nothing.x }}")
    seed("invalid-types", "{{ messages + 1 }}")
    seed("invalid-change", "{{ messages.append(1) }}")
    seed("invalid-open", "{% for m in messages %}{{ m }}")
    seed("invalid-brackets", "{{ ([)] }}")
    seed("invalid-power", "{{ -1 ** }}")
    seed("invalid-character", "{{ $ab\u00e9 }}")
    seed("invalid-messages", "x", {"role": "user"})
    seed("unsupported-filter", "{{ messages|groupby('role') }}")
    seed("unsupported-tag", "{% include 'x' %}")
    seed("unsupported-loop-without-end", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")
    seed("unsupported-recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")
    seed("unsupported-doubling", "{% set ns = namespace(a='ab') %}{% for i in range(99) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}")
    seed("unsupported-deep", "{{ " + "(" * 500 + "1" + ")" * 500 + " }}")


# --- tokenizer.model and tekken.json ------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def sentencepiece_models() -> None:
    def piece(text: str, score: float, kind: int = 1) -> bytes:
        return message(1, message(1, text.encode()) + b"\x15" + struct.pack("<f", score) + number(3, kind))

    pieces = b"".join(
        [piece("<unk>", 0, 2), piece("<s>", 0, 3), piece("</s>", 0, 3), piece("a", -4), piece("b", -5), piece("\u2581", -6),
         piece("ab", -1), piece("\u2581a", -2), piece("\u2581\u2581", -3), piece("#\u2581#", 0, 4), piece("<0xC3>", -9, 6),
         piece("<0xA9>", -9, 6)])  # fmt: skip
    # A trie without rules: no label equals its byte.
    charsmap = struct.pack("<II", 4, 1 << 10) + b"x\0"
    text = "ab  a# #\u00e9 <s>\0".encode()

    def seed(name: str, kind: int, prefix: int, tidy: int, charsmap: bytes = b"", **options: int) -> None:
        trainer = message(2, number(3, kind) + number(35, options.get("fallback", 1)) + number(24, options.get("suffix", 0)))
        normalizer = message(3, message(2, charsmap) + number(3, prefix) + number(4, tidy))
        write("sentencepiece", name, text + pieces + trainer + normalizer)

    seed("accepted-bpe", 2, 1, 0)
    seed("accepted-bpe-tidy", 2, 1, 1)
    seed("accepted-unigram", 1, 1, 1, fallback=0)
    seed("accepted-charsmap", 1, 0, 0, charsmap)
    seed("unsupported-words", 3, 1, 0)
    seed("unsupported-suffix", 2, 1, 0, suffix=1)
    seed("invalid-charsmap", 2, 1, 0, b"abc")
    write("sentencepiece", "invalid-cut", text + pieces[:-3])
    write("sentencepiece", "invalid-twice", text + piece("a", 0) + piece("a", 0))
    write("sentencepiece", "invalid-nothing", text)
    write("sentencepiece", "invalid-text", b"\xff\0" + pieces)


def tekkens() -> None:
    tokens = [bytes([byte]) for byte in range(256)] + [b"ab", b"abc", b" a", b"not used"]
    vocabulary = [{"rank": i, "token_bytes": base64.b64encode(token).decode()} for i, token in enumerate(tokens)]

    def seed(name: str, config: dict, text: str = "abc ab\u00e9 12<s>", **members) -> None:
        whole = {"pattern": r" ?\p{L}+|\p{N}|[^\p{L}\p{N}]", "num_vocab_tokens": 260, "default_vocab_size": 264,
                 "default_num_special_tokens": 5, "version": "v3"} | config  # fmt: skip
        write("tekken", name, compact({"config": whole, "vocab": vocabulary} | members) + "\0" + text)

    specials = [{"rank": 1, "token_str": "<s>", "is_control": True}]
    seed("accepted-old", {})
    seed("accepted-special-tokens", {}, special_tokens=specials)
    seed("unsupported-pattern", {"pattern": r"\w+"})
    seed("unsupported-member", {"merges": []})
    seed("invalid-sizes", {"default_vocab_size": 5})
    seed("invalid-too-few", {"default_vocab_size": 1000})
    seed("invalid-rank", {}, vocab=vocabulary[1:])
    seed("invalid-special-token", {}, special_tokens=specials * 2)
