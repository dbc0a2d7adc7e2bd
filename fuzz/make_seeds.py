"""Writes the seeds of the fuzz targets into fuzz/corpus: tiny files of every kind, whole and broken, the same at every run.

The name of a seed begins with what the parser says of it (fuzz/corpus_test.cc). Inputs that fuzzing found lie beside
them and are not touched.
"""

import glob
import hashlib
import io
import json
import os
import struct
import zipfile
import zlib

from seed_files import ROOT, byte_alphabet, compact, write
from text_seeds import chat_templates, sentencepiece_models, tekkens, tokenizers

# --- zip ---------------------------------------------------------------------------------------------------------------


def zip_bytes(entries: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.comment = comment
        for name, data in entries:
            info = zipfile.ZipInfo(name, (1990, 1, 1, 0, 0, 0))
            info.compress_type = method
            archive.writestr(info, data)
    return out.getvalue()


def archives() -> None:
    text = b" = Heading = \n\n some words of a text \n" * 20
    member = "wikitext-2-raw/wiki.test.raw"
    write("archive", "accepted-deflate", zip_bytes([("wikitext-2-raw/wiki.train.raw", b"other"), (member, text)]))
    write("archive", "accepted-stored", zip_bytes([(member, text)], zipfile.ZIP_STORED, b"a comment"))
    write("archive", "unsupported-bzip2", zip_bytes([("wiki.test.raw", text)], zipfile.ZIP_BZIP2))
    write("archive", "unsupported-lzma", zip_bytes([("wiki.test.raw", text)], zipfile.ZIP_LZMA))
    write("archive", "accepted-empty-file", zip_bytes([("wiki.test.raw", b"")]))
    write("archive", "invalid-no-such-file", zip_bytes([("wiki.valid.raw", text)]))
    write("archive", "invalid-leads-out", zip_bytes([("../../wiki.test.raw", text)]))
    write("archive", "invalid-absolute", zip_bytes([("/wiki.test.raw", text)]))
    write("archive", "invalid-folder", zip_bytes([("wiki.test.raw/", b"")]))
    write("archive", "invalid-too-long", zip_bytes([("wiki.test.raw", bytes(1 << 21))]))
    whole = zip_bytes([(member, text)])
    write("archive", "invalid-cut", whole[: len(whole) // 4])
    write("archive", "invalid-wrong-crc", whole.replace(struct.pack("<I", zlib.crc32(text)), b"\1\2\3\4"))
    write("archive", "invalid-empty", b"")


# --- config.json -------------------------------------------------------------------------------------------------------

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "vocab_size": 32,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}
QWEN2 = LLAMA | {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "head_dim": 16, "use_sliding_window": False,
    "sliding_window": 4096, "rope_scaling": None,
}
QWEN3 = LLAMA | {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 48, "attention_bias": False,
    "use_sliding_window": False, "sliding_window": None,
}
SCALING = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 32}
OURS = {"quantization_config": {"quant_method": "metal-marlin", "metal_marlin": {
    "method": "mse", "plan": {"model.layers.0.mlp.up_proj": "int4-g64"},
    "calibration": {"text": "wikitext2", "sha256": "ab", "windows": 8, "ctx": 128}}}}
THEIRS = {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {
    "group_0": {"targets": ["Linear"], "weights": {
        "num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": 64}}}}}

MLX = {"quantization": {"group_size": 64, "bits": 4, "mode": "affine"}, "quantization_config": {"quant_method": "mlx", "metal_marlin": {
    "method": "rtn", "plan": {"model.layers.0.mlp.up_proj": "int4-g64"}}}}


def configs() -> None:
    write("config", "accepted-llama", compact(LLAMA))
    write("config", "accepted-qwen2", compact(QWEN2))
    write("config", "accepted-qwen3", compact(QWEN3))
    write("config", "accepted-llama3-scaling", compact(LLAMA | {"rope_scaling": SCALING}))
    write("config", "accepted-linear-scaling", compact(LLAMA | {"rope_scaling": {"type": "linear", "factor": 2}}))
    write("config", "accepted-quantized", compact(LLAMA | OURS))
    write("config", "accepted-compressed-tensors", compact(LLAMA | THEIRS))
    write("config", "accepted-mlx", compact(LLAMA | MLX))
    yarn = {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 32}
    write("config", "accepted-yarn", compact(LLAMA | {"rope_scaling": yarn}))
    write("config", "invalid-yarn", compact(LLAMA | {"rope_scaling": {"rope_type": "yarn", "factor": 4}}))
    pairs = LLAMA["hidden_size"] // LLAMA["num_attention_heads"] // 2
    write("config", "accepted-longrope", compact(LLAMA | {
        "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "sliding_window": 9, "rope_scaling": {
            "type": "longrope", "short_factor": [1.5] * pairs, "long_factor": [3] * pairs, "original_max_position_embeddings": 32}}))
    write("config", "accepted-gemma3", compact(LLAMA | {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "sliding_window": 9, "head_dim": 16,
        "layer_types": ["sliding_attention", "full_attention"][:LLAMA["num_hidden_layers"]], "query_pre_attn_scalar": 16,
        "rope_local_base_freq": 10000.0, "final_logit_softcapping": 30.0}))
    write("config", "unsupported-architecture", compact(LLAMA | {"architectures": ["MambaForCausalLM"]}))
    write("config", "unsupported-dynamic", compact(LLAMA | {"rope_scaling": {"rope_type": "dynamic", "factor": 4}}))
    write("config", "unsupported-activation", compact(LLAMA | {"hidden_act": "relu"}))
    write("config", "invalid-heads", compact(LLAMA | {"num_key_value_heads": 3}))
    write("config", "invalid-text-as-size", compact(LLAMA | {"hidden_size": "64"}))
    write("config", "invalid-twice", compact(LLAMA)[:-1] + ',"hidden_size":64}')
    write("config", "invalid-deep", '{"a":' + "[" * 100 + "]" * 100 + "}")
    write("config", "invalid-cut", compact(LLAMA)[:-20])


