// Runs chains (chain_layout.h): what chain.cu defines.
#pragma once

#include <cstddef>

#include "kernels/cuda/chain_layout.h"

namespace marlin::cuda {

// Whether there is a kernel for weights of this format and heads of this size.
bool CanRunChain(const FewFormat& format, std::size_t head_dim);

// Blocks that run at once on the current device: one on each multiprocessor.
int BlocksOfChain();

struct ChainArgs {
  const ChainStep* steps = nullptr;  // in the device's memory
  int count = 0;
  const std::int32_t* position = nullptr;  // of the token
  // [2], zeros; the kernel leaves zeros. The first counts blocks that came to a barrier, the second those that are
  // done.
  unsigned* counters = nullptr;
};

void LaunchChain(const FewFormat& format, std::size_t head_dim, const ChainArgs& args, cudaStream_t stream);

}  // namespace marlin::cuda
