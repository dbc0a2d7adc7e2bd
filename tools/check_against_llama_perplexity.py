"""Compares ppl-512-half with llama.cpp on the same weights and the same windows.

    python tools/check_against_llama_perplexity.py PROGRAM MODEL.gguf TEXT [--windows 20] [--original]

Needs numpy and llama-cpp-python. llama.cpp converts the model to an F16 GGUF and computes what its perplexity tool computes: windows of
512 tokens, the first one replaced by BOS where the model adds it, losses of the second half. This program reads MODEL.gguf itself, so its
decoding of block types and its tokenizer are compared too. --original: llama.cpp also computes with MODEL.gguf itself, whose kernels
round activations; that is shown and not compared. Fails beyond 0.2 %, the limit of docs/verification.md.
"""

import argparse
import ctypes
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import llama_cpp
import numpy

CONTEXT = 512


@llama_cpp.llama_log_callback
def quiet(level, text, data) -> None:
    """llama.cpp prints a line for every tensor otherwise."""


def convert(model: str, f16: str, threads: int) -> None:
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.nthread = threads
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_F16
    parameters.allow_requantize = True
    if llama_cpp.llama_model_quantize(model.encode(), f16.encode(), ctypes.byref(parameters)) != 0:
        raise SystemExit("llama.cpp does not convert the model")


def perplexity(model: str, text: str, windows: int, threads: int) -> float:
    llama = llama_cpp.Llama(model, n_ctx=CONTEXT, n_batch=CONTEXT, logits_all=True, n_threads=threads, n_threads_batch=threads,
                            verbose=False)
    bos = llama.token_bos() if llama_cpp.llama_vocab_get_add_bos(llama._model.vocab) else None
    tokens = llama.tokenize(text.encode(), add_bos=bos is not None, special=False)
    losses = []
    for window in range(windows):
        own = list(tokens[window * CONTEXT:(window + 1) * CONTEXT])
        if bos is not None:
            own[0] = bos
        llama.reset()
        llama.eval(own)
        logits = llama.scores[:CONTEXT].astype(numpy.float64)
        for i in range(CONTEXT // 2, CONTEXT - 1):
            row = logits[i]
            losses.append(row.max() + math.log(numpy.exp(row - row.max()).sum()) - row[own[i + 1]])
    return math.exp(sum(losses) / len(losses))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--original", action="store_true")
    options = parser.parse_args()
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    with tempfile.TemporaryDirectory() as folder:
        f16 = str(pathlib.Path(folder) / "model-f16.gguf")
        convert(options.model, f16, options.threads)
        text = pathlib.Path(options.text).read_text()
        theirs = perplexity(f16, text, options.windows, options.threads)
        if options.original:
            print(f"llama.cpp with the file itself: {perplexity(options.model, text, options.windows, options.threads):.4f}")
    ours = json.loads(subprocess.run(
        [options.program, "eval", "perplexity", options.model, "--data", options.text, "--samples", str(options.windows),
         "--json", "-q"], check=True, capture_output=True, text=True).stdout)
    relative = abs(theirs / ours["ppl_half"] - 1)
    print(f"{options.windows} windows of {CONTEXT}: llama.cpp {theirs:.4f}, ppl-512-half {ours['ppl_half']:.4f} "
          f"+/- {ours['ppl_half_standard_error']:.4f}, relative difference {100 * relative:.4f} % (limit 0.2 %)")
    return 0 if relative <= 0.002 else 1


if __name__ == "__main__":
    sys.exit(main())