# --- answers of a server -----------------------------------------------------------------------------------------------


def response(status: str, body: str = "", *headers: str, length: bool = True) -> str:
    lines = ["HTTP/1.1 " + status, *headers] + ([f"Content-Length: {len(body)}"] if length else [])
    return "\r\n".join(lines) + "\r\n\r\n" + body


def downloads() -> None:
    def answers(name: str, *responses: str) -> None:
        write("download", name, "\n====\n".join(responses))

    tag = 'ETag: "v1"'
    part = response("200 OK", "0123456789", tag).replace("Content-Length: 10", "Content-Length: 20")
    answers("accepted-whole", response("200 OK", "0123456789", tag))
    answers("accepted-until-closed", response("200 OK", "0123456789", "Connection: close", length=False))
    answers("accepted-chunked", response("200 OK", "5\r\n01234\r\n5;x=y\r\n56789\r\n0\r\nETag: trailer\r\n\r\n",
                                         "Transfer-Encoding: chunked", length=False))
    answers("accepted-continued", part,
            response("206 Partial Content", "abcdefghij", tag, "Content-Range: bytes 10-19/20"))
    answers("accepted-begun-again", part, response("416 Range Not Satisfiable", "", "Content-Range: bytes */10"),
            response("200 OK", "0123456789", 'ETag: "v2"'))
    answers("accepted-redirect", response("302 Found", "", "Location: http://127.0.0.1:8080/other"),
            response("200 OK", "0123456789"))
    answers("accepted-dated", part.replace(tag, "Last-Modified: Mon, 01 Jan 1990 00:00:00 GMT"),
            response("206 Partial Content", "abcdefghij", "last-modified: Mon, 01 Jan 1990 00:00:00 GMT",
                     "content-range: bytes 10-19/20"))
    answers("accepted-interim", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + response("200 OK", "0123456789"))
    answers("invalid-redirect-leads-out", response("301 Moved", "", "Location: ftp://127.0.0.1/other"))
    answers("invalid-redirect-over-https", response("302 Found", "", "Location: https://127.0.0.1/other"),
            response("200 Connection established"), "no TLS")
    answers("invalid-redirects-for-ever", *[response("307 Again", "", "Location: /again")] * 7)
    answers("invalid-too-long", response("200 OK", "", "Content-Length: 99999999999", length=False))
    answers("invalid-not-found", response("404 Not Found", "<html></html>"))
    answers("invalid-busy", response("503 Busy", "", "Retry-After: 120"))
    answers("invalid-wrong-part", part,
            response("206 Partial Content", "abcdefghij", tag, "Content-Range: bytes 5-14/20"),
            response("206 Partial Content", "abcdefghij", tag, "Content-Range: bytes 18446744073709551615-/0"))
    answers("invalid-part-unasked", response("206 Partial Content", "01234", tag, "Content-Range: bytes 0-4/*"))
    answers("invalid-part-of-unknown-size", part,
            response("206 Partial Content", "abcde", tag, "Content-Range: bytes 10-14/*"))
    answers("invalid-part-of-nothing", part,
            response("206 Partial Content", "abcde", tag, "Content-Range: bytes 10-14/0"))
    answers("invalid-cut", part, part, part)
    answers("invalid-nonsense", "SSH-2.0-OpenSSH_9.2\r\n")


# --- GGUF --------------------------------------------------------------------------------------------------------------

U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10


def gguf_text(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def pair(key: str, kind: int, value) -> bytes:
    formats = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q"}
    if kind == STRING:
        data = gguf_text(value)
    elif kind == ARRAY:
        of, items = value
        data = struct.pack("<IQ", of, len(items)) + b"".join(
            gguf_text(item) if of == STRING else struct.pack(formats[of], item) for item in items)
    else:
        data = struct.pack(formats[kind], value)
    return gguf_text(key) + struct.pack("<I", kind) + data


# ggml's number of a type, weights and bytes of a block
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22),
         "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110),
         "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "IQ4_NL": (20, 32, 18),
         "IQ4_XS": (23, 256, 136), "BF16": (30, 1, 2), "MXFP4": (39, 32, 17), "NVFP4": (40, 64, 36), "IQ3_S": (21, 256, 110)}


