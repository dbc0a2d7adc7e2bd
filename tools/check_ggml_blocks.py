"""Checks our decoding of ggml's block types against the gguf Python package.

  check_ggml_blocks.py --golden FILE       writes the small file that the unit test compares with on every run
  check_ggml_blocks.py TEST_PROGRAM [N]    makes N random blocks per type (4000) and lets marlin_files_test compare

Each line of the file: type, block in hexadecimal, SHA-256 of the decoded fp32 values (little-endian, every NaN written
as 7fc00000, because the definitions do not fix the bits of NaNs). Needs numpy and gguf (pip).
"""

import hashlib
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np

# Where the fp16 scales of a block are, in bytes. MXFP4 and NVFP4 have bytes instead: any is as good as another.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208], "Q2_K": [80, 82], "Q3_K": [108], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [], "NVFP4": []}
# Zeros, subnormals, the smallest normal, one, the largest, infinity, NaN.
EDGES = np.array([0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0x7BFF, 0xFBFF, 0x7C00, 0x7E00], np.uint16)


def blocks(name, count, rng):
    """Random bytes; half with scales of the usual size, a quarter with scales at the edges, and two of one byte only."""
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][1]
    out = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in SCALES[name]:
        usual = (rng.standard_normal(count) * 0.01).astype(np.float16).view(np.uint16)
        scale = np.where(np.arange(count) % 4 < 2, usual, out[:, at:at + 2].copy().view(np.uint16)[:, 0])
        scale = np.where(np.arange(count) % 4 == 2, rng.choice(EDGES, count), scale).astype(np.uint16)
        out[:, at:at + 2] = scale[:, None].view(np.uint8)
    if count > 8:
        out[-1], out[-2] = 0x00, 0xFF
    return out


def lines(count, seed):
    rng = np.random.default_rng(seed)
    for name in SCALES:
        raw = blocks(name, count, rng)
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[name]).astype("<f4")
        bits = np.where(np.isnan(values), np.uint32(0x7FC00000), values.view("<u4"))
        for block, row in zip(raw, bits):
            yield f"{name} {block.tobytes().hex()} {hashlib.sha256(row.astype('<u4').tobytes()).hexdigest()}\n"


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--golden":
        with open(sys.argv[2], "w") as file:
            file.writelines(lines(3, seed=1))
        return 0
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 4000
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(lines(count, seed=2))
        file.flush()
        environment = dict(os.environ, METAL_MARLIN_GGML_GOLDEN=file.name)
        return subprocess.run([sys.argv[1], "--gtest_filter=GgmlBlocks.Golden"], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
