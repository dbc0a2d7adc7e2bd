"""Compares this program's fp32 reference path with Hugging Face transformers on the same weights of a GGUF file.

    python tools/check_against_transformers.py PROGRAM MODEL.gguf TEXT [--windows 4] [--backend reference|cpu]

Needs torch, transformers, accelerate, gguf, numpy, tokenizers. transformers reads the GGUF itself; its matrices are rounded to 16 bits
like this program's baseline (docs/decisions/0002). Prints max|difference| / max|logit| of the first
window and the perplexities of both protocols; fails beyond 1e-4 and 1e-3, the limits of docs/verification.md.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from transformers import AutoModelForCausalLM


def round_to_16_bits(model) -> None:
    """BF16 where that is exact, else FP16."""
    with torch.no_grad():
        for parameter in model.parameters():
            exact = torch.equal(parameter.to(torch.bfloat16).float(), parameter)
            parameter.copy_(parameter.to(torch.bfloat16 if exact else torch.float16).float())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("text")
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--backend", default="reference")
    options = parser.parse_args()

    model = AutoModelForCausalLM.from_pretrained(options.model.parent, gguf_file=options.model.name, dtype=torch.float32)
    model.eval()
    round_to_16_bits(model)

    def run(*words: str) -> str:
        return subprocess.run([options.program, *words], check=True, capture_output=True, text=True).stdout

    ids = torch.tensor(json.loads(run("inspect", str(options.model), "--tokenize", options.text, "--json")))
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "logits.npy")
        run("eval", "logits", str(options.model), "--data", options.text, "--ctx", str(options.ctx), "-o", path,
            "--backend", options.backend)
        ours = torch.from_numpy(numpy.load(path))
    measured = json.loads(run("eval", "perplexity", str(options.model), "--data", options.text, "--samples",
                              str(options.windows), "--ctx", str(options.ctx), "--backend", options.backend, "--json"))

    scored = {"ppl": options.ctx - 1, "ppl_half": options.ctx - 1 - options.ctx // 2}  # the last so many targets of a window
    totals = dict.fromkeys(scored, 0.0)
    worst = 0.0
    with torch.no_grad():
        for window in range(options.windows):
            tokens = ids[window * options.ctx:(window + 1) * options.ctx]
            logits = model(tokens[None]).logits[0]
            if window == 0:
                worst = ((logits - ours).abs().max() / logits.abs().max()).item()
            losses = torch.nn.functional.cross_entropy(logits[:-1].double(), tokens[1:], reduction="none")
            print(f"window {window}: nll transformers {losses.sum().item():.6f}, here {measured['window_nll'][window]:.6f}")
            for name, count in scored.items():
                totals[name] += losses[-count:].sum().item()
    print(f"logits of window 0: max|difference| / max|logit| = {worst:.2e} (limit 1e-4)")
    fine = worst <= 1e-4
    for name, count in scored.items():
        theirs = numpy.exp(totals[name] / (options.windows * count))
        relative = abs(theirs / measured[name] - 1)
        print(f"{name.replace('_', '-').replace('ppl', f'ppl-{options.ctx}')} over {options.windows} windows: "
              f"transformers {theirs:.6f}, here {measured[name]:.6f}, relative difference {relative:.2e} (limit 1e-3)")
        fine = fine and relative <= 1e-3
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
