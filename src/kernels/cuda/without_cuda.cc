// Where the program is built without CUDA.
#include "kernels/cuda/cuda_backend.h"

namespace marlin {

bool BuiltWithCuda() { return false; }

int CountCudaDevices() { return 0; }

Result<std::unique_ptr<Backend>> MakeCudaBackend(int, int, Activations, bool) {
  return Error{ErrorCode::kUnsupported,
               "this program was built without CUDA; cmake --preset cuda && cmake --build --preset cuda builds one "
               "with it, build/cuda/metal-marlin"};
}

}  // namespace marlin