def gguf(pairs: list[bytes], tensors: list[tuple[str, str, list[int]]], version: int = 3) -> bytes:
    """tensors: name, type, dimensions with the fastest first. Their bytes follow a fixed pattern."""
    entries, data = b"", b""
    for name, kind, dims in tensors:
        number, weights, size = TYPES[kind]
        count = 1
        for dim in dims:
            count *= dim
        entries += gguf_text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        entries += struct.pack("<IQ", number, len(data))
        data += bytes(i * 7 % 60 for i in range(count // weights * size))
        data += bytes(-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs) + entries
    return head + bytes(-len(head) % 32) + data


def gguf_tokenizer(pre: str = "gpt-2") -> list[bytes]:
    tokens = byte_alphabet() + ["he", "hel", "<|end|>"]
    return [pair("tokenizer.ggml.model", STRING, "gpt2"), pair("tokenizer.ggml.pre", STRING, pre),
            pair("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
            pair("tokenizer.ggml.merges", ARRAY, (STRING, ["h e", "he l"])),
            pair("tokenizer.ggml.token_type", ARRAY, (I32, [1] * 258 + [3])),
            pair("tokenizer.ggml.bos_token_id", U32, 258), pair("tokenizer.ggml.eos_token_id", U32, 258),
            pair("tokenizer.ggml.add_bos_token", BOOL, True)]


def gguf_model(architecture: str, hidden: int = 32) -> list[bytes]:
    sizes = {"embedding_length": hidden, "feed_forward_length": 32, "block_count": 1, "context_length": 64,
             "attention.head_count": 2, "attention.head_count_kv": 1}
    return [pair("general.architecture", STRING, architecture),
            *[pair(f"{architecture}.{key}", U32, value) for key, value in sizes.items()],
            pair(f"{architecture}.attention.layer_norm_rms_epsilon", F32, 1e-5),
            pair(f"{architecture}.rope.freq_base", F32, 10000.0)]


def gguf_tensors(kind: str, vocabulary: int = 4, bias: bool = False) -> list[tuple[str, str, list[int]]]:
    shapes = {"attn_q": [32, 32], "attn_k": [32, 16], "attn_v": [32, 16], "attn_output": [32, 32],
              "ffn_gate": [32, 32], "ffn_up": [32, 32], "ffn_down": [32, 32]}
    tensors = [("token_embd.weight", "F16", [32, vocabulary]), ("output_norm.weight", "F32", [32]),
               ("blk.0.attn_norm.weight", "F32", [32]), ("blk.0.ffn_norm.weight", "F32", [32])]
    tensors += [(f"blk.0.{name}.weight", kind, shape) for name, shape in shapes.items()]
    if bias:
        tensors += [(f"blk.0.{name}.bias", "F32", shapes[name][1:]) for name in ("attn_q", "attn_k", "attn_v")]
    return tensors


def ggufs() -> None:
    whole = gguf(gguf_model("llama"), gguf_tensors("Q4_0"))
    write("gguf", "accepted-llama", whole)
    write("gguf", "accepted-llama-v2", gguf(gguf_model("llama"), gguf_tensors("IQ4_NL"), 2))
    write("gguf", "accepted-qwen2", gguf(gguf_model("qwen2"), gguf_tensors("Q8_0", bias=True)))
    norms = [(f"blk.0.attn_{name}_norm.weight", "F32", [16]) for name in "qk"]
    write("gguf", "accepted-qwen3", gguf(gguf_model("qwen3"), gguf_tensors("Q8_0") + norms))
    for pre in ("gpt-2", "llama-bpe", "default"):
        write("gguf", f"accepted-tokenizer-{pre}",
              gguf(gguf_model("llama") + gguf_tokenizer(pre), [("token_embd.weight", "F16", [32, 1])]))
    scaled = gguf_model("llama") + [pair("llama.rope.scaling.type", STRING, "linear"),
                                    pair("llama.rope.scaling.factor", F32, 2.0), pair("general.alignment", U32, 32)]
    write("gguf", "accepted-linear-scaling", gguf(scaled, gguf_tensors("MXFP4")))
    blocks = [(f"blk.0.{name}.weight", kind, [256, 2]) for name, kind in zip(
        ("attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"), ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"))]
    write("gguf", "accepted-k-blocks", gguf(gguf_model("llama", 256), [("token_embd.weight", "IQ4_XS", [256, 2])] + blocks))
    small = [(f"blk.0.{name}.weight", kind, [32, 2]) for name, kind in zip(
        ("attn_v", "attn_output", "ffn_gate", "ffn_up"), ("Q4_1", "Q5_0", "Q5_1", "BF16"))]
    write("gguf", "accepted-small-blocks", gguf(gguf_model("llama"), [("token_embd.weight", "F32", [32, 2])] + small))
    write("gguf", "unsupported-architecture", gguf(gguf_model("mamba"), gguf_tensors("F32")))
    write("gguf", "unsupported-type", gguf(gguf_model("llama"), [("token_embd.weight", "IQ3_S", [256, 1])]))
    write("gguf", "unsupported-version", whole[:4] + struct.pack("<I", 1) + whole[8:])
    write("gguf", "unsupported-big-endian", whole[:4] + struct.pack(">I", 3) + whole[8:])
    write("gguf", "invalid-magic", b"GGML" + whole[4:])
    write("gguf", "invalid-cut-in-header", whole[:200])
    write("gguf", "invalid-cut-in-data", whole[:-100])
    write("gguf", "invalid-counts", whole[:8] + struct.pack("<QQ", 1 << 60, 1 << 60) + whole[24:])
    write("gguf", "invalid-missing-key", gguf(gguf_model("llama")[:3], gguf_tensors("F16")))
    write("gguf", "invalid-empty", b"")


# --- answers of the Hugging Face Hub -----------------------------------------------------------------------------------


def sibling(name: str, size=10, large: bool = False, **changes) -> dict:
    file = {"rfilename": name, "size": size, "blobId": hashlib.sha1(name.encode()).hexdigest()}
    if large:
        file["lfs"] = {"sha256": hashlib.sha256(name.encode()).hexdigest(), "size": size, "pointerSize": 130}
    return file | changes


def hubs() -> None:
    def seed(name: str, files: list, model: str = "org/fish", index: str = "", **changes) -> None:
        answer = {"id": "org/fish", "sha": "1" * 40, "gated": False, "siblings": files} | changes
        write("hub", name, "\n====\n".join([model, compact(answer), index]))

    small = [sibling("config.json"), sibling("tokenizer.json"), sibling("README.md")]
    model = small + [sibling("model.safetensors", 5_000_000_000, True)]
    shards = [f"model-{i:05}-of-00002.safetensors" for i in (1, 2)]
    index = compact({"metadata": {"total_size": 20}, "weight_map": {"a.weight": shards[0], "b.weight": shards[1]}})
    sharded = small + [sibling(name, 10, True) for name in shards] + [sibling("model.safetensors.index.json")]
    parts = [sibling(f"Q8_0/fish-Q8_0-{i:05}-of-00003.gguf", 10, True) for i in (1, 2, 3)]
    ggufs_ = parts + [sibling("fish-Q4_K_M.gguf", 10, True), sibling("mmproj-F16.gguf", 10, True)]
    seed("accepted-one-file", model)
    seed("accepted-shards", sharded, index=index)
    seed("accepted-commit", model, "org/fish@" + "1" * 40)
    seed("accepted-gguf", ggufs_, "org/fish@main:q4_k_m")
    seed("accepted-gguf-parts", ggufs_, "org/fish@refs/pr/1:Q8_0")
    seed("accepted-gguf-part-by-name", ggufs_, "org/fish:Q8_0/fish-Q8_0-00002-of-00003.gguf")
    seed("invalid-gguf-choice", ggufs_)
    seed("invalid-gguf-part-missing", parts[:2], "org/fish:Q8_0")
    seed("invalid-shard-missing", sharded[:-2] + sharded[-1:], index=index)
    seed("invalid-index", sharded, index='{"weight_map":{"a":"../x.safetensors"}}')
    seed("invalid-no-configuration", model[1:])
    seed("unsupported-pickle", small + [sibling("pytorch_model.bin", 10, True)])
    seed("invalid-name-leads-out", model + [sibling("../../x")])
    seed("invalid-name-absolute", model + [sibling("/etc/x")])
    seed("invalid-name-backslash", model + [sibling("a\\..\\x")])
    seed("invalid-name-control", model + [sibling("a\u0000b")])
    seed("invalid-name-twice", model + [sibling("config.json")])
    seed("invalid-name-folder", model + [sibling("config.json/x")])
    seed("invalid-size", model + [sibling("x", -1)])
    seed("invalid-large-size", model + [sibling("x", 1 << 60)])
    seed("invalid-hash", model + [sibling("x", blobId="../x")])
    seed("invalid-commit", model, sha="main")
    seed("invalid-model", model, "org/../fish")
    write("hub", "invalid-page", "org/fish\n====\n<html>log in</html>")
    write("hub", "invalid-cut", "org/fish\n====\n" + compact({"sha": "1" * 40, "siblings": model})[:-20])


# --- plans -------------------------------------------------------------------------------------------------------------


def plans() -> None:
    kinds = ["self_attn.q_proj self_attn.k_proj self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj mlp.up_proj",
             "mlp.down_proj"]

    def plan(formats: list[str], budget: dict, held_out=None) -> dict:
        units = [{"tensors": ["model.layers.0." + name for name in kind.split()], "format": name, "bytes": 1, "kl": None,
                  "candidates": [{"format": "fp4-g128", "bytes": 1, "estimated_kl": 0.5, "measured_kl": 0.25},
                                 {"format": "16-bit", "bytes": 2, "estimated_kl": None, "measured_kl": 0}]}
                 for kind, name in zip(kinds, formats)]
        return {"schema": "metal-marlin.plan", "version": 1, "program": "0.1.0", "command": "metal-marlin plan",
                "model": {"name": "small", "sha256": "aaaa", "tokenizer_sha256": "bbbb"},
                "calibration": {"name": "text", "sha256": "cccc", "ctx": 16, "windows": 4, "held_out_windows": 2},
                "method": "mse", "probe": "fp4-g128", "budget": budget, "held_out": held_out, "units": units}

    bits = {"kind": "bits_per_weight", "value": 8.5, "bytes": 100000}
    held_out = [{"config": "mixed", "bytes": 9, "window_kl": [0.5, 0.75]},
                {"config": "fp4-g64", "bytes": 9, "window_kl": [0.625, 1]}]
    whole = plan(["fp4-g128", "int4-g64", "16-bit", "fp4-g32"], bits, held_out)
    write("plan", "accepted-mixed", compact(whole))
    write("plan", "accepted-most-kl", compact(plan(["fp4-g128"] * 4, {"kind": "max_kl", "value": 2, "bytes": 0})))
    write("plan", "accepted-model-bytes",
          compact(plan(["16-bit"] * 4, {"kind": "model_bytes", "value": 1e6, "bytes": 1000000})))
    write("plan", "invalid-over-budget", compact(whole | {"budget": bits | {"bytes": 10}}))
    write("plan", "invalid-format", compact(plan(["fp3"] * 4, bits)))
    write("plan", "invalid-unit-missing", compact(whole | {"units": whole["units"][:3]}))
    write("plan", "invalid-unit-twice", compact(whole | {"units": whole["units"] + whole["units"][:1]}))
    write("plan", "invalid-model", compact(whole | {"model": whole["model"] | {"sha256": "dddd"}}))
    write("plan", "invalid-version", compact(whole | {"version": 2}))
    write("plan", "invalid-schema", compact({"schema": "metal-marlin.result"}))
    write("plan", "invalid-cut", compact(whole)[:-9])


# --- records -----------------------------------------------------------------------------------------------------------


def shortened(record: dict, windows: int = 3) -> dict:
    """The same record with few windows, samples and units."""
    record = json.loads(json.dumps(record))
    measured = record["perplexity"]
    measured["windows"] = windows
    measured["scored_tokens"] = windows * measured["scored_per_window"]
    measured["window_nll"] = measured["window_nll"][:windows]
    if measured.get("half"):
        measured["half"]["window_nll"] = measured["half"]["window_nll"][:windows]
    for part in (record.get("divergence"), record.get("noise_floor")):
        if part:
            part["windows"] = min(windows, part["windows"])
            for name in part:
                if name.startswith("window_"):
                    part[name] = part[name][:windows]
    if record.get("divergence"):
        record["divergence"]["kl_histogram"]["counts"] = [1, measured["scored_tokens"] - 1]
    speed = record.get("throughput")
    if speed:
        for name in ("prefill", "decode"):
            rounds = (speed[name].get("protocol") or speed["protocol"])
            rounds["iterations"] = 3
            speed["protocol"]["iterations"] = 3
            speed[name]["samples_ns"] = speed[name]["samples_ns"][:3]
    if record.get("plan"):
        record["plan"]["units"] = record["plan"]["units"][:2]
    return record


def records() -> None:
    wanted = {"baseline": ("noise_floor",), "timed-baseline": ("noise_floor", "throughput"), "row": ("divergence",),
              "timed-row": ("divergence", "throughput", "limits"), "mixed": ("plan",), "imported": ("import",)}
    found = {}
    for path in sorted(glob.glob(os.path.join(ROOT, "benchmarks/*/*.json"))):
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        parts = {name for name in record if record[name]} | ({"import"} if record["config"].get("import_sha256") else set())
        for name, needs in wanted.items():
            if name not in found and all(need in parts for need in needs):
                found[name] = shortened(record)
    for name, record in found.items():
        write("record", f"accepted-{name}", compact(record))
    row = found["row"]
    kernels = {"protocol": {"id": "15/100", "warmup": 15, "iterations": 3, "trim_sigma": 3.0}, "shapes": [
        {"kernel": "avx2", "format": "fp4-g128", "shape_set": "model", "m": 1, "n": 64, "k": 64,
         "samples_ns": [10.5, 11, 12], "flops": 8192, "bytes_moved": 4096, "max_relative_error": 1e-7, "tolerance": 1e-5,
         "checked_outputs": 64, "activations": None, "in_cache": False}]}
    write("record", "accepted-kernels", compact(row | {"kernels": kernels}))
    write("record", "invalid-windows", compact(row | {"perplexity": row["perplexity"] | {"windows": 1 << 60}}))
    write("record", "invalid-negative-time", compact(row | {"size": row["size"] | {"model_bytes": -1}}))
    write("record", "invalid-id", compact(row | {"id": "../../etc"}))
    write("record", "invalid-foreign", compact({"results": []}))
    write("record", "invalid-cut", compact(row)[:-9])
    write("record", "unsupported-version", compact(row | {"version": 3}))
    second = row | {"version": 2, "key": "0" * 64}
    sections = ("perplexity", "divergence", "noise_floor", "throughput", "kernels", "limits")
    bare = second | {name: None for name in sections}
    write("record", "accepted-quality-2", compact(bare | {name: row[name] for name in ("perplexity", "divergence")}))
    write("record", "accepted-speed-2", compact(bare | {"throughput": found["timed-row"]["throughput"]}))
    floor = found["baseline"]["noise_floor"] | {"baseline_id": found["baseline"]["id"]}
    write("record", "accepted-noise-floor-2", compact(bare | {"noise_floor": floor}))


def imports() -> None:
    test = {"build_commit": "1234abcd", "build_number": 6001, "cpu_info": "CPU", "gpu_info": "", "backends": "CPU",
            "model_filename": "models/tiny.gguf", "model_type": "tiny 1B", "model_size": 640000000, "model_n_params": 1100000000,
            "n_batch": 2048, "n_ubatch": 512, "n_threads": 8, "type_k": "f16", "type_v": "f16", "n_gpu_layers": -1,
            "n_prompt": 512, "n_gen": 0, "n_depth": 0, "test_time": "2025-06-01T12:00:01Z", "avg_ts": 310.5, "stddev_ts": 2.5,
            "samples_ts": [308, 310.5, 313]}
    run = {"results": {"quiz": {"alias": "quiz", "acc,none": 0.625, "acc_stderr,none": 0.0125}, "sums": {
               "exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": "N/A"}, "all": {"alias": "all", " ": " "}},
           "versions": {"quiz": 1.0, "sums": "2"}, "n-shot": {"quiz": 0, "sums": 5}, "higher_is_better": {"quiz": {"acc": True}},
           "n-samples": {"quiz": {"original": 1500, "effective": 1500}, "sums": {"effective": 200}},
           "config": {"model": "hf", "model_args": "pretrained=Org/Tiny-1B,dtype=bfloat16", "batch_size": "8", "limit": 200.0},
           "git_hash": "abcd123", "date": 1748779200.75, "lm_eval_version": "0.4.8", "model_name": "Org/Tiny-1B"}
    write("import", "accepted-llama-bench", compact([test, test | {"n_prompt": 0, "n_gen": 128, "n_depth": 64}]))
    write("import", "accepted-llama-bench-lines", compact(test) + "\n" + compact(test | {"build_number": 6002}) + "\n")
    write("import", "accepted-lm-eval", compact(run))
    write("import", "accepted-lm-eval-arguments", compact(run | {"model_name": None, "config": {"model_args": {
        "pretrained": "/a/b/Tiny", "load_in_4bit": True}}}))
    write("import", "invalid-mean", compact([test | {"avg_ts": 320}]))
    write("import", "invalid-missing", compact([test | {"n_threads": None}]))
    write("import", "invalid-cut-line", compact(test) + "\n" + compact(test)[:-9])
    write("import", "invalid-value", compact(run | {"results": {"quiz": {"acc,none": "0.6"}}}))
    write("import", "invalid-nan", '{"results":{"quiz":{"acc,none":NaN}},"model_name":"m"}')
    write("import", "invalid-foreign", compact({"schema": "x"}))
    record = {"schema": "metal-marlin.external", "version": 1, "id": "0" * 16, "key": "0" * 64, "measured": "2025-06-01T12:00:01Z",
              "command": "metal-marlin report import r.json", "program": {"name": "llama-bench", "version": "build 6001 (1234abcd)"},
              "source": {"file": "r.json", "sha256": "0" * 64}, "model": {"name": "tiny.gguf", "description": None},
              "machine": "backend CPU", "settings": None, "measurements": [
                  {"what": "pp512", "protocol": "n_prompt 512", "value": 310.5, "unit": "tok/s", "error": 2.5,
                   "error_kind": "standard deviation", "samples": [308, 310.5, 313]}]}
    write("record", "accepted-external", compact(record))
    write("record", "invalid-external-empty", compact(record | {"measurements": []}))
    write("record", "unsupported-external-version", compact(record | {"version": 2}))


# --- safetensors and statistics ----------------------------------------------------------------------------------------


def safetensors(tensors: list[tuple[str, str, list[int], bytes]], metadata: dict | None = None, hashes: bool = False) -> bytes:
    header, data = {}, b""
    metadata = dict(metadata or {})
    for name, dtype, shape, content in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
        if hashes:
            metadata["sha256:" + name] = hashlib.sha256(content).hexdigest()
    if metadata:
        header["__metadata__"] = metadata
    text = compact(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def tensor_files() -> None:
    floats = struct.pack("<6f", 1, -2, 0.5, 3, float("inf"), 0)
    tensors = [("a", "F32", [2, 3], floats), ("b.weight", "BF16", [2, 2], bytes(range(8))), ("c", "I64", [2], bytes(16)),
               ("d", "F16", [], b"\x00\x3c"), ("e", "U8", [0, 7], b""), ("f", "F64", [1], struct.pack("<d", 2.5)),
               ("g", "BOOL", [2], b"\x00\x01")]
    whole = safetensors(tensors, {"format": "pt"})
    write("safetensors", "accepted-types", whole)
    write("safetensors", "accepted-hashes", safetensors(tensors[:2], hashes=True))
    write("safetensors", "accepted-nothing", safetensors([]))
    write("safetensors", "invalid-cut", whole[:-3])
    write("safetensors", "invalid-longer", whole + b"x")
    write("safetensors", "invalid-header-length", struct.pack("<Q", 1 << 62) + whole[8:])
    write("safetensors", "invalid-sizes", safetensors([("a", "F32", [2, 4], floats)]))
    write("safetensors", "invalid-overflow", safetensors([("a", "F32", [1 << 40, 1 << 40], floats)]))
    write("safetensors", "invalid-hole", whole.replace(b"[24,32]", b"[25,33]"))
    write("safetensors", "invalid-no-json", struct.pack("<Q", 4) + b"....")
    write("safetensors", "unsupported-type", safetensors([("a", "F8_E5M2", [6], bytes(6))]))


# --- quantized folders -----------------------------------------------------------------------------------------------------------

STEM = "model.layers.0.mlp.up_proj"
HALVES = lambda count: struct.pack(f"<{count}e", *[0.25] * count)
FLOATS = lambda count: struct.pack(f"<{count}f", *[0.25] * count)
CODES = lambda count: bytes(i * 37 % 256 for i in range(count))


def folder(name: str, config: dict, parts: list[tuple[str, str, list[int], bytes]]) -> None:
    """The matrix STEM; parts: suffix, dtype, shape, bytes."""
    whole = safetensors([(STEM + suffix, *rest) for suffix, *rest in parts] + [("norm.weight", "F32", [2], bytes(8))])
    write("quantized", name, compact(config).encode() + b"\n" + whole)


def plan_entry(method: str, format: str) -> dict:
    return {"quantization_config": {"quant_method": method, "metal_marlin": {"plan": {STEM: format}}}}


def own_folders() -> None:
    def own(name: str, format: str, cols: int, packed: tuple, *parts: tuple) -> None:
        shape = ("_shape", "I64", [2], struct.pack("<2q", 2, cols))
        folder(name, plan_entry("metal-marlin", format), [(f".weight{suffix}", *rest) for suffix, *rest in (packed, *parts, shape)])

    units = HALVES(4)
    q4_k = [("_scale", "U8", [2, 6], CODES(12)), ("_bias", "U8", [2, 6], CODES(12)), ("_unit", "F16", [2, 1, 2], units)]
    own("accepted-q4_k", "q4_k", 256, ("_packed", "U8", [2, 128], CODES(256)), *q4_k)
    own("accepted-q6_k", "q6_k", 256, ("_packed", "U8", [2, 192], CODES(384)), ("_scale", "I8", [2, 16], CODES(32)), ("_unit", "F16", [2, 1, 1], HALVES(2)))
    own("accepted-iq4_nl", "iq4_nl", 40, ("_packed", "U8", [2, 20], CODES(40)), ("_scale", "F16", [2, 2], HALVES(4)))
    own("accepted-q5_1", "q5_1", 40, ("_packed", "U8", [2, 25], CODES(50)), ("_scale", "F16", [2, 2], HALVES(4)), ("_bias", "F16", [2, 2], HALVES(4)))
    own("accepted-nvfp4", "nvfp4", 32, ("_packed", "U8", [2, 16], CODES(32)), ("_scale", "F8_E4M3", [2, 2], b"\x30" * 4), ("_global_scale", "F32", [1], FLOATS(1)))
    own("invalid-half-a-super-block", "q4_k", 128, ("_packed", "U8", [2, 64], CODES(128)), *q4_k)
    own("invalid-no-unit", "q4_k", 256, ("_packed", "U8", [2, 128], CODES(256)), *q4_k[:2])
    own("invalid-global-scale", "nvfp4", 32, ("_packed", "U8", [2, 16], CODES(32)), ("_scale", "F8_E4M3", [2, 2], b"\x30" * 4), ("_global_scale", "F32", [1], bytes(4)))
    own("unsupported-format", "q9_9", 32, ("_packed", "U8", [2, 16], CODES(32)), ("_scale", "F16", [2, 1], HALVES(2)))


def compressed_tensors_folders() -> None:
    def packed(name: str, layout: str, weights: dict, *parts: tuple) -> None:
        config = {"quantization_config": {"quant_method": "compressed-tensors", "format": layout, "config_groups": {
            "group_0": {"targets": ["Linear"], "weights": weights}}}}
        folder(name, config, [(f".weight{suffix}", *rest) for suffix, *rest in parts])

    integer = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32}
    shape = ("_shape", "I64", [2], struct.pack("<2q", 2, 32))
    packed("accepted-packed-int8", "pack-quantized", integer, ("_packed", "I32", [2, 8], CODES(64)), ("_scale", "F16", [2, 1], HALVES(2)), shape)
    packed("accepted-packed-int4", "pack-quantized", integer | {"num_bits": 4}, ("_packed", "I32", [2, 4], CODES(32)), ("_scale", "F16", [2, 1], HALVES(2)), shape)
    packed("accepted-packed-mxfp4", "mxfp4-pack-quantized", integer | {"num_bits": 4, "type": "float"},
           ("_packed", "U8", [2, 16], CODES(32)), ("_scale", "U8", [2, 1], b"\x7d\x7e"))
    nvfp4 = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}
    parts = [("_packed", "U8", [2, 16], CODES(32)), ("_scale", "F8_E4M3", [2, 2], b"\x30" * 4), ("_global_scale", "F32", [1], FLOATS(1))]
    packed("accepted-packed-nvfp4", "nvfp4-pack-quantized", nvfp4, *parts)
    packed("invalid-packed-nan", "nvfp4-pack-quantized", nvfp4, parts[0], ("_scale", "F8_E4M3", [2, 2], b"\x7f" * 4), parts[2])
    packed("invalid-packed-shape", "pack-quantized", integer, ("_packed", "I32", [2, 8], CODES(64)), ("_scale", "F16", [2, 1], HALVES(2)),
           ("_shape", "I64", [2], struct.pack("<2q", 1 << 62, 1 << 62)))
    packed("unsupported-packed-kind", "pack-quantized", integer | {"strategy": "channel"}, ("_packed", "I32", [2, 8], CODES(64)),
           ("_scale", "F16", [2, 1], HALVES(2)), shape)


def mlx_folders() -> None:
    def mlx(name: str, format: str, settings: tuple, *parts: tuple) -> None:
        config = plan_entry("mlx", format) | {"quantization": dict(zip(("group_size", "bits", "mode"), settings))}
        folder(name, config, list(parts))

    codes = (".weight", "U32", [2, 8], CODES(64))
    scales, biases = (".scales", "F32", [2, 1], FLOATS(2)), (".biases", "F32", [2, 1], struct.pack("<2f", -0.5, -2))
    affine = (64, 4, "affine")
    mlx("accepted-mlx-zero-points", "int4-g64", affine, codes, scales, biases)
    mlx("accepted-mlx-biases", "mlx4-g64", affine, codes, scales, biases)
    mlx("accepted-mlx-int8", "q8_0", (32, 8, "affine"), codes, scales, (".biases", "F32", [2, 1], struct.pack("<2f", -32, -32)))
    mlx("accepted-mlx-half", "q4_1", (32, 4, "affine"), codes, (".scales", "F16", [2, 2], HALVES(4)), (".biases", "F16", [2, 2], HALVES(4)))
    mlx("accepted-mlx-bf16", "mlx4-g64", affine, codes, (".scales", "BF16", [2, 1], b"\x80\x3e" * 2), (".biases", "BF16", [2, 1], b"\x80\xbe" * 2))
    mlx("accepted-mlx-mxfp4", "mxfp4", (32, 4, "mxfp4"), codes, (".scales", "U8", [2, 2], b"\x7d" * 4))
    mlx("accepted-mlx-nvfp4", "mlx-nvfp4", (16, 4, "nvfp4"), codes, (".scales", "U8", [2, 4], b"\x30" * 8))
    mlx("unsupported-mlx-bias", "int4-g64", affine, codes, scales, (".biases", "F32", [2, 1], struct.pack("<2f", -0.5, -0.3)))
    mlx("unsupported-mlx-format", "q4_k", affine, codes, scales, biases)
    mlx("invalid-mlx-settings", "int4-g64", (32, 4, "affine"), codes, scales, biases)
    mlx("invalid-mlx-no-biases", "int4-g64", affine, codes, scales)
    mlx("invalid-mlx-row", "int4-g64", affine, (".weight", "U32", [2, 7], CODES(56)), scales, biases)
    mlx("invalid-mlx-twice", "int4-g64", affine, codes, scales, biases, (".weight_scale", "F16", [2, 1], HALVES(2)))


def folders() -> None:
    own_folders()
    compressed_tensors_folders()
    mlx_folders()


def statistics_files() -> None:
    def statistics(gram: bool, change: dict | None = None) -> bytes:
        tensors = []
        for number, name in enumerate(("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")):
            stem = f"model.layers.0.{name}.input"
            k = 2 + number % 2
            tensors.append((stem + ".sum_squares", "F64", [k], struct.pack(f"<{k}d", *[4.0] * k)))
            tensors.append((stem + ".sum_abs", "F64", [k], struct.pack(f"<{k}d", *[2.0] * k)))
            tensors.append((stem + ".max_abs", "F32", [k], struct.pack(f"<{k}f", *[1.5] * k)))
            if gram:
                rows = [4.0 if i == j else 0.5 * (j > i) for i in range(k) for j in range(k)]
                tensors.append((stem + ".gram", "F32", [k, k], struct.pack(f"<{k * k}f", *rows)))
        metadata = {"layout": "metal-marlin statistics 1", "model_sha256": "aaaa", "tokenizer_sha256": "bbbb",
                    "text_name": "text", "text_sha256": "cccc", "ctx": "16", "windows": "4", "seen": "4", "layers": "1",
                    "tokens": "64"}
        return safetensors(tensors, metadata | (change or {}), hashes=True)

    whole = statistics(False)
    write("statistics", "accepted-moments", whole)
    write("statistics", "accepted-gram", statistics(True))
    write("statistics", "invalid-no-layers", statistics(False, {"layers": "0"}))
    write("statistics", "invalid-layout", statistics(False, {"layout": "metal-marlin statistics 9"}))
    write("statistics", "invalid-layers", statistics(False, {"layers": "2"}))
    write("statistics", "invalid-number", statistics(False, {"ctx": "-1"}))
    write("statistics", "invalid-cut", whole[:-8])
    write("statistics", "invalid-plain-tensors", safetensors([("a", "F32", [1], bytes(4))]))
    write("statistics", "corrupt-value", whole[:-1] + b"\x01")


if __name__ == "__main__":
    for make in (archives, chat_templates, configs, downloads, folders, ggufs, hubs, plans, records, imports, tensor_files, statistics_files,
                 tokenizers, sentencepiece_models, tekkens):
        make()
