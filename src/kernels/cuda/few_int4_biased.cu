// The products of few tokens for 4-bit integers with biases.
#include "kernels/cuda/few_kernel.cuh"

namespace marlin::cuda {

bool LaunchFewInt4Biased(const FewFormat& format, const FewArgs& args, const FewDivision& division,
                         cudaStream_t stream) {
  return LaunchOneOf<FewCoding::kInt4, true>(format, args, division, stream);
}

}  // namespace marlin::cuda
