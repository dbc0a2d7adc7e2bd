// The products of many tokens for IQ4_NL.
#include "kernels/cuda/many_kernel.cuh"

namespace marlin::cuda {

bool LaunchManyIq4(const FewFormat& format, const ManyArgs& args, const CUtensorMap& map, const ManyDivision& division,
                   cudaStream_t stream) {
  return LaunchManyOneOf<FewCoding::kIq4, false>(format, args, map, division, stream);
}

}  // namespace marlin::cuda
