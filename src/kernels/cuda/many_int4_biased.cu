// The products of many tokens for 4-bit integers with biases.
#include "kernels/cuda/many_kernel.cuh"

namespace marlin::cuda {

bool LaunchManyInt4Biased(const FewFormat& format, const ManyArgs& args, const CUtensorMap& map,
                          const ManyDivision& division, cudaStream_t stream) {
  return LaunchManyOneOf<FewCoding::kInt4, true>(format, args, map, division, stream);
}

}  // namespace marlin::cuda
