// The products of few tokens for IQ4_NL.
#include "kernels/cuda/few_kernel.cuh"

namespace marlin::cuda {

bool LaunchFewIq4(const FewFormat& format, const FewArgs& args, const FewDivision& division, cudaStream_t stream) {
  return LaunchOneOf<FewCoding::kIq4, false>(format, args, division, stream);
}

}  // namespace marlin::cuda
