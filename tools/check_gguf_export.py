"""Exports models as GGUF and compares the files with what other programs read in them.

    python tools/check_gguf_export.py PROGRAM MODEL... [--limit 1e-4] [--formats q4_0,q4_k,PLAN.json]

Needs numpy, safetensors, gguf and llama-cpp-python. Each MODEL is exported as F32; `metal-marlin check-export` compares every number.
- gguf-py reads every tensor. Where MODEL is a GGUF, the numbers are those of the source bit for bit.
- llama.cpp loads the file and computes the logits of a window (CPU, F32 weights, F32 cache): the first one of the sample text, or, of a
  tiny checkpoint, the tokens that lie beside it. They agree with `metal-marlin eval logits` of the source, or with the logits of transformers that lie
  beside the checkpoint. The limit is relative to the largest logit of the window. Models with GELU have a wider one, GELU_LIMIT: llama.cpp
  looks GELU up in a table of 16 bits.
- Where MODEL is a folder by `quantize`, it is exported once more with its own codes and scales. gguf-py decodes every block to the numbers of
  the F32 file, bit for bit, and llama.cpp loads the file. Its logits with its quantized kernels are compared, without a limit.
- --formats: each MODEL is quantized to each of them first (round to nearest), and those folders are checked. A plan file may stand for a
  format.
- Where MODEL is a GGUF, llama.cpp converts it to F32 itself. Its logits with that file and with the exported one are the same bits.

A quantized GGUF is exported as F16 first, since `eval logits` keeps weights in 16 bits; that file is then the source. llama.cpp does not
load some tiny GGUF files of its own converter; that is said, and not a failure.
"""

import argparse
import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy
import safetensors.numpy

SAMPLE = pathlib.Path(__file__).resolve().parent.parent / "data" / "sample" / "sample.txt"
GELU = {"gemma2", "gemma3", "gemma4", "gpt2", "gptneox"}
GELU_LIMIT = 5e-3
# Where llama.cpp is known to compute something else with the file of its converter.
OTHER_OWN_FILE = {"tiny-olmo3.gguf": "it ignores the key yarn_attn_factor that its converter writes"}
PLAIN = {gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16}


@llama_cpp.llama_log_callback
def quiet(level, text, data) -> None:
    """llama.cpp prints a line for every tensor otherwise."""


def run(*words) -> str:
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {result.returncode}\n{result.stderr}")
    return result.stdout


def tensors_of(path: pathlib.Path) -> dict[str, numpy.ndarray]:
    """Every tensor as fp32, by gguf-py's own decoders."""
    reader = gguf.GGUFReader(str(path))
    return {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32).reshape(tuple(reversed(tensor.shape)))
            for tensor in reader.tensors}


def is_quantized(path: pathlib.Path) -> bool:
    return path.is_file() and any(tensor.tensor_type not in PLAIN for tensor in gguf.GGUFReader(str(path)).tensors)


def compare_tensors(source: pathlib.Path, exported: pathlib.Path) -> str:
    got = tensors_of(exported)
    if source.is_dir():
        return f"{len(got)} tensors read by gguf-py"
    want = tensors_of(source)
    # Some programs write a shared matrix twice, and frequencies of rotary positions in each block.
    missing = {name for name in want if name not in got and not name.endswith("attn_rot_embd.weight")} - {"output.weight"}
    if missing or set(got) - set(want):
        raise SystemExit(f"{exported}: tensors differ: {missing or set(got) - set(want)}")
    for name, values in got.items():
        if values.shape != want[name].shape or not numpy.array_equal(values.view(numpy.uint32), want[name].view(numpy.uint32)):
            raise SystemExit(f"{exported}: tensor {name} differs from that of {source}")
    return f"{len(got)} tensors equal bit for bit"


def write_their_logits(path: str, context: int, threads: int, tokens: str, out: str) -> None:
    """In a process of its own: llama.cpp ends it where it does not like a model."""
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama = llama_cpp.Llama(path, n_ctx=context, n_batch=context, n_ubatch=context, logits_all=True, n_threads=threads,
                            n_threads_batch=threads, type_k=0, type_v=0, verbose=False)
    if tokens:
        ids = json.loads(tokens)
    else:
        adds_bos = llama_cpp.llama_vocab_get_add_bos(llama._model.vocab)
        ids = llama.tokenize(SAMPLE.read_bytes(), add_bos=adds_bos, special=False)[:context]
    llama.eval(ids)
    numpy.save(out, llama.scores[:context])


def their_logits(path: pathlib.Path, context: int, threads: int, tokens: list[int], folder: pathlib.Path) -> numpy.ndarray | None:
    """None where llama.cpp does not load the file."""
    out = folder / "theirs.npy"
    out.unlink(missing_ok=True)
    words = [sys.executable, __file__, "--logits", path, context, threads, json.dumps(tokens) if tokens else "", out]
    subprocess.run([str(word) for word in words], capture_output=True, timeout=3000)
    return numpy.load(out) if out.exists() else None


def their_f32(source: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_ALL_F32
    parameters.allow_requantize = True
    out = folder / "their-f32.gguf"
    if llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(parameters)) != 0:
        raise SystemExit(f"llama.cpp does not convert {source}")
    return out


def context_of(path: pathlib.Path) -> int:
    reader = gguf.GGUFReader(str(path))
    architecture = reader.fields["general.architecture"].contents()
    return min(512, int(reader.fields[f"{architecture}.context_length"].contents()))


def has_gelu(path: pathlib.Path) -> bool:
    return gguf.GGUFReader(str(path)).fields["general.architecture"].contents() in GELU


