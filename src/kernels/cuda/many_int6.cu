// The products of many tokens for 6-bit integers.
#include "kernels/cuda/many_kernel.cuh"

namespace marlin::cuda {

bool LaunchManyInt6(const FewFormat& format, const ManyArgs& args, const CUtensorMap& map, const ManyDivision& division,
                    cudaStream_t stream) {
  return LaunchManyOneOf<FewCoding::kInt6, false>(format, args, map, division, stream);
}

}  // namespace marlin::cuda
