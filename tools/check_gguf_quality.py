"""Compares the quality of GGUF files by this program with that of llama.cpp's quantizer, at equal types and bytes.

    python tools/check_gguf_quality.py PROGRAM MODEL [--text wikitext2-valid] [--calibration-windows 128] [--windows 40]
        [--types q4_0 q4_k iq4_nl mxfp4] [--no-plan]

Needs numpy, safetensors and llama-cpp-python. MODEL has the linear layers of Llama: a folder in 16 bits, or a GGUF file, whose weights lie
on a grid already. That flatters the types that have a similar grid.
- Both calibrate on the same windows of the same text. llama.cpp gets its importance matrix, the mean square of every input of a linear
  layer, from `metal-marlin calibrate`.
- Every linear layer gets the type; the embedding and the head stay in 16 bits. The files have the same size.
- The program measures both files on the same windows of WikiText-2 test: the mean KL to MODEL, with its 95 % interval.
- Last, without --no-plan, `metal-marlin plan --for gguf` gets as many bytes for the linear layers as llama.cpp's Q4_K_M takes for them.
"""

import argparse
import ctypes
import json
import pathlib
import subprocess
import tempfile

import gguf
import llama_cpp.llama_cpp as llama
import safetensors.numpy

F16 = 1
Q4_K_M = 15
# Types of llama.cpp's quantizer, by our names; MXFP4 has no file type of its own.
FILE_TYPES = {"q4_0": 2, "q4_1": 3, "q5_0": 8, "q5_1": 9, "q8_0": 7, "q4_k": 14, "q5_k": 16, "q6_k": 18, "iq4_nl": 25, "mxfp4": 2}
TENSOR_TYPES = {"mxfp4": 39}
INPUTS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.q_proj", "attn_v": "self_attn.q_proj", "attn_output": "self_attn.o_proj",
          "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.gate_proj", "ffn_down": "mlp.down_proj"}


@llama.llama_log_callback
def quiet(level, text, data) -> None:
    """llama.cpp prints a line for every tensor otherwise."""


def run(*words) -> str:
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {result.returncode}\n{result.stderr}")
    return result.stdout


def importance(statistics: pathlib.Path) -> list:
    """Names and mean squares, as llama.cpp's quantizer takes them; the last one has no name."""
    numbers = safetensors.numpy.load_file(str(statistics))
    with safetensors.numpy.safe_open(str(statistics), framework="numpy") as file:
        tokens = int(file.metadata()["tokens"])
        layers = int(file.metadata()["layers"])
    entries = []
    for layer in range(layers):
        for name, place in INPUTS.items():
            squares = (numbers[f"model.layers.{layer}.{place}.input.sum_squares"] / tokens).astype("float32")
            data = (ctypes.c_float * squares.size)(*squares)
            entries.append(llama.llama_model_imatrix_data(f"blk.{layer}.{name}.weight".encode(), data, squares.size))
    return entries + [llama.llama_model_imatrix_data(None, None, 0)]


def quantize_by_llama(source: pathlib.Path, target: pathlib.Path, entries: list, file_type: int, tensor_type: int | None, pure: bool) -> None:
    matrix = (llama.llama_model_imatrix_data * len(entries))(*entries)
    overrides = (llama.llama_model_tensor_override * 2)(
        llama.llama_model_tensor_override(rb"blk\..*\.(attn_(q|k|v|output)|ffn_(gate|up|down))\.weight", tensor_type or 0),
        llama.llama_model_tensor_override(None, 0))
    options = llama.llama_model_quantize_default_params()
    options.ftype = file_type
    options.pure = pure and tensor_type is None
    options.token_embedding_type = F16
    options.output_tensor_type = F16
    options.imatrix = ctypes.cast(matrix, type(options.imatrix))
    if tensor_type is not None:
        options.tt_overrides = ctypes.cast(overrides, type(options.tt_overrides))
    if llama.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(options)) != 0:
        raise SystemExit(f"llama.cpp could not quantize to {target}")


