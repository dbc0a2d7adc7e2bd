// The products of many tokens for FP4.
#include "kernels/cuda/many_kernel.cuh"

namespace marlin::cuda {

bool LaunchManyFp4(const FewFormat& format, const ManyArgs& args, const CUtensorMap& map, const ManyDivision& division,
                   cudaStream_t stream) {
  return LaunchManyOneOf<FewCoding::kFp4, false>(format, args, map, division, stream);
}

}  // namespace marlin::cuda
