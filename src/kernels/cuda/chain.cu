// The kernel that runs chains.
#include <optional>

#include "kernels/cuda/chain.h"
#include "kernels/cuda/chain_attention.cuh"
#include "kernels/cuda/chain_ring.cuh"

namespace marlin::cuda {
namespace {

#if MARLIN_HAS_BULK_COPIES
// The next step comes to shared memory before the barrier, so that it does not wait for it afterwards.
__device__ void FetchStep(ChainShared& shared, const ChainArgs& args, int step) {
  constexpr int kWords = sizeof(ChainStep) / sizeof(uint4);
  static_assert(kWords <= kChainWorkers - kWarp && sizeof(ChainStep) % sizeof(uint4) == 0);
  const int i = static_cast<int>(threadIdx.x) - kWarp;  // warp 0 is at the barrier
  if (step >= args.count || i < 0 || i >= kWords) return;
  reinterpret_cast<uint4*>(shared.steps + step % 2)[i] = reinterpret_cast<const uint4*>(args.steps + step)[i];
}

__device__ unsigned Arrived(const unsigned* counter) {
  unsigned count;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(count) : "l"(counter) : "memory");
  return count;
}

// Working threads of all blocks wait for each other, and see what the others wrote. target: arrivals since the kernel
// began.
__device__ void WaitForBlocks(ChainShared& shared, const ChainArgs& args, int next_step, unsigned target) {
  WaitForWorkers();
  if (threadIdx.x == 0) {
    __threadfence();
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(args.counters) : "memory");
    while (Arrived(args.counters) < target) {
    }
  }
  __syncwarp();
  FetchStep(shared, args, next_step);
  WaitForWorkers();
}

// The last block that is done leaves the counters as they were. No block waits at a barrier then.
__device__ void LeaveCounters(const ChainArgs& args) {
  if (threadIdx.x != 0 || atomicAdd(args.counters + 1, 1u) + 1 != gridDim.x) return;
  args.counters[0] = 0;
  args.counters[1] = 0;
}

template <class Type, int kDim>
__device__ void RunSteps(ChainShared& shared, const ChainArgs& args, std::uint32_t ring) {
  int items = 0;  // of this block, in the steps so far
  const int position = *args.position;
  int splits = 1;
  unsigned target = 0;
#pragma unroll 1
  for (int s = 0; s < args.count; ++s) {
    const ChainStep& step = shared.steps[s % 2];
    bool waits = s + 1 < args.count;
    switch (step.kind) {
      case ChainStep::Kind::kProduct:
        MakeInput(shared, step);
        WaitForWorkers();
        ChainMultiplier<Type>(shared, ring).Run(shared, step.product, items);
        break;
      case ChainStep::Kind::kAttend:
        splits = ChainSplits(position, step.attention.shape.window, static_cast<int>(step.attention.cache.kv_heads),
                             static_cast<int>(gridDim.x))
                     .count;
        AttendHeads<kDim>(shared, step.attention, position);
        break;
      case ChainStep::Kind::kCombine:
        if (splits == 1) {
          waits = false;  // the attention's output is there: the same in all blocks
          FetchStep(shared, args, s + 1);
          WaitForWorkers();
        } else {
          CombineSplits(step.attention, splits);
        }
        break;
      case ChainStep::Kind::kFinish:
        Finish(step.input);
        break;
    }
    if (waits) WaitForBlocks(shared, args, s + 1, target += gridDim.x);
  }
  LeaveCounters(args);
}
#endif

template <class Type, int kDim>
__global__ void __launch_bounds__(kChainThreads, 1) ChainKernel(const __grid_constant__ ChainArgs args) {
#if MARLIN_HAS_BULK_COPIES
  using Ring = ChainRing<Type>;
  extern __shared__ std::uint8_t chain_memory[];
  const std::uint32_t unaligned = SharedAddress(chain_memory), aligned = (unaligned + 127u) & ~127u;
  ChainShared& shared = *reinterpret_cast<ChainShared*>(chain_memory + (aligned - unaligned));
  const std::uint32_t ring = aligned + Ring::kShared;
  FetchStep(shared, args, 0);
  if (threadIdx.x == kChainWorkers) {
    for (int stage = 0; stage < Ring::kStages; ++stage) {
      BarrierInit(SharedAddress(shared.full + stage), 1);
      BarrierInit(SharedAddress(shared.empty + stage), kWorkers * kArrivalsOfWarp);
    }
    FenceBarrierInit();
  }
  __syncthreads();
  if (threadIdx.x >= kChainWorkers) {
    if (threadIdx.x == kChainWorkers) CopyItems<Type>(shared, args.steps, args.count, ring);
    return;
  }
  RunSteps<Type, kDim>(shared, args, ring);
#endif
}

template <class Type, int kDim>
void Launch(const ChainArgs& args, cudaStream_t stream) {
  constexpr int kBytes = ChainRing<Type>::kBytes;
  const auto kernel = &ChainKernel<Type, kDim>;
  static const cudaError_t kAllowed = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  static_cast<void>(kAllowed);   // a launch that does not fit is an error too
  cudaLaunchAttribute together;  // all blocks run at once, or none
  together.id = cudaLaunchAttributeCooperative;
  together.val.cooperative = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(BlocksOfChain()));
  config.blockDim = dim3(kChainThreads);
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = &together;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, args);
}

struct ChainRow {
  FewFormat format;
  std::size_t head_dim;
  void (*launch)(const ChainArgs& args, cudaStream_t stream);
};

template <int kGroup, int kDim>
constexpr ChainRow kFp4Row = {{FewCoding::kFp4, FewScale::kHalf, kGroup, false},
                              kDim,
                              &Launch<FewType<FewCoding::kFp4, FewScale::kHalf, kGroup, false>, kDim>};

// The kernels that there are.
constexpr ChainRow kChains[] = {kFp4Row<128, 128>, kFp4Row<128, 64>, kFp4Row<32, 128>, kFp4Row<32, 64>};

const ChainRow* FindChain(const FewFormat& format, std::size_t head_dim) {
  for (const ChainRow& row : kChains) {
    if (row.format == format && row.head_dim == head_dim) return &row;
  }
  return nullptr;
}

}  // namespace

bool CanRunChain(const FewFormat& format, std::size_t head_dim) {
  return FactsOfDevice().launches_early && FindChain(format, head_dim) != nullptr;
}

int BlocksOfChain() { return FactsOfDevice().processors; }

void LaunchChain(const FewFormat& format, std::size_t head_dim, const ChainArgs& args, cudaStream_t stream) {
  if (const ChainRow* const row = FindChain(format, head_dim)) row->launch(args, stream);
}

}  // namespace marlin::cuda
