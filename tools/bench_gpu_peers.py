"""Times products of weights with a few or many tokens by other programs' GPU kernels, beside cuBLAS in fp16.

    python tools/bench_gpu_peers.py [--shapes 4096x4096,14336x4096] [--tokens 1,8,16,128] [--library PEER.so ...] [--json FILE]

Peers are PyTorch (PyPI's package: fp16, which is cuBLAS, and int4 with groups of 128) and shared libraries that export

    const char* peer_name(void);
    void* peer_pack(const void* weights_fp16, int n, int k, void* stream);   // [n, k], row-major; NULL: cannot multiply this
    size_t peer_bytes(void* packed);                                         // what a product reads of the weights
    int peer_multiply(void* packed, const void* x_fp16, void* out_fp16, int m, void* stream);   // x [m, k], out [m, n]; 0 = done
    void peer_free(void* packed);

All pointers are the device's. A sample is a replayed CUDA graph of many products whose weights rotate through copies larger than four
times the L2 cache. The peers take turns: 15 samples to warm up, 100 measured, the median counts. Each peer's product is compared with
one in fp64 first: 4-bit weights may be off by 20 %, fp16 by 0.2 % (of the norm). Compare the times with those of
`metal-marlin bench kernels --device cuda --shared-input --json` from the same machine: tokens are rounded already here.

With --device cpu nothing is recorded and PyTorch's kernels for processors are timed; that is for trying the script.
"""

import argparse
import ctypes
import json
import os
import statistics
import sys
import time

import torch

WARMUP, MEASURED = 15, 100


class Fp16:
    name, limit = "torch fp16", 0.002

    def __init__(self, weights):
        self.weights = weights.clone()
        self.bytes = weights.numel() * 2

    def multiply(self, x):
        return x @ self.weights.t()


class TorchInt4:
    name, limit, group = "torch int4-g128", 0.2, 128

    def __init__(self, weights):
        n, k = weights.shape
        if k % self.group or n % 8:
            raise ValueError("want k in groups of 128 and n a multiple of 8")
        groups = weights.float().reshape(n, k // self.group, self.group)
        low, high = groups.amin(2, keepdim=True), groups.amax(2, keepdim=True)
        scale = ((high - low) / 15).clamp(min=1e-8)
        codes = ((groups - low) / scale).round().clamp(0, 15).to(torch.int32).reshape(n, k)
        # PyTorch: weight = (code - 8) * scale + zero
        self.parameters = torch.stack([scale.squeeze(2), (low + 8 * scale).squeeze(2)], 2).transpose(0, 1)
        self.parameters = self.parameters.to(torch.bfloat16).contiguous()
        self.bytes = n * k // 2 + self.parameters.numel() * 2
        self.n, self.on_cpu = n, weights.device.type == "cpu"
        if self.on_cpu:
            self.packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 2)
        else:
            pairs = (codes[:, ::2] << 4 | codes[:, 1::2]).to(torch.uint8)
            self.packed = torch.ops.aten._convert_weight_to_int4pack(pairs, 8)

    def multiply(self, x):
        multiply = torch.ops.aten._weight_int4pack_mm_for_cpu if self.on_cpu else torch.ops.aten._weight_int4pack_mm
        return multiply(x.to(torch.bfloat16), self.packed, self.group, self.parameters)


class Library:
    limit = 0.2

    def __init__(self, path, weights):
        self.code = ctypes.CDLL(path)
        self.code.peer_name.restype = ctypes.c_char_p
        self.code.peer_pack.restype = ctypes.c_void_p
        self.code.peer_pack.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p]
        self.code.peer_bytes.restype = ctypes.c_size_t
        self.code.peer_bytes.argtypes = [ctypes.c_void_p]
        self.code.peer_multiply.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int, ctypes.c_void_p]
        self.code.peer_free.argtypes = [ctypes.c_void_p]
        self.name, self.n = self.code.peer_name().decode(), weights.shape[0]
        self.packed = self.code.peer_pack(weights.data_ptr(), *weights.shape, self.stream())
        if not self.packed:
            raise ValueError("the library does not multiply this shape")
        self.bytes = self.code.peer_bytes(self.packed)

    def __del__(self):
        if getattr(self, "packed", None):
            self.code.peer_free(self.packed)

    @staticmethod
    def stream():
        return torch.cuda.current_stream().cuda_stream

    def multiply(self, x):
        out = torch.empty(x.shape[0], self.n, dtype=torch.float16, device=x.device)
        failed = self.code.peer_multiply(self.packed, x.data_ptr(), out.data_ptr(), x.shape[0], self.stream())
        if failed:
            raise RuntimeError(f"{self.name}: peer_multiply returned {failed}")
        return out


