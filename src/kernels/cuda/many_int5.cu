// The products of many tokens for 5-bit integers.
#include "kernels/cuda/many_kernel.cuh"

namespace marlin::cuda {

bool LaunchManyInt5(const FewFormat& format, const ManyArgs& args, const CUtensorMap& map, const ManyDivision& division,
                    cudaStream_t stream) {
  return LaunchManyOneOf<FewCoding::kInt5, false>(format, args, map, division, stream);
}

bool LaunchManyInt5Biased(const FewFormat& format, const ManyArgs& args, const CUtensorMap& map,
                          const ManyDivision& division, cudaStream_t stream) {
  return LaunchManyOneOf<FewCoding::kInt5, true>(format, args, map, division, stream);
}

}  // namespace marlin::cuda
