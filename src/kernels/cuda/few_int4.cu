// The products of few tokens for 4-bit integers without biases.
#include "kernels/cuda/few_kernel.cuh"

namespace marlin::cuda {

bool LaunchFewInt4(const FewFormat& format, const FewArgs& args, const FewDivision& division, cudaStream_t stream) {
  return LaunchOneOf<FewCoding::kInt4, false>(format, args, division, stream);
}

bool LaunchFewInt4Zeros(const FewFormat& format, const FewArgs& args, const FewDivision& division,
                        cudaStream_t stream) {
  return LaunchOneOf<FewCoding::kInt4Zeros, false>(format, args, division, stream);
}

}  // namespace marlin::cuda
