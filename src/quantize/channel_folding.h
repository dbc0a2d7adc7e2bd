// Folds channel scaling into a block. The columns of the matrices that read an input are multiplied by the factors of
// SearchChannelScaling, and the input's absorber is divided by them: the weight of a norm, or rows and bias of a
// matrix. The block computes the same as before. Channels of an input that come from one row, as query heads that read
// one kv head, share its factor.
#pragma once

#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "formats/format.h"
#include "model/description.h"
#include "quantize/model_statistics.h"

namespace marlin {

// The tensors of one block in fp32, as stored [rows, cols], by the block's indexes.
struct BlockTensors {
  explicit BlockTensors(const Block& block)
      : vectors(block.vectors.size()), matrices(block.matrices.size()), biases(block.matrices.size()) {}
  std::vector<std::vector<float>> vectors;
  std::vector<std::vector<float>> matrices;
  std::vector<std::vector<float>> biases;  // empty = none
};

// Their formats in the output.
struct BlockFormats {
  explicit BlockFormats(const Block& block)
      : vectors(block.vectors.size()), matrices(block.matrices.size()), biases(block.matrices.size()) {}
  std::vector<const FormatRow*> vectors;
  std::vector<const FormatRow*> matrices;
  std::vector<const FormatRow*> biases;  // null = none
};

// Changes tensors and the statistics of their inputs together. Norms and biases are rounded to their formats, and the
// columns get the factor that remains after this rounding (old / new), so nothing is lost there. All factors are
// computed on the tensors as given. An input is left alone if a matrix that would have to change has a format without
// groups: rounding the changed matrix would cost precision. The same bits for every number of threads. Errors: kInput
// (statistics of another layer), kNumerical.
Status FoldChannelScaling(const Block& block, const BlockFormats& formats, BlockTensors& tensors,
                          BlockStatistics& statistics, ThreadPool& pool);

}  // namespace marlin
