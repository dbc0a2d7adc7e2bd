"""Makes GGUF files of the tiny checkpoints with llama.cpp's own converter.

    python tools/make_tiny_ggufs.py LLAMA_CPP src/model/testdata [NAME...]

LLAMA_CPP is a folder with llama.cpp's convert_hf_to_gguf.py. Needs torch, transformers, tokenizers, sentencepiece. The checkpoints get
tiny tokenizers, trained here on the sample text. Their pre-tokenizers are not among those that the converter knows by a hash, so its
look-up is replaced; nothing else is.
"""

import json
import pathlib
import runpy
import shutil
import sys
import tempfile

import sentencepiece
import tokenizers

VOCABULARY = 300
SAMPLE = pathlib.Path(__file__).resolve().parent.parent / "data" / "sample"
# Families whose published models have SentencePiece tokenizers; the others are byte-level.
SENTENCEPIECE = {"tiny-gemma2", "tiny-gemma3", "tiny-phi3", "tiny-ministral3"}
# BPE with byte fallback in tokenizer.json.
FALLBACK = {"tiny-gemma4", "tiny-gemma4-e"}
# Those that the converter reads with classes of transformers want these tokens.
ADDED = ["<|endoftext|>", "<|user|>"]


def sample_text() -> str:
    return "\n".join(path.read_text() for path in sorted(SAMPLE.glob("*.txt")))


def write_sentencepiece(folder: pathlib.Path) -> None:
    text = folder / "sample.txt"
    text.write_text(sample_text())
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), vocab_size=VOCABULARY, model_type="bpe", byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", minloglevel=2)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))


def write_byte_level(folder: pathlib.Path) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(ADDED), initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([sample_text()], trainer)
    tokenizer.add_special_tokens(ADDED)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def write_fallback(folder: pathlib.Path) -> None:
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.normalizer = tokenizers.normalizers.Replace(" ", "\u2581")
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY, limit_alphabet=25, special_tokens=special + [f"<0x{byte:02X}>" for byte in range(256)])
    trained.train_from_iterator(sample_text().split("\n"), trainer)
    model = json.loads(trained.to_str())["model"]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = tokenizers.normalizers.Replace(" ", "\u2581")
    decoders = tokenizers.decoders
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def convert(llama_cpp: pathlib.Path, checkpoint: pathlib.Path, out: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name in ("config.json", "model.safetensors"):
            shutil.copy(checkpoint / name, folder / name)
        config = json.loads((folder / "config.json").read_text())
        if config["model_type"] == "gpt2":
            config["n_ctx"] = config["n_positions"]  # as in the published file; the converter wants it
        (folder / "config.json").write_text(json.dumps(config))
        if checkpoint.name in SENTENCEPIECE:
            write_sentencepiece(folder)
        elif checkpoint.name in FALLBACK:
            write_fallback(folder)
        else:
            write_byte_level(folder)
        sys.argv = ["convert_hf_to_gguf.py", str(folder), "--outtype", "bf16", "--outfile", str(out), "--model-name", checkpoint.name]
        runpy.run_path(str(llama_cpp / "convert_hf_to_gguf.py"), run_name="__main__")


def main(llama_cpp: pathlib.Path, testdata: pathlib.Path, names: list[str]) -> None:
    sys.path.insert(0, str(llama_cpp))
    sys.path.insert(0, str(llama_cpp / "gguf-py"))
    from conversion.base import ModelBase, TextModel
    TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    load = ModelBase.load_hparams

    def load_with_old_keys(*args, **kwargs):
        """The converter wants a key of GPT-NeoX that transformers 5 does not write any more."""
        hparams = load(*args, **kwargs)
        if hparams.get("model_type") == "gpt_neox":
            hparams["rotary_pct"] = hparams["rope_parameters"]["partial_rotary_factor"]
        return hparams

    ModelBase.load_hparams = staticmethod(load_with_old_keys)
    for name in names:
        convert(llama_cpp, testdata / name, testdata / f"{name}.gguf")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:])
