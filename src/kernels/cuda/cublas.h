// Products of cuBLAS, which is loaded when a device is opened: programs start where it is not installed.
#pragma once

#include <cstddef>
#include <memory>

#include "base/result.h"
#include "kernels/cuda/operations.h"

namespace marlin::cuda {

class Cublas {
 public:
  // Errors: kUnsupported (the library is not there, or not of the version that this program was built for).
  static Result<std::unique_ptr<Cublas>> Load(cudaStream_t stream);
  // The products' own memory on the device, instead of what the library allocates: 256-byte aligned, and outlives it.
  Status UseWorkspace(void* memory, std::size_t bytes);
  ~Cublas();
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  // out [m, n] = x [m, k] * weights [n, k]^T in fp32; weights have no gaps between rows. Errors: kUnsupported.
  Status Multiply(View<const float> x, const float* weights, View<float> out);
  // The same of fp16 matrices without gaps, x [out.rows, k] and weights [out.cols, k], with sums in fp32. k: a multiple
  // of
  // 8. Errors: kUnsupported.
  Status MultiplyHalves(const void* x, const void* weights, std::size_t k, View<float> out);
  // The same with an fp16 result without gaps: out [m, n].
  Status MultiplyToHalves(const void* x, const void* weights, std::size_t m, std::size_t n, std::size_t k, void* out);
  // gram [k, k] += x^T x, columns j >= i of row i. Errors: kUnsupported.
  Status AddGram(View<const float> x, View<float> gram);
  // c [m, n] = factor * a b, where it adds plus c: a [m, l], transposed: [l, m]; b [l, n]. float or double. Errors:
  // kUnsupported.
  template <class T>
  Status MultiplyDense(View<const T> a, bool transposed, View<const T> b, T factor, bool adds, View<T> c);

 private:
  struct Functions;
  Cublas() = default;

  void* library_ = nullptr;
  std::unique_ptr<Functions> functions_;
  void* handle_ = nullptr;
};

}  // namespace marlin::cuda
