// How a weight matrix becomes codes. A method is one row of a table and knows no format: it reaches the grid only
// through Fit, Round and Decode.
#pragma once

#include <span>
#include <string_view>

#include "base/matrix.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "formats/encoded_matrix.h"

namespace marlin {

struct Method {
  std::string_view name;
  std::string_view description;
  // weights [n, k], finite.
  EncodedMatrix (*run)(const FormatRow& format, MatrixView<const float> weights, ThreadPool& pool);
};

std::span<const Method> Methods();

// Errors: kUsage, naming the methods there are.
Result<const Method*> ParseMethod(std::string_view name);

}  // namespace marlin
