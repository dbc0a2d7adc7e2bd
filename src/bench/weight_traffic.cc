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

std::uint64_t Bytes(const Linear& linear) { return Bytes(*linear.weight) + (linear.bias ? linear.bias->bytes() : 0); }

std::uint64_t Bytes(const std::vector<std::unique_ptr<Buffer>>& vectors) {
  std::uint64_t bytes = 0;
  for (const auto& vector : vectors) bytes += vector->bytes();
  return bytes;
}

}  // namespace

std::uint64_t WeightBytesPerToken(const Model& model) {
  std::uint64_t bytes = Bytes(model.head()) + Bytes(model.weights.around.vectors);
  bytes += SizeOfEncoded(model.embedding().format(), 1, model.embedding().cols()).total();
  for (const LoadedParts& block : model.weights.blocks) {
    bytes += Bytes(block.vectors);
    for (const Linear& linear : block.matrices) bytes += Bytes(linear);
  }
  return bytes;
}

std::vector<std::string> LinearKernels(const Model& model) {
  std::vector<std::string> kernels;
  for (const LoadedParts& block : model.weights.blocks) {
    for (const Linear& linear : block.matrices) {
      std::string kernel(linear.weight->kernel());
      if (std::find(kernels.begin(), kernels.end(), kernel) == kernels.end()) kernels.push_back(std::move(kernel));
    }
  }
  return kernels;
}

std::string DescribeKernels(const Model& model) {
  return fmt::format("{}; head {}", fmt::join(LinearKernels(model), ", "), model.head().kernel());
}

std::string_view ActivationOf(std::string_view kernel) {
  if (kernel.ends_with("-fp16")) return "fp16";
  const KernelRow* row = FindKernel(kernel);
  return NameOf(row == nullptr ? Activations::kFp32 : row->activations);
}

}  // namespace marlin
