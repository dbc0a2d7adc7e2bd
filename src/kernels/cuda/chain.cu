// The kernel that runs chains.
#include "kernels/cuda/chain.h"
#include "kernels/cuda/chain_attention.cuh"
#include "kernels/cuda/chain_ring.cuh"

namespace marlin::cuda {
namespace {

#if MARLIN_HAS_BULK_COPIES
// A step comes to shared memory before the barrier in front of it, so that nothing waits for it afterwards. The place
// may be that of the step that the block has just done.
__device__ void FetchStep(ChainShared& shared, const ChainArgs& args, int step) {
  constexpr int kWords = sizeof(ChainStep) / sizeof(uint4);
  static_assert(kWords <= kChainWorkers - kWarp && sizeof(ChainStep) % sizeof(uint4) == 0);
  const int i = static_cast<int>(threadIdx.x) - kWarp;  // warp 0 is at the barrier
  if (step >= args.count || i < 0 || i >= kWords) return;
  reinterpret_cast<uint4*>(&shared.step)[i] = reinterpret_cast<const uint4*>(args.steps + step)[i];
}

__device__ unsigned Arrived(const unsigned* counter) {
  unsigned count;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(count) : "l"(counter) : "memory");
  return count;
}

// Ends a step: working threads of all blocks wait for each other, and see what the others wrote. by: 1, or 2 to leave a
// step out. False: that was the last step.
__device__ bool GoOn(ChainShared& shared, const ChainArgs& args, int by) {
  const int next = shared.next + by;
  int items = shared.items;
  if (shared.step.kind == ChainStep::Kind::kProduct) items += shared.step.product.division.ItemsOf(BlockOfChain());
  WaitForWorkers();
  if (next >= args.count) return false;
  if (threadIdx.x == 0) {
    shared.next = next;
    shared.items = items;
    shared.quiet = true;
    // Releases what all threads of the block wrote before their barrier.
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(args.counters) : "memory");
    const unsigned target = ++shared.waits * gridDim.x;
    while (Arrived(args.counters) < target) {
    }
  }
  __syncwarp();
  FetchStep(shared, args, next);
  WaitForWorkers();
  return true;
}

// The last block that is done leaves the counters as they were. No block waits at a barrier then.
__device__ void LeaveCounters(const ChainArgs& args) {
  if (threadIdx.x != 0 || atomicAdd(args.counters + 1, 1u) + 1 != gridDim.x) return;
  args.counters[0] = 0;
  args.counters[1] = 0;
}

// Runs the step. Returns how many steps further the next one is.
template <class Type, int kDim>
__device__ int RunStep(ChainShared& shared, std::uint32_t ring) {
  const ChainStep& step = shared.step;
  switch (step.kind) {
    case ChainStep::Kind::kProduct:
      MakeInput(shared, step);
      WaitForWorkers();
      if (threadIdx.x == 0) shared.quiet = false;
      ChainMultiplier<Type>(shared, ring).Run(shared, step.product);
      return 1;
    case ChainStep::Kind::kAttend:
      return AttendHeads<kDim>(shared, step.attention) == 1 ? 2 : 1;  // of one split there is nothing to combine
    case ChainStep::Kind::kCombine:
      CombineSplits(step.attention, shared.position);
      return 1;
    default:
      Finish(step.input);
      return 1;
  }
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
      BarrierInit(SharedAddress(shared.empty + stage), kRowWarps * kArrivalsOfWarp);
    }
    FenceBarrierInit();
    shared.next = shared.items = 0;
    shared.waits = 0;
    shared.quiet = false;
    shared.position = *args.position;
  }
  __syncthreads();
  if (threadIdx.x >= kChainWorkers) {
    if (threadIdx.x == kChainWorkers) CopyItems<Type>(shared, args.steps, args.count, ring);
    return;
  }
  while (GoOn(shared, args, RunStep<Type, kDim>(shared, ring))) {
  }
  LeaveCounters(args);
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

template <FewCoding kCoding, int kGroup, int kDim>
constexpr ChainRow kRow = {
    {kCoding, FewScale::kHalf, kGroup, false}, kDim, &Launch<FewType<kCoding, FewScale::kHalf, kGroup, false>, kDim>};

// The kernels that there are.
constexpr ChainRow kChains[] = {
    kRow<FewCoding::kFp4, 32, 64>,        kRow<FewCoding::kFp4, 32, 128>,       kRow<FewCoding::kFp4, 64, 64>,
    kRow<FewCoding::kFp4, 64, 128>,       kRow<FewCoding::kFp4, 128, 64>,       kRow<FewCoding::kFp4, 128, 128>,
    kRow<FewCoding::kFp4, 256, 64>,       kRow<FewCoding::kFp4, 256, 128>,      kRow<FewCoding::kInt4Zeros, 64, 64>,
    kRow<FewCoding::kInt4Zeros, 64, 128>, kRow<FewCoding::kInt4Zeros, 128, 64>, kRow<FewCoding::kInt4Zeros, 128, 128>,
};

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
