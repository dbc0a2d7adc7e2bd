#!/usr/bin/env bash
# Compiles the CUDA sources for one architecture, where nvcc is there. Their tests need a GPU: CONTRIBUTING.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! command -v nvcc >/dev/null 2>&1; then
  echo "CUDA: nvcc is not installed, so its sources are not compiled"
  exit 0
fi
cmake --preset cuda -DMARLIN_CUDA_ARCHITECTURES=90a --log-level=NOTICE
cmake --build --preset cuda --target marlin_cuda
