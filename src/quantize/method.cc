#include "quantize/method.h"

#include <fmt/format.h>

#include <array>

namespace marlin {
namespace {

// Round to nearest: every group by itself, scale from its extremes. Zero points of eight neighbouring rows share a word,
// so threads take rows in multiples of eight.
EncodedMatrix RunRtn(const FormatRow& format, MatrixView<const float> weights, ThreadPool& pool) {
  EncodedMatrix matrix(format, weights.rows, weights.cols);
  pool.Split((weights.rows + 7) / 8, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t r = begin * 8; r < std::min(end * 8, weights.rows); ++r) EncodeRow(matrix, r, weights.Row(r));
  });
  return matrix;
}

constexpr std::array kMethods = {Method{"rtn", "round to nearest, scale from each group's extremes", &RunRtn}};

}  // namespace

std::span<const Method> Methods() { return kMethods; }

Result<const Method*> ParseMethod(std::string_view name) {
  std::string known;
  for (const Method& method : kMethods) {
    if (method.name == name) return &method;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", method.name);
  }
  return Error{ErrorCode::kUsage, fmt::format("no quantization method is called \"{}\"; there are {}", name, known)};
}

}  // namespace marlin
