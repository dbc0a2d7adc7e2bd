#include "bench/weight_traffic.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "formats/encoded_matrix.h"
#include "kernels/kernel.h"

namespace marlin {
namespace {

std::uint64_t Bytes(const Weight& weight) {
  return SizeOfEncoded(weight.format(), weight.rows(), weight.cols()).total();
}

std::uint64_t Bytes(const std::unique_ptr<Buffer>& buffer) { return buffer ? buffer->size() * sizeof(float) : 0; }

}  // namespace

std::uint64_t WeightBytesPerToken(const Model& model) {
  const Weights& weights = model.weights;
  std::uint64_t bytes = Bytes(weights.head()) + Bytes(weights.final_norm);
  bytes += SizeOfEncoded(weights.embedding->format(), 1, weights.embedding->cols()).total();
  for (const Layer& layer : weights.layers) {
    bytes += Bytes(layer.attention_norm) + Bytes(layer.mlp_norm);
    for (const Linear& linear : layer.linear) bytes += Bytes(*linear.weight) + Bytes(linear.bias);
  }
  return bytes;
}

std::vector<std::string> LinearKernels(const Model& model) {
  std::vector<std::string> kernels;
  for (const Layer& layer : model.weights.layers) {
    for (const Linear& linear : layer.linear) {
      std::string kernel(linear.weight->kernel());
      if (std::find(kernels.begin(), kernels.end(), kernel) == kernels.end()) kernels.push_back(std::move(kernel));
    }
  }
  return kernels;
}

std::string DescribeKernels(const Model& model) {
  return fmt::format("{}; head {}", fmt::join(LinearKernels(model), ", "), model.weights.head().kernel());
}

std::string_view ActivationOf(std::string_view kernel) {
  const KernelRow* row = FindKernel(kernel);
  return NameOf(row == nullptr ? Activations::kFp32 : row->activations);
}

}  // namespace marlin
