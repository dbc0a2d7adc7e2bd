// A thread searches one group: sums have the order of the host. A warp takes the groups of 32 rows that use the same
// columns, so that all its threads read the same importance.
#include "formats/search.h"
#include "kernels/cuda/format_number.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantizer.h"

namespace marlin::cuda {
namespace {

struct Search {
  View<const float> weights, importance;
  GroupParams* params = nullptr;
  std::size_t groups = 0;
};

// Floats between two groups in shared memory: threads of a warp read from different banks.
constexpr std::size_t PitchOf(std::size_t group) { return group | 1; }

// Shared memory: importance [group], then weights [kWarp][kPitch].
template <std::size_t kNumber, bool kImproves>
__global__ void __launch_bounds__(kWarp) SearchKernel(Search search) {
  extern __shared__ float memory[];
  using F = FormatAt<kNumber>;
  constexpr std::size_t kGroup = F::kInfo.group, kPitch = PitchOf(kGroup);
  float* const importance = memory;
  float* const weights = memory + kGroup;
  const std::size_t group = blockIdx.y, begin = group * kGroup, lane = threadIdx.x;
  const std::size_t rest = search.weights.cols - begin, width = rest < kGroup ? rest : kGroup;
  const std::size_t first = static_cast<std::size_t>(blockIdx.x) * kWarp, row = first + lane;
  for (std::size_t i = lane; i < width; i += kWarp) importance[i] = search.importance.data[begin + i];
  for (std::size_t r = 0; r < kWarp && first + r < search.weights.rows; ++r) {
    const float* const from = search.weights.data + (first + r) * search.weights.stride + begin;
    for (std::size_t i = lane; i < width; i += kWarp) weights[r * kPitch + i] = from[i];
  }
  __syncwarp();
  if (row >= search.weights.rows) return;
  const std::span<const float> own(weights + lane * kPitch, width), counts(importance, width);
  GroupParams& params = search.params[row * search.groups + group];
  params = kImproves ? ImproveParams<F>(own, counts, params) : SearchParams<F>(own, counts);
}

template <std::size_t kNumber, bool kImproves>
void Launch(const Search& search, cudaStream_t stream) {
  constexpr std::size_t kGroup = FormatAt<kNumber>::kInfo.group;
  constexpr std::size_t kBytes = (kGroup + kWarp * PitchOf(kGroup)) * sizeof(float);
  static_assert(kBytes <= std::size_t{48} << 10, "what every device gives a block");
  const dim3 grid(Blocks(search.weights.rows, kWarp), static_cast<unsigned>(search.groups));
  SearchKernel<kNumber, kImproves><<<grid, kWarp, kBytes, stream>>>(search);
}

}  // namespace

void SearchScales(const FormatInfo& format, View<const float> weights, View<const float> importance,
                  GroupParams* params, bool improves, cudaStream_t stream) {
  if (weights.rows * weights.cols == 0) return;
  const Search search{weights, importance, params, GroupsPerRow(format, weights.cols)};
  WithFormatNumber(format, [&](auto number) {
    improves ? Launch<number, true>(search, stream) : Launch<number, false>(search, stream);
  });
}

}  // namespace marlin::cuda
