#include "quantize/method.h"

#include <fmt/format.h>

#include <array>

namespace marlin {
namespace {

// Every group by itself, scale from its extremes.
EncodedMatrix RunRtn(const FormatRow& format, MatrixView<const float> weights, ThreadPool& pool) {
  return Encode(format, weights, pool);
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
  return Error{ErrorCode::kUsage, fmt::format("no quantization method is called \"{}\"; want one of: {}", name, known)};
}

}  // namespace marlin
