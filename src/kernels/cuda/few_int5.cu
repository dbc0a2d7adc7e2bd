// The products of few tokens for 5-bit integers.
#include "kernels/cuda/few_kernel.cuh"

namespace marlin::cuda {

bool LaunchFewInt5(const FewFormat& format, const FewArgs& args, const FewDivision& division, cudaStream_t stream) {
  return LaunchOneOf<FewCoding::kInt5, false>(format, args, division, stream);
}

bool LaunchFewInt5Biased(const FewFormat& format, const FewArgs& args, const FewDivision& division,
                         cudaStream_t stream) {
  return LaunchOneOf<FewCoding::kInt5, true>(format, args, division, stream);
}

}  // namespace marlin::cuda
