// The products of many tokens for 4-bit integers without biases.
#include "kernels/cuda/many_kernel.cuh"

namespace marlin::cuda {

bool LaunchManyInt4(const FewFormat& format, const ManyArgs& args, const CUtensorMap& map, const ManyDivision& division,
                    cudaStream_t stream) {
  return LaunchManyOneOf<FewCoding::kInt4, false>(format, args, map, division, stream);
}

}  // namespace marlin::cuda
