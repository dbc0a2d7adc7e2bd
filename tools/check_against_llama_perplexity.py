"""Compares ppl-512-half with llama.cpp's perplexity tool on the same weights and the same windows.

    python tools/check_against_llama_perplexity.py PROGRAM LLAMA_BIN_DIR MODEL.gguf TEXT [--windows 20]

LLAMA_BIN_DIR contains llama-quantize and llama-perplexity. llama-quantize converts the model to an F16 GGUF for llama-perplexity. This
program reads MODEL.gguf itself, so its decoding of block types is compared too. Fails beyond 0.2 %, the limit of docs/verification.md.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile


def run(*words: str) -> str:
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("llama", type=pathlib.Path)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        f16 = str(pathlib.Path(folder) / "model-f16.gguf")
        run(str(options.llama / "llama-quantize"), "--allow-requantize", options.model, f16, "F16", str(options.threads))
        theirs_text = run(str(options.llama / "llama-perplexity"), "-m", f16, "-f", options.text, "-c", "512",
                          "--chunks", str(options.windows), "-t", str(options.threads))
        ours = json.loads(subprocess.run(
            [options.program, "eval", "perplexity", options.model, "--data", options.text, "--samples", str(options.windows),
             "--json", "-q"], check=True, capture_output=True, text=True).stdout)
    found = re.search(r"Final estimate: PPL = ([\d.]+) \+/- ([\d.]+)", theirs_text)
    if not found:
        print(theirs_text[-2000:])
        return 1
    theirs = float(found[1])
    relative = abs(theirs / ours["ppl_half"] - 1)
    print(f"{options.windows} windows of 512: llama-perplexity {theirs:.4f} +/- {found[2]}, "
          f"ppl-512-half {ours['ppl_half']:.4f} +/- {ours['ppl_half_standard_error']:.4f}, "
          f"relative difference {100 * relative:.4f} % (limit 0.2 %)")
    return 0 if relative <= 0.002 else 1


if __name__ == "__main__":
    sys.exit(main())
