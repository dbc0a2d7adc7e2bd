"""Compares `eval divergence` with the formula of KL on the logits of both models, in fp64 with NumPy.

    python tools/check_divergence.py PROGRAM MODEL BASELINE [--data TEXT] [--windows 2]
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

TOLERANCE = 1e-6  # relative, of a window's KL


def log_softmax(program: str, model: str, data: str, window: int, folder: str) -> np.ndarray:
    path = pathlib.Path(folder) / "logits.npy"
    subprocess.run([program, "eval", "logits", model, "--data", data, "--window", str(window), "-o", path, "-q"],
                   check=True, stdout=subprocess.DEVNULL)
    logits = np.load(path).astype(np.float64)[:-1]  # the last position has no target
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("baseline")
    parser.add_argument("--data", default="built-in")
    parser.add_argument("--windows", type=int, default=2)
    args = parser.parse_args()
    measured = json.loads(subprocess.run(
        [args.program, "eval", "divergence", args.model, "--baseline", args.baseline, "--data", args.data, "--samples",
         str(args.windows), "--floor-windows", "0", "--json", "-q"], check=True, capture_output=True).stdout)["divergence"]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for window in range(args.windows):
            p = log_softmax(args.program, args.baseline, args.data, window, folder)
            q = log_softmax(args.program, args.model, args.data, window, folder)
            kl = (np.exp(p) * (p - q)).sum()
            same = int((p.argmax(axis=1) == q.argmax(axis=1)).sum())
            apart = abs(measured["window_kl"][window] - kl) / kl
            good = apart <= TOLERANCE and measured["window_same_top"][window] == same
            bad += not good
            print(f"window {window}: KL {measured['window_kl'][window]:.9f}, NumPy {kl:.9f}, {apart:.1e} apart; same top-1 "
                  f"{measured['window_same_top'][window]:.0f}, NumPy {same} of {len(p)}: {'ok' if good else 'WRONG'}")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
