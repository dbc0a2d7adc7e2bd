// What the files of attention share.
#pragma once

#include "kernels/cuda/operations.h"

namespace marlin::cuda {

// Attention of many tokens over a cache in fp16. False where no kernel takes heads of this size; then nothing is
// queued.
bool AttendHalves(const AttentionShape& shape, View<const float> q, const CacheView& cache,
                  View<const std::int32_t> positions, View<float> out, cudaStream_t stream);
// The same of few tokens.
bool AttendFewHalves(const AttentionShape& shape, View<const float> q, const CacheView& cache,
                     View<const std::int32_t> positions, View<float> out, cudaStream_t stream);

}  // namespace marlin::cuda
