// Random operands of timed products.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/matrix.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/backend.h"

namespace marlin {

// Bell-shaped around 0 with the standard deviation `scale`. Other numbers where the pool has other threads.
std::vector<float> RandomMatrix(std::size_t count, std::uint64_t seed, double scale, ThreadPool& pool);

// A matrix on the device as Yardsticks take it: rounded to fp16, int32 [rows, cols / 2]. cols: even. Errors: kResource.
Result<std::unique_ptr<Buffer>> UploadHalfPairs(Backend& backend, MatrixView<const float> values, ThreadPool& pool);

}  // namespace marlin
