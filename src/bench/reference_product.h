// The product of the device's own library in fp16, which a layer's kernels are timed beside (Yardsticks).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "base/matrix.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/backend.h"

namespace marlin {

class ReferenceProduct {
 public:
  // Of the weights [n, k] of a layer, in as many copies as rotate through the device's cache or as memory_bytes hold.
  // Empty where the device has no yardsticks, or none for such a shape. Errors: kResource.
  static Result<std::optional<ReferenceProduct>> Create(Backend& backend, MatrixView<const float> weights,
                                                        std::size_t memory_bytes, ThreadPool& pool);

  // Tokens x [m, k] to multiply; they are numbered from 0. Errors: kResource.
  Status AddTokens(MatrixView<const float> x, ThreadPool& pool);

  // Queues products of the tokens of this number, each with the next copy.
  void Queue(std::size_t tokens, std::size_t products) const;

  std::size_t copies() const { return copies_.size(); }
  std::size_t bytes(std::size_t tokens) const;  // that a product of them reads and writes
  // fp16 [m, n], two in an element of int32.
  DeviceTensor out(std::size_t tokens) const;

 private:
  struct Tokens {
    std::size_t m = 0;
    std::unique_ptr<Buffer> x, y;
  };
  explicit ReferenceProduct(Backend& backend) : backend_(&backend) {}

  Backend* backend_;
  std::size_t n_ = 0, k_ = 0;
  std::vector<std::unique_ptr<Buffer>> copies_;
  std::vector<Tokens> tokens_;
};

}  // namespace marlin
