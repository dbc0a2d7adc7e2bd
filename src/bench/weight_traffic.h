// Bytes and operations of a model's weights per token, and the kernels that multiply them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/model.h"

namespace marlin {

// Bytes of weights that one token of generation reads: codes, scales and zero points of the linear layers and the head,
// norms, biases, and one row of the embedding. Padding and the KV cache are not counted.
std::uint64_t WeightBytesPerToken(const Model& model);

// Rows of the kernel table used for the linear layers, each once, in the order of the forward pass.
std::vector<std::string> LinearKernels(const Model& model);
// "avx512vnni/fp4-int16; head avx512/fp16": those and the head's.
std::string DescribeKernels(const Model& model);

// The precision that a row of the kernel table rounds activations to. Of a kernel outside of it: "fp16" where its name
// ends so, else "fp32".
std::string_view ActivationOf(std::string_view kernel);

}  // namespace marlin