class Contestant:
    """Copies of one matrix by one peer, and a function that runs all of them once."""

    def __init__(self, make, weights, cache_bytes, device):
        first = make(weights)
        self.name, self.limit, self.bytes = first.name, first.limit, first.bytes
        count = max(1, min(256, 4 * cache_bytes // max(1, self.bytes) + 1))
        self.copies = [first] + [make(weights) for _ in range(count - 1)]
        self.device, self.samples, self.graph = device, [], None

    def check(self, weights, x):
        want = x.double() @ weights.double().t()
        error = float((self.copies[0].multiply(x).double() - want).norm() / want.norm())
        if not error <= self.limit:
            sys.exit(f"{self.name}: the product is off by {error:.3g} of its norm; at most {self.limit} is expected")
        return error

    def prepare(self, x):
        self.samples, self.x = [], x
        if self.device == "cpu":
            return
        torch.cuda.synchronize()
        self.run_all()
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.run_all()

    def run_all(self):
        for copy in self.copies:
            copy.multiply(self.x)

    def sample(self):
        start = time.perf_counter()
        if self.graph is None:
            self.run_all()
        else:
            self.graph.replay()
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / len(self.copies)

    @property
    def seconds(self):
        return statistics.median(self.samples)


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="4096x4096,14336x4096,4096x14336,8192x8192,8192x28672", help="NxK,...")
    parser.add_argument("--tokens", type=numbers, default=[1, 8, 16, 32, 128, 512, 2048])
    parser.add_argument("--library", action="append", default=[])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--json")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("PyTorch finds no CUDA device; --device cpu tries the script without one")
    cache_bytes = torch.cuda.get_device_properties(0).L2_cache_size if options.device == "cuda" else 1 << 20
    hardware = torch.cuda.get_device_name(0) if options.device == "cuda" else "cpu"
    print(f"{hardware}, torch {torch.__version__}; medians of {MEASURED} samples after {WARMUP}")
    makers = [Fp16, TorchInt4] + [lambda weights, path=path: Library(path, weights) for path in options.library]
    rows = []
    for shape in options.shapes.split(","):
        n, k = map(int, shape.split("x"))
        generator = torch.Generator(options.device).manual_seed(1)
        weights = (torch.randn(n, k, device=options.device, generator=generator) * 0.02).half()
        contestants = []
        for make in makers:
            try:
                contestants.append(Contestant(make, weights, cache_bytes, options.device))
            except (ValueError, RuntimeError) as error:
                print(f"n={n} k={k}: {getattr(make, 'name', 'library')} is left out: {error}")
        print(f"\nn={n} k={k}\n{'m':>6} {'peer':<18} {'us':>9} {'GB/s':>8} {'times as fast':>14} {'error':>9}")
        for m in options.tokens:
            x = torch.randn(m, k, device=options.device, generator=generator).half()
            errors = [contestant.check(weights, x) for contestant in contestants]
            for contestant in contestants:
                contestant.prepare(x)
            for turn in range(WARMUP + MEASURED):
                for contestant in contestants:
                    seconds = contestant.sample()
                    if turn >= WARMUP:
                        contestant.samples.append(seconds)
            base = contestants[0].seconds
            for contestant, error in zip(contestants, errors):
                row = {"n": n, "k": k, "m": m, "peer": contestant.name, "us": contestant.seconds * 1e6, "error": error,
                       "weight_bytes": contestant.bytes, "times_as_fast": base / contestant.seconds}
                rows.append(row)
                print(f"{m:>6} {contestant.name:<18} {row['us']:>9.2f} {contestant.bytes / contestant.seconds / 1e9:>8.0f} "
                      f"{row['times_as_fast']:>13.2f}x {error:>9.2g}")
    if options.json:
        with open(options.json + ".tmp", "w", encoding="utf-8") as file:
            json.dump({"device": hardware, "torch": torch.__version__, "rows": rows}, file, indent=1)
        os.replace(options.json + ".tmp", options.json)


if __name__ == "__main__":
    main()
