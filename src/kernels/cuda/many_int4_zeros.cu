// The products of many tokens for 4-bit integers with zero points.
#include "kernels/cuda/many_kernel.cuh"

namespace marlin::cuda {

bool LaunchManyInt4Zeros(const FewFormat& format, const ManyArgs& args, const CUtensorMap& map,
                         const ManyDivision& division, cudaStream_t stream) {
  return LaunchManyOneOf<FewCoding::kInt4Zeros, false>(format, args, map, division, stream);
}

}  // namespace marlin::cuda
