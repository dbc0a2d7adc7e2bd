"""Compares perplexities of minnow with a NumPy implementation of the tokens, the forward pass and the rounding of weights.

    python tools/check_minnow.py PROGRAM [--windows 8] [--configs fp4-g32,int4-g64]

Needs numpy and tokenizers. PROGRAM measures in fp32 on the sample text. Fails where two perplexities differ by more than 1e-5 (relative).
"""

import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/minnow"
CTX = 512
TOLERANCE = 1e-5
CONFIGS = "f16,fp4-g32,fp4-g64,fp4-g128,fp4-g256,int4-g64,int4-g128,int8-g128"
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def read_weights():
    """{name: fp32 array} of the BF16 file."""
    data = (MODEL / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    weights = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        assert entry["dtype"] == "BF16", name
        values = np.frombuffer(data[begin:end], "<u2").astype("<u4") << 16
        weights[name] = values.view("<f4").reshape(entry["shape"])
    return weights


def to_half(values):
    return np.minimum(values, np.float32(65504)).astype(np.float16).astype(np.float32)


def to_bits(values, bits):
    """Rounded to so many significant bits, ties to even."""
    fraction, exponent = np.frexp(values)
    return np.ldexp(np.rint(np.ldexp(fraction, bits)), exponent - bits).astype(np.float32)


def round_fp4(groups):
    scale = to_half(np.abs(groups).max(-1, keepdims=True) / np.float32(6))
    x = np.divide(np.abs(groups), scale, out=np.zeros_like(groups), where=scale != 0)
    middles = (E2M1[1:] + E2M1[:-1]) / 2
    code = (x[..., None] > middles).sum(-1)  # at a tie the lower code
    at_tie = (x[..., None] == middles).any(-1)
    code = np.where(at_tie & (code % 2 == 1), code + 1, code)  # and the even one of the two
    return np.copysign(E2M1[code], groups) * scale


def round_int4(groups):
    low, high = (np.minimum(groups.min(-1, keepdims=True), 0), np.maximum(groups.max(-1, keepdims=True), 0))
    scale = to_half(to_bits((high / 2 - low / 2) / np.float32(7.5), 7))
    divisor = np.where(scale == 0, 1, scale)
    zero = np.rint(np.clip(-low / divisor, 0, 15))
    return np.rint(np.clip(groups / divisor, -zero, 15 - zero)) * scale


def round_int8(groups):
    scale = to_half(np.abs(groups).max(-1, keepdims=True) / np.float32(127))
    return np.rint(np.clip(groups / np.where(scale == 0, 1, scale), -127, 127)) * scale


ROUNDINGS = {"fp4": round_fp4, "int4": round_int4, "int8": round_int8}


def quantized(weights, config):
    if config == "f16":
        return weights
    kind, group = config.split("-g")

    def rounded(w):
        return ROUNDINGS[kind](w.reshape(w.shape[0], -1, int(group))).reshape(w.shape).astype(np.float32)

    return {name: rounded(w) if name.endswith("_proj.weight") else w for name, w in weights.items()}


def norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def rotate(x, cos, sin):
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def negative_log_likelihood(config, weights, ids):
    """Summed over all predictions of one window."""
    heads, kv_heads, size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    angles = np.outer(np.arange(len(ids)), 1 / config["rope_theta"] ** (np.arange(0, size, 2) / size))
    cos, sin = np.cos(angles), np.sin(angles)
    future = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    x = weights["model.embed_tokens.weight"][ids].astype(np.float64)
    for i in range(config["num_hidden_layers"]):
        layer = lambda name: weights[f"model.layers.{i}.{name}.weight"]
        h = norm(x, layer("input_layernorm"), config["rms_norm_eps"])
        split = lambda name, count: (h @ layer(f"self_attn.{name}").T).reshape(len(ids), count, size).swapaxes(0, 1)
        q, k = rotate(split("q_proj", heads), cos, sin), rotate(split("k_proj", kv_heads), cos, sin)
        k, v = (np.repeat(a, heads // kv_heads, axis=0) for a in (k, split("v_proj", kv_heads)))
        attention = softmax(q @ k.swapaxes(1, 2) / np.sqrt(size) + future) @ v
        x = x + attention.swapaxes(0, 1).reshape(len(ids), -1) @ layer("self_attn.o_proj").T
        h = norm(x, layer("post_attention_layernorm"), config["rms_norm_eps"])
        gate = h @ layer("mlp.gate_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ layer("mlp.up_proj").T)) @ layer("mlp.down_proj").T
    logits = norm(x, weights["model.norm.weight"], config["rms_norm_eps"]) @ weights["model.embed_tokens.weight"].T
    targets = softmax(logits[:-1])[np.arange(len(ids) - 1), ids[1:]]
    return -np.log(targets).sum()


def perplexity_here(config, weights, ids, windows):
    total = sum(negative_log_likelihood(config, weights, ids[i * CTX : (i + 1) * CTX]) for i in range(windows))
    return float(np.exp(total / (windows * (CTX - 1))))


def perplexity_of_program(program, name, windows, folder):
    model = MODEL
    if name != "f16":
        model = pathlib.Path(folder) / name
        subprocess.run([program, "quantize", MODEL, "--config", name, "--method", "rtn", "-o", model, "-q"], check=True, stdout=subprocess.DEVNULL)
    words = ["eval", "perplexity", model, "--data", "built-in", "--samples", str(windows), "--activations", "fp32", "--json", "-q"]
    return json.loads(subprocess.run([program, *words], check=True, capture_output=True).stdout)["ppl"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--configs", default=CONFIGS)
    options = parser.parse_args()
    config = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
    text = (ROOT / "data/sample/sample.txt").read_text(encoding="utf-8")
    ids = np.array(Tokenizer.from_file(str(MODEL / "tokenizer.json")).encode(text).ids)
    weights = read_weights()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in options.configs.split(","):
            want = perplexity_here(config, quantized(weights, name), ids, options.windows)
            got = perplexity_of_program(options.program, name, options.windows, folder)
            apart = abs(got / want - 1)
            bad += apart > TOLERANCE
            print(f"{name}: NumPy {want:.5f}, here {got:.5f}, {apart:.1e} apart: {'ok' if apart <= TOLERANCE else 'WRONG'}", flush=True)
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
