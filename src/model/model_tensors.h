// The tensors of a model: which there must be, and which others a checkpoint may hold because they have no effect.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/checkpoint.h"
#include "model/config.h"

namespace marlin {

struct ModelTensor {
  std::string name;  // of a matrix the stem: "lm_head"
  bool is_matrix = false;
  std::size_t rows = 0;  // 1 for a vector
  std::size_t cols = 0;
};

// Calls visit for every tensor of the model, in the order of loading, until it fails.
Status ForEachTensor(const ModelConfig& config, const std::function<Status(const ModelTensor&)>& visit);

// Leaves out of the checkpoint what the model does not use, and checks the rest: every tensor of the model is there, in
// its shape, plain or quantized. Errors: kUnsupported (a tensor that the model does not use and that is not known to be
// harmless nor accepted), kInput (a tensor is missing or has another shape); each names file and tensor.
Status CheckTensors(Checkpoint& checkpoint, const ModelConfig& config);

}  // namespace marlin
