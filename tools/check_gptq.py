"""Checks method `gptq` against an independent implementation in numpy, on one layer with correlated inputs.

    tools/check_gptq.py build/release/marlin_quantize_test [--rows 192] [--columns 576] [--tokens 4096]

The script makes weights and inputs, hands them over in a folder (test GptqFiles.ServeTheCheckInPython reads
input.safetensors and writes model.safetensors there), and quantizes the same layer as the paper writes it: the inverse
of the damped Hessian, its upper Cholesky factor, every error divided by the diagonal and spread over all later columns, in
double. The scales are those of the program: they are input to the method. Its Gram matrix is compared with one in
double, then used, because one code on the other side of a tie changes the rest of its row. Fails unless more
than 99.9 % of the codes and the error agree, in every format, and gptq's error is below mse's, mse's below rtn's.
"""

import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np

DTYPES = {"F32": np.float32, "F16": np.float16, "U8": np.uint8}
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array, np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = np.frombuffer(raw[8 + size + begin : 8 + size + end], DTYPES[entry["dtype"]])
        tensors[name] = array.reshape(entry["shape"])
    return tensors, metadata


def make_layer(rows, columns, tokens, seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_t(5, (rows, columns)) * 0.03
    causes = rng.normal(size=(tokens, 24)) @ rng.normal(size=(24, columns)) * 0.4
    inputs = (causes + rng.normal(size=(tokens, columns))) * np.exp(rng.normal(size=columns) * 0.8)
    inputs[:, 5::97] = 0  # channels that the text never activates
    return weight.astype(np.float32), inputs.astype(np.float32)


def round_column(family, target, scale, zero):
    """Codes and decoded values of one column; scale and zero per row."""
    scale = scale.astype(np.float64)
    safe = np.where(scale == 0, 1, scale)
    if family == "fp4":
        distance = np.abs(np.abs(target / safe)[:, None] - E2M1[None, :])
        magnitude = np.argmin(distance, axis=1)
        codes = np.where((target < 0) & (magnitude > 0), magnitude + 8, magnitude)
        values = np.sign(target) * E2M1[magnitude] * scale
    elif family == "int4":
        codes = np.clip(np.rint(target / safe) + zero, 0, 15).astype(int)
        values = (codes - zero.astype(int)) * scale
    else:
        signed = np.clip(np.rint(target / safe), -127, 127).astype(int)
        codes, values = signed & 255, signed * scale
    return codes, values


def gptq(family, weight, hessian, group, scales, zeros, damping):
    columns = weight.shape[1]
    diagonal = np.diag(hessian)
    mean = diagonal[diagonal > 0].mean()
    order = np.argsort(-diagonal, kind="stable")
    damped = hessian[np.ix_(order, order)].copy()
    own = np.diag(damped).copy()
    np.fill_diagonal(damped, np.where(own == 0, mean, own) + damping * mean)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    work = weight[:, order].astype(np.float64)
    codes = np.zeros(weight.shape, int)
    decoded = np.zeros(weight.shape)
    for i, column in enumerate(order):
        codes[:, column], value = round_column(
            family, work[:, i], scales[:, column // group], zeros[:, column // group]
        )
        decoded[:, column] = value
        error = (work[:, i] - value) / upper[i, i]
        work[:, i + 1 : columns] -= error[:, None] * upper[None, i, i + 1 :]
    return codes, decoded


def decode(family, codes, group, scales, zeros):
    columns = np.arange(codes.shape[1]) // group
    scale = scales.astype(np.float64)[:, columns]
    if family == "fp4":
        return np.where(codes >= 8, -1, 1) * E2M1[codes & 7] * scale
    if family == "int4":
        return (codes.astype(int) - zeros.astype(int)[:, columns]) * scale
    return codes.astype(np.int8).astype(int) * scale


def output_error(difference, hessian):
    return float(np.einsum("ri,ij,rj->", difference, hessian, difference, optimize=True))


def check(name, tensors, metadata, weight, hessian):
    family, group = name.split("-g")[0], int(name.split("-g")[1])
    errors = {}
    for method in ("rtn", "mse", "gptq"):
        parts = [tensors[f"{name}.{method}.{part}"] for part in ("codes", "scales", "zero_points")]
        difference = weight - decode(family, parts[0], group, parts[1], parts[2])
        errors[method] = output_error(difference, hessian)
        said = float(metadata[f"{name}.{method}"])
        if abs(said / errors[method] - 1) > 1e-3:
            return f"{name}: the program says {method}'s error is {said}, it is {errors[method]}"
    scales, zeros = tensors[f"{name}.gptq.scales"], tensors[f"{name}.gptq.zero_points"]
    if not np.array_equal(scales, tensors[f"{name}.mse.scales"]):
        return f"{name}: gptq changed the scales of mse"
    codes, decoded = gptq(family, weight, hessian, group, scales, zeros, float(metadata["damping"]))
    same = float(np.mean(codes == tensors[f"{name}.gptq.codes"]))
    own = output_error(weight - decoded, hessian)
    apart = abs(own / errors["gptq"] - 1)
    print(
        f"{name}: same codes {100 * same:.4f} %, error {errors['gptq']:.6g}, numpy {own:.6g} "
        f"({100 * apart:.4f} % apart); rtn {errors['rtn']:.6g}, mse {errors['mse']:.6g}"
    )
    if same <= 0.999 or apart > 1e-3 or not errors["gptq"] < errors["mse"] < errors["rtn"]:
        return f"{name}: too far apart"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="marlin_quantize_test")
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--columns", type=int, default=576)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    weight, inputs = make_layer(args.rows, args.columns, args.tokens, args.seed)
    with tempfile.TemporaryDirectory() as folder:
        write_safetensors(pathlib.Path(folder) / "input.safetensors", {"weight": weight, "inputs": inputs})
        environment = dict(os.environ, METAL_MARLIN_GPTQ_FOLDER=folder)
        subprocess.run(
            [args.program, "--gtest_filter=GptqFiles.*", "--gtest_brief=1"],
            env=environment, check=True, stdout=subprocess.DEVNULL,
        )
        tensors, metadata = read_safetensors(pathlib.Path(folder) / "model.safetensors")
    wide = inputs.astype(np.float64)
    hessian = 2 * wide.T @ wide / len(wide)
    upper = np.triu(tensors["gram"].astype(np.float64)) * 2 / len(wide)
    given = upper + np.triu(upper, 1).T
    size = np.sqrt(np.diag(hessian))
    size[size == 0] = 1
    worst = float(np.max(np.abs(given - hessian) / np.outer(size, size)))
    print(f"Gram matrix: at most {worst:.2g} of the diagonal from the sum in double")
    names = [key[: -len(".gptq.codes")] for key in tensors if key.endswith(".gptq.codes")]
    complaints = [check(name, tensors, metadata, weight.astype(np.float64), given) for name in names]
    complaints = [complaint for complaint in complaints if complaint]
    if worst > 1e-5:
        complaints.append("the Gram matrix is too far from the sum in double")
    print("\n".join(complaints) if complaints else f"{len(names)} formats agree")
    return 1 if complaints or not names else 0


if __name__ == "__main__":
    sys.exit(main())
