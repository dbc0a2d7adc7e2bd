"""Compares two builds of the program: weights of every configuration and method, perplexity and KL must have the same bits.

    python tools/check_same_bits.py OLD_PROGRAM NEW_PROGRAM [MODEL...]

Models: folders with 16-bit weights; models/minnow where none is named. The calibration text is LICENSE.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIGS = ["fp4-g32", "fp4-g64", "fp4-g128", "fp4-g256", "int4-g64", "int4-g128", "int8-g128"]
METHODS = ["rtn", "mse", "gptq", "awq", "awq+gptq", "rotate+mse", "rotate+gptq"]
CALIBRATION = ["--calibration", str(ROOT / "LICENSE"), "--calibration-ctx", "128"]
MEASURE = ["--data", "built-in", "--samples", "4", "--json", "-q"]


def run(program: str, *words: str) -> str:
    done = subprocess.run([program, *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{program} {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def results(program: str, model: str) -> dict[str, object]:
    """What the program makes of the model: hashes of weights, numbers of measurements."""
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        jobs = [(config, "rtn") for config in CONFIGS] + [("int4-g128", method) for method in METHODS[1:]]
        for config, method in jobs:
            out = f"{folder}/{config}-{method}"
            calibration = CALIBRATION if method not in ("rtn", "mse", "rotate+mse") else []
            run(program, "quantize", model, "-c", config, "--method", method, *calibration, "-o", out, "-q")
            weights = pathlib.Path(out, "model.safetensors").read_bytes()
            found[f"{config} {method}"] = hashlib.sha256(weights).hexdigest()
        found["perplexity"] = json.loads(run(program, "eval", "perplexity", model, *MEASURE))["window_nll"]
        for config in CONFIGS:
            measured = json.loads(run(program, "eval", "divergence", f"{folder}/{config}-rtn", "--baseline", model,
                                      "--floor-windows", "0", *MEASURE))
            found[f"{config} perplexity and KL"] = [measured["window_nll"], measured["divergence"]["window_kl"]]
    return found


def main() -> int:
    old, new, *models = sys.argv[1:]
    differences = 0
    for model in models or [str(ROOT / "models/minnow")]:
        before, after = results(old, model), results(new, model)
        different = [name for name in before if before[name] != after[name]]
        differences += len(different)
        print(f"{model}: {len(before) - len(different)} of {len(before)} results have the same bits" +
              "".join(f"\n  different: {name}" for name in different))
    return differences != 0


if __name__ == "__main__":
    sys.exit(main())
