// The CPU backend's operations that measure, on matrices in host memory: losses, divergences, most likely tokens,
// statistics. backend.h has their contracts.
#pragma once

#include <cstdint>

#include "base/matrix.h"
#include "kernels/cpu/tile.h"
#include "kernels/cpu_workers.h"

namespace marlin {

void CrossEntropyOf(MatrixView<const float> logits, MatrixView<const std::int32_t> targets, MatrixView<double> nll,
                    const OpsTable& ops, CpuWorkers& workers);

void DivergenceOf(MatrixView<const float> base, MatrixView<const float> other, MatrixView<const std::int32_t> targets,
                  MatrixView<double> out, const OpsTable& ops, CpuWorkers& workers);

void TopKOf(MatrixView<const float> x, MatrixView<float> values, MatrixView<std::int32_t> columns, CpuWorkers& workers);

void MomentsOf(MatrixView<const float> x, MatrixView<double> sums, MatrixView<float> largest, CpuWorkers& workers);

}  // namespace marlin
