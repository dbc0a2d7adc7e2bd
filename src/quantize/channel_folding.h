// Folds channel scaling into a layer. The columns of linear layers are multiplied by the factors of
// SearchChannelScaling, and the source of their input is divided by them. The layer computes the same as before:
//
//   input of      divided
//   q, k, v       attention_norm
//   gate, up      mlp_norm
//   down          rows and bias of up (the gated activation is linear in it)
//   o             rows and bias of v; query heads that read one kv head share its factors
#pragma once

#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "formats/format.h"
#include "model/config.h"
#include "quantize/model_statistics.h"

namespace marlin {

// The tensors of one layer in fp32, as stored [rows, cols].
struct LayerTensors {
  std::vector<float> norms[kNorms];
  std::vector<float> weights[kSlots];
  std::vector<float> biases[kSlots];  // empty = none
};

// Their formats in the output.
struct LayerFormats {
  const FormatRow* norms[kNorms] = {};
  const FormatRow* weights[kSlots] = {};
  const FormatRow* biases[kSlots] = {};  // null = none
};

// Changes tensors and the statistics of their inputs together. Norms and biases are rounded to their formats, and the
// columns get the factor that remains after this rounding (old / new), so nothing is lost there. All factors are
// computed on the tensors as given. An input is left alone if a matrix that would have to change has a format without
// groups: rounding the changed matrix would cost precision. The same bits for every number of threads. Errors: kInput
// (statistics of another layer), kNumerical.
Status FoldChannelScaling(const ModelConfig& config, const LayerFormats& formats, LayerTensors& tensors,
                          LayerStatistics& statistics, ThreadPool& pool);

}  // namespace marlin
