"""Exports quantized models for compressed-tensors and MLX and compares the folders with what the packages read in them.

    python tools/check_folder_export.py PROGRAM MODEL... [--formats q4_0,mxfp4] [--context 64] [--families] [--make FOLDER]

Needs torch, transformers, compressed-tensors, mlx (mlx[cpu] on Linux), mlx-lm, numpy, safetensors. Each MODEL is a folder or a GGUF file. It is quantized
to every format (round to nearest) and to a mixture of formats. `check-export` compares each exported folder with the quantized one, and:

- The codes, scales and zero points of the quantized folder are decoded here, as src/files/quantized_layout.h describes them. That is what a
  container must give.
- compressed-tensors decompresses every matrix: with the scales as F32 to the same bits, as stored to the same numbers rounded to its type.
- transformers loads the folder as float32 and computes the logits of a window. `metal-marlin eval logits` of the quantized folder gives the
  wanted ones. Where it loads with dequantize=True only, that is said.
- mx.dequantize gives every matrix from the tensors of the MLX folder, to the same bits.
- mlx-lm loads the folder and computes the same window, in the type of the folder. Limits for the difference, relative to the largest logit:
  LIMITS. It is exported in the type of the model, or in f16 where that is refused as not lossless, and in f32.

Zeros compare equal whatever their sign. --families makes a random model of each family instead (the tokenizer is that of the first MODEL).
--make FOLDER makes these models there, for check_gguf_export.py, and compares nothing.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

import mlx.core as mx
import numpy
import torch
import transformers as hf
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from mlx_lm.utils import load_model
from safetensors import safe_open

SAMPLE = pathlib.Path(__file__).resolve().parent.parent / "data" / "sample" / "sample.txt"
FORMATS = ["int4-g64", "int4-g128", "q4_0", "int8-g128", "q8_0", "mxfp4", "nvfp4", "mlx-nvfp4", "q4_1", "mlx4-g32", "mlx4-g64", "mlx4-g128"]
# Those that one of the containers holds.
COMPRESSED_TENSORS_ONLY = {"nvfp4"}
MLX_ONLY = {"mlx-nvfp4", "q4_1", "mlx4-g32", "mlx4-g64", "mlx4-g128"}
GROUPS = {"int4-g64": 64, "int4-g128": 128, "int8-g128": 128, "nvfp4": 16, "mlx-nvfp4": 16, "mlx4-g64": 64, "mlx4-g128": 128}  # else 32
MIXTURE = ["mxfp4", "q4_0", "int8-g128"]
# mlx-lm scales Gemma 3's embedding by the root of the hidden size in bf16, whatever the type of the model, and takes GELU's approximation
# by tanh for GPT-NeoX.
OTHER_LIMITS = {"gemma3_text": 2e-4, "gpt_neox": 5e-4}
LIMITS = {"float32": 1e-5, "float16": 3e-2, "bfloat16": 2e-1}
E2M1 = numpy.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], numpy.float32)
SIZES = dict(vocab_size=4096, hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=128, bos_token_id=None, eos_token_id=0, pad_token_id=None)
WHOLE_BLOCKS = dict(hidden_size=256, intermediate_size=512)  # rows of super-blocks, in GGUF
PLAIN = dict(rope_type="default", rope_theta=50000.0)
SLIDING, FULL = "sliding_attention", "full_attention"
FAMILIES = {
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig, dict(head_dim=32, tie_word_embeddings=False, rope_parameters=dict(
        rope_type="llama3", rope_theta=50000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32))),
    "mistral": (hf.MistralForCausalLM, hf.MistralConfig, dict(head_dim=32, sliding_window=None, rope_parameters=PLAIN)),
    "ministral3": (hf.Ministral3ForCausalLM, hf.Ministral3Config, dict(head_dim=32, rope_parameters=dict(
        rope_type="yarn", rope_theta=50000.0, factor=4.0, original_max_position_embeddings=16, beta_fast=8.0, beta_slow=1.0, mscale=1.0,
        mscale_all_dim=1.0, llama_4_scaling_beta=0.3))),
    "qwen2": (hf.Qwen2ForCausalLM, hf.Qwen2Config, dict(tie_word_embeddings=True, rope_parameters=PLAIN)),
    "qwen3": (hf.Qwen3ForCausalLM, hf.Qwen3Config, dict(head_dim=32, tie_word_embeddings=False, rope_parameters=PLAIN)),
    "gemma2": (hf.Gemma2ForCausalLM, hf.Gemma2Config, dict(head_dim=32, query_pre_attn_scalar=32, sliding_window=256,
                                                           rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "gemma3": (hf.Gemma3ForCausalLM, hf.Gemma3TextConfig, dict(
        num_hidden_layers=7, head_dim=32, query_pre_attn_scalar=32, sliding_window=16, rope_parameters={
            SLIDING: dict(rope_type="default", rope_theta=20000.0), FULL: dict(rope_type="linear", rope_theta=500000.0, factor=8.0)})),
    "gemma4": (hf.Gemma4ForCausalLM, hf.Gemma4TextConfig, dict(
        head_dim=32, global_head_dim=64, num_global_key_value_heads=1, attention_k_eq_v=True, hidden_size_per_layer_input=0, sliding_window=16,
        final_logit_softcapping=9.0, layer_types=[SLIDING, SLIDING, FULL])),
    "smollm3": (hf.SmolLM3ForCausalLM, hf.SmolLM3Config, dict(num_hidden_layers=5, rope_parameters=PLAIN)),
    "olmo2": (hf.Olmo2ForCausalLM, hf.Olmo2Config, dict(rope_parameters=PLAIN)),
    "olmo3": (hf.Olmo3ForCausalLM, hf.Olmo3Config, dict(num_hidden_layers=4, sliding_window=16, rope_parameters={SLIDING: PLAIN, FULL: PLAIN})),
    "granite": (hf.GraniteForCausalLM, hf.GraniteConfig, dict(embedding_multiplier=12.0, attention_multiplier=0.1, residual_multiplier=0.22,
                                                              logits_scaling=8.0, rope_parameters=PLAIN)),
    "glm4": (hf.Glm4ForCausalLM, hf.Glm4Config, dict(head_dim=32, rope_parameters=dict(PLAIN, partial_rotary_factor=0.5))),
    "phi3": (hf.Phi3ForCausalLM, hf.Phi3Config, dict(sliding_window=None, rope_parameters=PLAIN)),
    "seed-oss": (hf.SeedOssForCausalLM, hf.SeedOssConfig, dict(head_dim=32, rope_parameters=PLAIN)),
    "gpt-neox": (hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig, dict(num_key_value_heads=4, intermediate_size=512, rope_parameters=dict(PLAIN, partial_rotary_factor=0.5))),
}


class Failed(Exception):
    pass


def run(*words) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True)


def must(*words) -> str:
    result = run(*words)
    if result.returncode != 0:
        raise Failed(f"{' '.join(map(str, words))}: exit code {result.returncode}: {result.stderr.strip()}")
    return result.stdout


def tensors_of(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            out.update({name: file.get_tensor(name) for name in file.keys()})
    return out


def plan_of(folder: pathlib.Path) -> dict[str, str]:
    return json.loads((folder / "config.json").read_text())["quantization_config"]["metal_marlin"]["plan"]


def decode(tensors: dict[str, torch.Tensor], stem: str, name: str) -> numpy.ndarray:
    """A matrix of the own layout, as quantized_layout.h describes it."""
    rows, cols = tensors[f"{stem}.weight_shape"].tolist()
    packed = tensors[f"{stem}.weight_packed"].contiguous().view(torch.uint8).numpy().reshape(rows, -1)
    scale = tensors[f"{stem}.weight_scale"]
    group = GROUPS.get(name, 32)
    spread = lambda values: numpy.repeat(values, group, axis=1)[:, :cols]
    if name in ("int8-g128", "q8_0"):
        return packed.view(numpy.int8).astype(numpy.float32) * spread(scale.float().numpy())
    nibbles = numpy.stack([packed & 15, packed >> 4], axis=-1).reshape(rows, -1)[:, :cols]
    if name == "mxfp4":
        return E2M1[nibbles] * spread(numpy.exp2(scale.numpy().astype(numpy.float32) - 127))
    if name in ("nvfp4", "mlx-nvfp4"):
        inverse = tensors[f"{stem}.weight_global_scale"].numpy() if name == "nvfp4" else numpy.float32(1)
        return E2M1[nibbles] * spread(scale.float().numpy() / inverse)
    if f"{stem}.weight_bias" in tensors:
        return nibbles.astype(numpy.float32) * spread(scale.float().numpy()) + spread(tensors[f"{stem}.weight_bias"].float().numpy())
    zero = numpy.full(scale.shape, 8, numpy.float32)
    if f"{stem}.weight_zero_point" in tensors:
        words = tensors[f"{stem}.weight_zero_point"].numpy().view(numpy.uint32)
        zero = numpy.stack([words >> (4 * i) & 15 for i in range(8)], axis=1).reshape(-1, words.shape[1])[:rows].astype(numpy.float32)
    return (nibbles.astype(numpy.float32) - spread(zero)) * spread(scale.float().numpy())


def same(got: numpy.ndarray, want: numpy.ndarray) -> bool:
    """Bit for bit, but for the sign of zeros."""
    return got.shape == want.shape and numpy.array_equal((got + 0.0).view(numpy.uint32), (want + 0.0).view(numpy.uint32))


def check_decompressed(folder: pathlib.Path, wanted: dict[str, numpy.ndarray]) -> None:
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    config.pop("metal_marlin")
    config = QuantizationConfig.model_validate(config)
    tensors = tensors_of(folder)
    for stem, want in wanted.items():
        groups = [group for group in config.config_groups.values() if stem in group.targets or group.targets == ["Linear"]]
        assert len(groups) == 1 and stem not in config.ignore
        compressor = BaseCompressor.get_value_from_registry(groups[0].format)
        state = {name: tensors[f"{stem}.{name}"] for name in compressor.compression_param_names(groups[0]) if f"{stem}.{name}" in tensors}
        stored = compressor.decompress(state, groups[0])["weight"]
        if not same(stored.float().numpy(), torch.from_numpy(want).to(stored.dtype).float().numpy()):
            raise Failed(f"{folder}: compressed-tensors decompresses {stem} to other numbers in {stored.dtype}")
        if state["weight_scale"].dtype == torch.float16:
            state["weight_scale"] = state["weight_scale"].float()
            stored = compressor.decompress(state, groups[0])["weight"]
        if not same(stored.float().numpy(), want):
            raise Failed(f"{folder}: compressed-tensors decompresses {stem} to other numbers")


def check_dequantized(folder: pathlib.Path, wanted: dict[str, numpy.ndarray]) -> None:
    settings = json.loads((folder / "config.json").read_text())["quantization"]
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(mx.load(str(path)))
    for stem, want in wanted.items():
        own = settings.get(stem, settings)
        biases = tensors.get(f"{stem}.biases")
        scales = tensors[f"{stem}.scales"]
        scales = scales if biases is None else scales.astype(mx.float32)
        got = mx.dequantize(tensors[f"{stem}.weight"], scales, None if biases is None else biases.astype(mx.float32),
                            group_size=own["group_size"], bits=own["bits"], mode=own["mode"])
        if not same(numpy.array(got.astype(mx.float32)), want):
            raise Failed(f"{folder}: MLX dequantizes {stem} to other numbers")


def transformers_logits(folder: pathlib.Path, tokens: list[int]) -> tuple[numpy.ndarray, str, float]:
    """Logits, how it loads, and the limit for them: some ways round the matrices to the type of their scales."""
    dense = hf.CompressedTensorsConfig(dequantize=True)
    ways = [(dict(dtype=torch.float32), "loads it as float32", LIMITS["float32"]),
            (dict(dtype=torch.float32, quantization_config=dense), "loads it as float32 with dequantize=True", LIMITS["float16"]),
            (dict(dtype=torch.bfloat16), "loads it as bfloat16", LIMITS["bfloat16"])]
    for words, how, limit in ways:
        try:
            model = hf.AutoModelForCausalLM.from_pretrained(folder, **words)
            with torch.no_grad():
                return model.eval()(torch.tensor([tokens])).logits[0].float().numpy(), how, limit
        except (RuntimeError, AttributeError, ValueError) as error:
            last = error
    raise Failed(f"transformers does not run it: {last}")


def mlx_logits(folder: pathlib.Path, tokens: list[int]) -> tuple[numpy.ndarray, str]:
    model, _ = load_model(folder)
    logits = model(mx.array([tokens]))[0]
    name = str(logits.dtype).rsplit(".", 1)[-1]
    return numpy.array(logits.astype(mx.float32)), name


def relative(got: numpy.ndarray, want: numpy.ndarray) -> float:
    return float(numpy.abs(got.astype(numpy.float64) - want).max() / numpy.abs(want).max())


def wholes(own: dict[str, numpy.ndarray], folder: pathlib.Path) -> dict[str, numpy.ndarray]:
    """By the names of an exported folder: what it stores as one ("qkv_proj") is several in the quantized folder ("qkv_proj.query", ...)."""
    heads = json.loads((folder / "config.json").read_text())["num_attention_heads"]

    def whole(stem: str) -> numpy.ndarray:
        parts = [own[f"{stem}.{part}"] for part in ("query", "key", "value", "gate", "up") if f"{stem}.{part}" in own]
        if stem.endswith("query_key_value"):  # head after head
            parts = [part.reshape(heads, -1, part.shape[1]) for part in parts]
            return numpy.concatenate(parts, axis=1).reshape(-1, parts[0].shape[2])
        return numpy.concatenate(parts)

    return {stem: own[stem] if stem in own else whole(stem) for stem in plan_of(folder)}


def check_compressed_tensors(program: str, quantized: pathlib.Path, own: dict, tokens: list[int], logits: numpy.ndarray) -> str:
    out = quantized.parent / "ct"
    result = run(program, "export", quantized, "-o", out, "--to", "compressed-tensors", "--overwrite", "-q")
    if "different units" in result.stderr:
        return "compressed-tensors: refused, what is stored as one has different units"
    if result.returncode != 0:
        raise Failed(result.stderr.strip())
    must(program, "check-export", out, quantized, "-q")
    wanted = wholes(own, out)
    check_decompressed(out, wanted)
    got, how, limit = transformers_logits(out, tokens)
    difference = relative(got, logits)
    text = f"compressed-tensors: {len(wanted)} matrices bit for bit; transformers {how}, logits differ by {difference:.2g}"
    if difference > limit:
        raise Failed(text)
    return text


def check_mlx(program: str, quantized: pathlib.Path, own: dict, tokens: list[int], logits: numpy.ndarray) -> str:
    """In the type of the model, else in f16; and in f32, where nothing but the sums rounds."""
    out, parts, done = quantized.parent / "mlx", [], False
    for words in ([], ["--type", "f16"], ["--type", "f32"]):
        label = " ".join(words) or "own type"
        if done and words != ["--type", "f32"]:
            continue
        result = run(program, "export", quantized, "-o", out, "--to", "mlx", "--overwrite", "-q", *words)
        if "not lossless" in result.stderr:
            parts.append(f"{label}: refused, not lossless")
            continue
        if result.returncode != 0:
            raise Failed(result.stderr.strip())
        done = True
        must(program, "check-export", out, quantized, "-q")
        wanted = wholes(own, out)
        check_dequantized(out, wanted)
        got, name = mlx_logits(out, tokens)
        difference = relative(got, logits)
        parts.append(f"{label}: {len(wanted)} matrices bit for bit, {name} logits differ by {difference:.2g}")
        family = json.loads((out / "config.json").read_text())["model_type"]
        if difference > max(LIMITS[name], OTHER_LIMITS.get(family, 0)):
            raise Failed("MLX " + "; ".join(parts))
    return "MLX " + "; ".join(parts)


def quantize(program: str, model: pathlib.Path, name: str, folder: pathlib.Path) -> pathlib.Path:
    """`name`: a format, or "mixed": several, in turn."""
    quantized = folder / "quantized"
    if name != "mixed":
        must(program, "quantize", model, "-o", quantized, "--config", name, "--overwrite", "-q")
        return quantized
    made = []
    for own in MIXTURE:
        must(program, "quantize", model, "-o", folder / own, "--config", own, "--overwrite", "-q")
        made.append(folder / own)
    join_folders(made, quantized)
    return quantized


def join_folders(made: list[pathlib.Path], out: pathlib.Path) -> None:
    """The block i of each folder, in turn, as one folder: what a plan of mixed precision gives."""
    from safetensors.torch import save_file
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(made[0], out)
    all_tensors = [tensors_of(folder) for folder in made]
    plans, tensors, plan = [plan_of(folder) for folder in made], {}, {}
    turn = lambda name: next((int(part) for part in name.split(".") if part.isdigit()), 0) % len(made)
    for i in range(len(made)):
        tensors.update({name: tensor for name, tensor in all_tensors[i].items() if turn(name) == i})
        plan.update({name: format for name, format in plans[i].items() if turn(name) == i})
    config = json.loads((out / "config.json").read_text())
    ours = config["quantization_config"]["metal_marlin"]
    ours["plan"] = plan
    config["quantization_config"] = {"quant_method": "metal-marlin", "metal_marlin": ours}
    (out / "config.json").write_text(json.dumps(config))
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    (out / "SHA256SUMS").unlink()


def check(program: str, model: pathlib.Path, label: str, formats: list[str], context: int, folder: pathlib.Path) -> bool:
    good = True
    for name in formats:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            quantized = quantize(program, model, name, folder)
            tensors, plan = tensors_of(quantized), plan_of(quantized)
            tokens = hf.AutoTokenizer.from_pretrained(quantized)(SAMPLE.read_text()[:4000])["input_ids"][:context]
            own = {stem: decode(tensors, stem, format) for stem, format in plan.items()}
            must(program, "eval", "logits", quantized, "-o", folder / "logits.npy", "--data", SAMPLE, "--ctx", context, "--activations", "fp32",
                 "--threads", 2, "-q")
            logits = numpy.load(folder / "logits.npy")
        except Failed as failed:
            print(f"{label} {name}: FAILED: {failed}", flush=True)
            good = False
            continue
        for compare, others in ((check_compressed_tensors, MLX_ONLY), (check_mlx, COMPRESSED_TENSORS_ONLY)):
            if name in others:
                continue
            try:
                print(f"{label} {name}: {compare(program, quantized, own, tokens, logits)}", flush=True)
            except Exception as failed:  # of any package
                print(f"{label} {name}: FAILED: {type(failed).__name__}: {failed}", flush=True)
                good = False
    return good


def make_family(name: str, tokenizer: pathlib.Path, folder: pathlib.Path, sizes: dict = SIZES) -> pathlib.Path:
    model_class, config_class, own = FAMILIES[name]
    torch.manual_seed(7)
    model = model_class(config_class(**{**sizes, **own})).float().eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            is_norm = "norm" in key and parameter.ndim == 1 and not key.endswith("bias")
            centre = 1.0 if is_norm and name not in ("gemma2", "gemma3") else 0.0
            parameter.copy_(torch.randn_like(parameter) * (0.1 if parameter.ndim == 2 else 0.3) + centre)
    model.to(torch.bfloat16).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / file, folder / file)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--formats", default=",".join([*FORMATS, "mixed"]))
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--families", nargs="?", const=",".join(FAMILIES), default="")
    parser.add_argument("--make", type=pathlib.Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    hf.utils.logging.set_verbosity_error()
    hf.utils.logging.disable_progress_bar()
    if options.make:
        for name in options.families.split(","):
            make_family(name, options.models[0], options.make / name, SIZES | WHOLE_BLOCKS)
        return 0
    good = True
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if options.families:
            models = [(name, make_family(name, options.models[0], folder / name)) for name in options.families.split(",")]
        else:
            models = [(model.name, model) for model in options.models]
        for label, model in models:
            good = check(options.program, model, label, options.formats.split(","), options.context, folder / "work") and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
