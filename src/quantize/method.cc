#include "quantize/method.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "quantize/coordinate_descent.h"
#include "quantize/device_gptq.h"
#include "quantize/gptq.h"
#include "quantize/hessian.h"
#include "quantize/mse.h"

namespace marlin {
namespace {

Result<EncodedMatrix> RunRtn(const FormatRow& format, MatrixView<const float> weights, const InputStatistics*,
                             const MethodTools& tools) {
  return Encode(format, weights, tools.pool);
}

Result<EncodedMatrix> RunMse(const FormatRow& format, MatrixView<const float> weights, const InputStatistics* stats,
                             const MethodTools& tools) {
  std::vector<float> importance;
  if (stats != nullptr) {
    if (auto status = CheckStatistics(*stats, weights.cols); !status) return status.error();
    importance = Importance(*stats);
  }
  if (tools.device == nullptr || tools.device->quantizer() == nullptr || !HasGroups(format.info)) {
    return EncodeMse(format, weights, importance, tools.pool);
  }
  return EncodeMseOnDevice(format, weights, importance, *tools.device, tools.pool);
}

// `gptq`, and as many sweeps of coordinate descent.
Result<EncodedMatrix> EncodeOnHost(const FormatRow& format, MatrixView<const float> weights,
                                   const InputStatistics& stats, int sweeps, ThreadPool& pool) {
  const auto factor = FactorHessian(stats, pool);
  if (!factor) return factor.error();
  EncodedMatrix matrix = EncodeGptq(format, weights, *factor, pool);
  if (sweeps > 0) DescendByCoordinates(weights, DampedHessian(stats, factor->damping, pool), sweeps, matrix, pool);
  return matrix;
}

// The same. X^T X of the statistics is copied to the device if it is not there.
Result<EncodedMatrix> EncodeOnDevice(const FormatRow& format, MatrixView<const float> weights,
                                     const InputStatistics& stats, int sweeps, const MethodTools& tools) {
  const std::size_t k = weights.cols;
  DeviceGram gram{tools.device, tools.gram};
  std::unique_ptr<Buffer> copy;
  if (gram.gram.buffer == nullptr) {
    if (auto status = tools.device->AllocateAll({{&copy, k * k}}); !status) return status.error();
    gram.gram = View(copy, k, k);
    tools.device->Upload(stats.gram, gram.gram);
  }
  auto matrix = [&]() -> Result<std::pair<DeviceMatrix, double>> {
    const auto factor = FactorOnDevice(gram, stats, tools.pool);
    if (!factor) return factor.error();
    auto coded = DeviceMatrix::Create(format, weights, factor->importance, *tools.device);
    if (!coded) return coded.error();
    if (auto status = RoundOnDevice(*factor, *coded); !status) return status.error();
    return std::pair(*std::move(coded), factor->damping);
  }();
  if (!matrix) return matrix.error();
  if (sweeps > 0) {
    auto status = DescendOnDevice(gram, stats, matrix->second, sweeps, matrix->first);
    if (!status) return status.error();
  }
  return matrix->first.Read(tools.pool);
}

Result<EncodedMatrix> EncodeWithGram(const FormatRow& format, MatrixView<const float> weights,
                                     const InputStatistics* stats, int sweeps, const MethodTools& tools) {
  const InputStatistics none;
  if (stats == nullptr) return EncodeOnHost(format, weights, none, sweeps, tools.pool);
  if (auto status = CheckStatistics(*stats, weights.cols); !status) return status.error();
  const bool has_gram = tools.gram.buffer != nullptr || !stats->gram.empty();
  const bool can = tools.device != nullptr && tools.device->dense_algebra() != nullptr;
  const bool on_device = has_gram && can && HasGroups(format.info);
  return on_device ? EncodeOnDevice(format, weights, *stats, sweeps, tools)
                   : EncodeOnHost(format, weights, *stats, sweeps, tools.pool);
}

Result<EncodedMatrix> RunGptq(const FormatRow& format, MatrixView<const float> weights, const InputStatistics* stats,
                              const MethodTools& tools) {
  return EncodeWithGram(format, weights, stats, 0, tools);
}

Result<EncodedMatrix> RunGptqCd(const FormatRow& format, MatrixView<const float> weights, const InputStatistics* stats,
                                const MethodTools& tools) {
  return EncodeWithGram(format, weights, stats, kDescentSweeps, tools);
}

constexpr std::array kMethods = {
    Method{"rtn", "round to nearest, scale from each group's extremes", MethodNeeds::kNothing, 1, &RunRtn},
    Method{"mse", "scale and zero point searched for the least error, weighted by E[x^2]", MethodNeeds::kImportance, 1,
           &RunMse},
    Method{"gptq", "scales of mse; the error of each column is spread over the following columns", MethodNeeds::kGram,
           1, &RunGptq},
    Method{"gptq-cd", "gptq, then scales and codes improved one at a time (coordinate descent)", MethodNeeds::kGram, 1,
           &RunGptqCd}};

constexpr std::array kSteps = {
    Step{kRotate, "rotates weights and activations by randomized Hadamard matrices", "", MethodNeeds::kNothing, 1},
    Step{kAwq, "scales up the channels with large inputs; alone: before mse", "mse", MethodNeeds::kImportance, 1}};

std::string KnownSteps() {
  std::string known;
  for (const Step& step : kSteps)
    known += fmt::format(", {}{}", step.name, step.method.empty() ? "+METHOD" : "[+METHOD]");
  return known;
}

}  // namespace

std::span<const Step> Steps() { return kSteps; }

std::span<const Method> Methods() { return kMethods; }

std::string_view ChooseMethod(MethodNeeds known) {
  switch (known) {
    case MethodNeeds::kGram:
      return "gptq-cd";
    case MethodNeeds::kImportance:
      return "mse";
    case MethodNeeds::kNothing:
      break;
  }
  return "rtn";
}

Result<const Method*> ParseMethod(std::string_view name) {
  for (const Method& method : kMethods) {
    if (method.name == name) return &method;
  }
  std::string known;
  for (const Method& method : kMethods) known += fmt::format("{}{}", known.empty() ? "" : ", ", method.name);
  return Error{ErrorCode::kUsage, fmt::format("no quantization method is called \"{}\"; want one of: {}", name, known)};
}

Result<Recipe> ParseRecipe(std::string_view name) {
  Recipe recipe;
  std::string_view rest = name;
  std::string_view method;
  for (const Step& step : kSteps) {
    const std::string_view word = rest.substr(0, rest.find('+'));
    if (word != step.name) continue;
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    method = step.method;
    recipe.name += fmt::format("{}{}", recipe.name.empty() ? "" : "+", step.name);
    recipe.versions += fmt::format("{} {}, ", step.name, step.version);
    recipe.rotate = recipe.rotate || step.name == kRotate;
    recipe.scale_channels = recipe.scale_channels || step.name == kAwq;
    recipe.cannot_miss = std::max(recipe.cannot_miss, step.needs);
    if (!rest.empty() || !step.method.empty()) continue;
    return Error{ErrorCode::kUsage,
                 fmt::format("{} is a step before a method; name the method too: {}+gptq", name, name)};
  }
  const bool named = !rest.empty() && rest != method;
  const auto found = ParseMethod(rest.empty() ? method : rest);
  if (!found) {
    return Error{ErrorCode::kUsage, fmt::format("--method {}: {}{}", name, found.error().message, KnownSteps())};
  }
  recipe.method = *found;
  recipe.versions += fmt::format("{} {}", recipe.method->name, recipe.method->version);
  if (named) recipe.name += fmt::format("{}{}", recipe.name.empty() ? "" : "+", rest);
  if (recipe.method->needs == MethodNeeds::kGram) recipe.cannot_miss = MethodNeeds::kGram;
  recipe.needs = std::max(recipe.method->needs, recipe.cannot_miss);
  return recipe;
}

}  // namespace marlin
