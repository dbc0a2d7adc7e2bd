#include "quantize/method.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "quantize/coordinate_descent.h"
#include "quantize/gptq.h"
#include "quantize/hessian.h"
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

struct GptqResult {
  EncodedMatrix matrix;
  double damping = 0;
};

Result<GptqResult> FactorAndEncode(const FormatRow& format, MatrixView<const float> weights,
                                   const InputStatistics* stats, ThreadPool& pool) {
  const InputStatistics none;
  if (stats != nullptr) {
    if (auto status = CheckStatistics(*stats, weights.cols); !status) return status.error();
  }
  const auto factor = FactorHessian(stats == nullptr ? none : *stats, pool);
  if (!factor) return factor.error();
  return GptqResult{EncodeGptq(format, weights, *factor, pool), factor->damping};
}

Result<EncodedMatrix> RunGptq(const FormatRow& format, MatrixView<const float> weights, const InputStatistics* stats,
                              ThreadPool& pool) {
  auto result = FactorAndEncode(format, weights, stats, pool);
  if (!result) return result.error();
  return std::move(result->matrix);
}

Result<EncodedMatrix> RunGptqCd(const FormatRow& format, MatrixView<const float> weights, const InputStatistics* stats,
                                ThreadPool& pool) {
  auto result = FactorAndEncode(format, weights, stats, pool);
  if (!result) return result.error();
  DescendByCoordinates(weights, DampedHessian(*stats, result->damping, pool), kDescentSweeps, result->matrix, pool);
  return std::move(result->matrix);
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
