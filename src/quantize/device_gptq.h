// Methods `gptq` and `gptq-cd` (gptq.h, coordinate_descent.h) by a device that has a dense algebra and a quantizer: X^T
// X, the weights and their codes stay in its memory. The host factors small squares and stores the codes. Sums have
// another order than on the host, so last digits differ and with them some codes. The same bits from run to run and for
// every number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/matrix.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "formats/encoded_matrix.h"
#include "kernels/backend.h"
#include "quantize/statistics.h"

namespace marlin {

// X^T X of an input on a device that has a dense algebra. Both outlive what works with them.
struct DeviceGram {
  Backend* device = nullptr;
  DeviceTensor gram;  // [k, k] as AddGram makes it
};

// As HessianFactor. H = V^T V of the damped Hessian in the order of the positions.
struct DeviceFactor {
  std::vector<std::uint32_t> order;  // [k]
  std::vector<float> importance;     // [k]
  double damping = 0;
  std::size_t dead_columns = 0;
  // fp64 [k, k] on the device: right of the squares of kGptqBlock on the diagonal it is V, below it is work space.
  std::unique_ptr<Buffer> root;
  std::vector<double> pivots;  // [k] the diagonal of V
  // [k, kGptqBlock]; row p, column q: as column low + q of HessianFactor::feedback, low the first position of the block
  // of p.
  std::vector<double> feedback;
};

// As FactorHessian, with the same damping; the blocked Cholesky factorization that looks at the next block first.
// stats: of the same input, X^T X may be missing. Errors: kInput (no tokens), kNumerical (not positive definite at any
// damping), kResource and those of the device.
Result<DeviceFactor> FactorOnDevice(const DeviceGram& gram, const InputStatistics& stats, ThreadPool& pool);

// A weight matrix on its way to codes, in the memory of a device. The device outlives it.
class DeviceMatrix {
 public:
  // weights [n, k] without gaps; the params are searched as by SearchAllParams. There are no codes yet. Errors:
  // kResource and those of the device.
  static Result<DeviceMatrix> Create(const FormatRow& format, MatrixView<const float> weights,
                                     std::span<const float> importance, Backend& device);

  Backend& device() const { return *device_; }
  const CodedTensors& tensors() const { return tensors_; }

  // Once there are codes. Errors: kResource and those of the device.
  Result<EncodedMatrix> Read(ThreadPool& pool) const;

 private:
  explicit DeviceMatrix(Backend& device) : device_(&device) {}

  Backend* device_;
  std::unique_ptr<Buffer> weights_, codes_, params_;
  CodedTensors tensors_;
};

// The codes, as EncodeGptq chooses them. Errors: kResource and those of the device.
Status RoundOnDevice(const DeviceFactor& factor, DeviceMatrix& matrix);

// As DescendByCoordinates with DampedHessian(stats, damping). Errors: kResource and those of the device.
Status DescendOnDevice(const DeviceGram& gram, const InputStatistics& stats, double damping, int sweeps,
                       DeviceMatrix& matrix);

}  // namespace marlin
