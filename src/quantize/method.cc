#include "quantize/method.h"

#include <fmt/format.h>

#include <array>

#include "quantize/gptq.h"
#include "quantize/mse.h"

namespace marlin {
namespace {

Result<EncodedMatrix> RunRtn(const FormatRow& format, MatrixView<const float> weights, const InputStatistics*,
                             ThreadPool& pool) {
  return Encode(format, weights, pool);
}

Result<EncodedMatrix> RunMse(const FormatRow& format, MatrixView<const float> weights, const InputStatistics* stats,
                             ThreadPool& pool) {
  if (stats == nullptr) return EncodeMse(format, weights, {}, pool);
  if (auto status = CheckStatistics(*stats, weights.cols); !status) return status.error();
  return EncodeMse(format, weights, Importance(*stats), pool);
}

Result<EncodedMatrix> RunGptq(const FormatRow& format, MatrixView<const float> weights, const InputStatistics* stats,
                              ThreadPool& pool) {
  const InputStatistics none;
  if (stats != nullptr) {
    if (auto status = CheckStatistics(*stats, weights.cols); !status) return status.error();
  }
  const auto factor = FactorHessian(stats == nullptr ? none : *stats, pool);
  if (!factor) return factor.error();
  return EncodeGptq(format, weights, *factor, pool);
}

constexpr std::array kMethods = {
    Method{"rtn", "round to nearest, scale from each group's extremes", MethodNeeds::kNothing, &RunRtn},
    Method{"mse", "scale and zero point searched for the least error, weighted by E[x^2]", MethodNeeds::kImportance,
           &RunMse},
    Method{"gptq", "scales of mse; the error of each column is fed to those still to come", MethodNeeds::kGram,
           &RunGptq}};

}  // namespace

std::span<const Method> Methods() { return kMethods; }

std::string_view ChooseMethod(MethodNeeds known) {
  switch (known) {
    case MethodNeeds::kGram:
      return "gptq";
    case MethodNeeds::kImportance:
      return "mse";
    case MethodNeeds::kNothing:
      break;
  }
  return "rtn";
}

Result<const Method*> ParseMethod(std::string_view name) {
  std::string known;
  for (const Method& method : kMethods) {
    if (method.name == name) return &method;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", method.name);
  }
  return Error{ErrorCode::kUsage, fmt::format("no quantization method is called \"{}\"; want one of: {}", name, known)};
}

}  // namespace marlin
