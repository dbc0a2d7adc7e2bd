// The products of few tokens for 8-bit integers.
#include "kernels/cuda/few_kernel.cuh"

namespace marlin::cuda {

bool LaunchFewInt8(const FewFormat& format, const FewArgs& args, const FewDivision& division, cudaStream_t stream) {
  return LaunchOneOf<FewCoding::kInt8, false>(format, args, division, stream);
}

}  // namespace marlin::cuda