def our_logits(program: str, source: pathlib.Path, context: int, threads: int, folder: pathlib.Path) -> numpy.ndarray:
    logits = folder / "logits.npy"
    run(program, "eval", "logits", source, "-o", logits, "--data", SAMPLE, "--ctx", context, "--activations", "fp32",
        "--threads", threads, "-q")
    return numpy.load(logits)


def is_made_by_quantize(path: pathlib.Path) -> bool:
    config = path / "config.json"
    return config.exists() and "metal_marlin" in (json.loads(config.read_text()).get("quantization_config") or {})


def quantize(program: str, model: pathlib.Path, name: str, folder: pathlib.Path) -> pathlib.Path:
    """`name`: a format, or a file made by `plan`. The folder is called as both."""
    choice = ["--plan", name] if name.endswith(".json") else ["-c", name]
    out = folder / f"{model.name} {pathlib.Path(name).name}"
    run(program, "quantize", model, "-o", out, *choice, "--method", "rtn", "-q")
    return out


def check_blocks(program: str, model: pathlib.Path, decoded: pathlib.Path, logits: numpy.ndarray, threads: int, folder: pathlib.Path) -> str:
    """The file with the codes of `model` beside the one that holds what they decode to."""
    exported = folder / "blocks.gguf"
    run(program, "export", model, "-o", exported, "--overwrite", "-q")
    run(program, "check-export", exported, model, "-q")
    got, want = tensors_of(exported), tensors_of(decoded)
    for name, values in got.items():
        if not numpy.array_equal(values.view(numpy.uint32), want[name].view(numpy.uint32)):
            raise SystemExit(f"{exported}: gguf-py decodes tensor {name} to other numbers")
    types = {}
    for tensor in gguf.GGUFReader(str(exported)).tensors:
        types[tensor.tensor_type.name] = types.get(tensor.tensor_type.name, 0) + 1
    theirs = their_logits(exported, len(logits), threads, [], folder)
    if theirs is None:
        raise SystemExit(f"{model}: llama.cpp does not load the file with blocks")
    relative = numpy.abs(logits.astype(numpy.float64) - theirs).max() / numpy.abs(logits).max()
    return f"; with its blocks ({', '.join(f'{count} {name}' for name, count in sorted(types.items()))}): equal bit for bit, llama.cpp's kernels differ by {relative:.3g}"


def check(program: str, model: pathlib.Path, limit: float, threads: int, folder: pathlib.Path) -> bool:
    source = model
    if is_quantized(model):
        source = folder / "f16.gguf"
        run(program, "export", model, "-o", source, "--type", "f16", "--overwrite", "-q")
    exported = folder / "f32.gguf"
    notes = json.loads(run(program, "export", source, "-o", exported, "--type", "f32", "--overwrite", "-q", "--json"))["notes"]
    run(program, "check-export", exported, source, "-q")
    compared = compare_tensors(source, exported)
    beside = source / "expected.safetensors"
    if beside.exists():
        expected = safetensors.numpy.load_file(beside)
        tokens, ours, of = expected["tokens"].reshape(-1).tolist(), expected["prefill"], "transformers"
        ours = ours.reshape(-1, ours.shape[-1])
        context = len(tokens)
    else:
        tokens, context, of = [], context_of(exported), "eval logits"
        ours = our_logits(program, source, context, threads, folder)
    theirs = their_logits(exported, context, threads, tokens, folder)
    if theirs is None:
        own = their_logits(source, context, threads, tokens, folder) if source.is_file() else None
        told = any("does not load" in note for note in notes)
        nor = source.is_file() and own is None
        print(f"{model.name}: {compared}; llama.cpp does not load it" + (", as export said" if told else "") +
              (", nor the file of its own converter" if nor else "") + ("" if told or nor else ": FAILED"), flush=True)
        return told or nor
    if ours.shape != theirs.shape:
        raise SystemExit(f"{model}: our logits have shape {ours.shape}, llama.cpp's {theirs.shape}")
    difference = numpy.abs(ours.astype(numpy.float64) - theirs).max()
    relative = difference / numpy.abs(ours).max()
    limit = GELU_LIMIT if has_gelu(exported) else limit
    told = any("other logits" in note for note in notes)
    fits = bool(relative <= limit or told)
    same = ""
    if source.is_file():
        own = their_logits(their_f32(source, folder), context, threads, tokens, folder)
        equal = own is not None and numpy.array_equal(own, theirs)
        reason = OTHER_OWN_FILE.get(model.name)
        same = "; llama.cpp gives the same bits with its own F32 file" if equal else "; llama.cpp gives other logits with its own F32 file"
        same += "" if equal else f": {reason}" if reason else ": FAILED"
        fits = fits and (equal or reason is not None)
    if is_made_by_quantize(model):
        same += check_blocks(program, model, exported, ours, threads, folder)
    print(f"{model.name}: {compared}; {context} tokens, {of}: largest logit {numpy.abs(ours).max():.4g}, largest difference "
          f"{difference:.3g}, relative {relative:.3g} (limit {limit:g}){'' if relative <= limit else ', as export said' if told else ': FAILED'}{same}", flush=True)
    return fits


def main() -> int:
    if sys.argv[1:2] == ["--logits"]:
        write_their_logits(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sys.argv[6])
        return 0
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--limit", type=float, default=1e-4)
    parser.add_argument("--formats", type=lambda text: text.split(","), default=[])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    good = True
    for model in options.models:
        for name in options.formats or [None]:
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                source = model if name is None else quantize(options.program, model, name, folder)
                good = check(options.program, source, options.limit, options.threads, folder) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
