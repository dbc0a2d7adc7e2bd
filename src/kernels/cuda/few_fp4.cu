// The products of few tokens for FP4.
#include "kernels/cuda/few_kernel.cuh"

namespace marlin::cuda {

bool LaunchFewFp4(const FewFormat& format, const FewArgs& args, const FewDivision& division, cudaStream_t stream) {
  return LaunchOneOf<FewCoding::kFp4, false>(format, args, division, stream);
}

}  // namespace marlin::cuda
