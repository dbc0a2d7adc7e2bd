// The products of few tokens for 6-bit integers.
#include "kernels/cuda/few_kernel.cuh"

namespace marlin::cuda {

bool LaunchFewInt6(const FewFormat& format, const FewArgs& args, const FewDivision& division, cudaStream_t stream) {
  return LaunchOneOf<FewCoding::kInt6, false>(format, args, division, stream);
}

}  // namespace marlin::cuda