def linear_bytes(path: pathlib.Path) -> int:
    return sum(tensor.n_bytes for tensor in gguf.GGUFReader(str(path)).tensors
               if any(f".{name}.weight" in tensor.name for name in INPUTS))


class Comparison:
    def __init__(self, arguments, folder: pathlib.Path):
        self.arguments = arguments
        self.folder = folder
        self.worst = 0.0

    def divergence(self, path: pathlib.Path) -> dict:
        words = [self.arguments.program, "eval", "divergence", path, "--baseline", self.arguments.model, "--json"]
        if self.arguments.windows:
            words += ["-s", self.arguments.windows]
        return json.loads(run(*words))["divergence"]

    def export(self, name: str, *words) -> pathlib.Path:
        made = self.folder / f"{name}.folder"
        run(self.arguments.program, "quantize", self.arguments.model, *words, "--method", "gptq-cd", *self.calibration(), "-o", made)
        path = self.folder / f"{name}.gguf"
        run(self.arguments.program, "export", made, "--to", "gguf", "-o", path)
        return path

    def calibration(self) -> list:
        return ["--calibration", self.arguments.text, "--calibration-windows", self.arguments.calibration_windows]

    def row(self, name: str, ours: pathlib.Path, theirs: pathlib.Path) -> None:
        own, other = self.divergence(ours), self.divergence(theirs)
        ratio = own["kl"] / other["kl"]
        apart = own["kl_95"][1] < other["kl_95"][0]
        self.worst = max(self.worst, ratio)
        show = lambda d: f"{1e3 * d['kl']:.3f} [{1e3 * d['kl_95'][0]:.3f}, {1e3 * d['kl_95'][1]:.3f}]"
        print(f"| {name} | {linear_bytes(ours)} | {show(own)} | {linear_bytes(theirs)} | {show(other)} | {ratio:.3f} | {'yes' if apart else 'no'} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--text", default="wikitext2-valid")
    parser.add_argument("--calibration-windows", type=int, default=128)
    parser.add_argument("--windows", type=int, default=0, help="of WikiText-2 test; 0 = all")
    parser.add_argument("--types", nargs="+", default=["q4_0", "q4_k", "iq4_nl", "mxfp4"], choices=list(FILE_TYPES))
    parser.add_argument("--no-plan", action="store_true")
    arguments = parser.parse_args()
    llama.llama_log_set(quiet, ctypes.c_void_p())
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        comparison = Comparison(arguments, folder)
        source = folder / "source.gguf"
        run(arguments.program, "export", arguments.model, "--to", "gguf", "--type", "f16", "-o", source)
        run(arguments.program, "calibrate", arguments.model, "--data", arguments.text, "--windows", arguments.calibration_windows,
            "-o", folder / "statistics.safetensors")
        entries = importance(folder / "statistics.safetensors")
        print("| type | bytes | KL, 1e-3 nats | bytes | llama.cpp with importance matrix | ratio | apart |\n| --- | ---: | --- | ---: | --- | ---: | --- |")
        for kind in arguments.types:
            theirs = folder / f"{kind}.llama.gguf"
            quantize_by_llama(source, theirs, entries, FILE_TYPES[kind], TENSOR_TYPES.get(kind), True)
            comparison.row(kind, comparison.export(kind, "-c", kind), theirs)
        if not arguments.no_plan:
            theirs = folder / "q4_k_m.llama.gguf"
            quantize_by_llama(source, theirs, entries, Q4_K_M, None, False)
            reader = gguf.GGUFReader(str(theirs))
            weights = sum(int(tensor.n_elements) for tensor in reader.tensors if any(f".{key}.weight" in tensor.name for key in INPUTS))
            plan = folder / "plan.json"
            run(arguments.program, "plan", arguments.model, "--for", "gguf", "--budget", f"{8 * linear_bytes(theirs) / weights:.6f}bpw",
                *comparison.calibration(), "-o", plan)
            comparison.row("plan, Q4_K_M", comparison.export("plan", "--plan", plan), theirs)
    print(f"largest ratio {comparison.worst:.3f}")


if __name__ == "__main__":
    main()
