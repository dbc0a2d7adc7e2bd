// How a weight matrix becomes codes. A method is one row of a table. It knows no format and uses only the functions of
// FormatRow.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/matrix.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "formats/encoded_matrix.h"
#include "kernels/backend.h"
#include "quantize/statistics.h"

namespace marlin {

// Statistics of the calibration text that a method uses.
enum class MethodNeeds {
  kNothing,
  kImportance,  // E[x^2] per channel; without statistics all channels count alike
  kGram         // X^T X
};

// What a method works with beside the weights and their statistics.
struct MethodTools {
  MethodTools(ThreadPool& own_pool, Backend* own_device = nullptr, DeviceTensor own_gram = {})  // NOLINT: a pool does
      : pool(own_pool), device(own_device), gram(own_gram) {}
  ThreadPool& pool;
  Backend* device;    // does what grows with the square of the channels, if it has a dense algebra; or null
  DeviceTensor gram;  // X^T X there; without a buffer the statistics have it
};

struct Method {
  std::string_view name;
  std::string_view description;
  MethodNeeds needs;
  int version;  // raised whenever the same inputs give other codes
  // weights [n, k], finite; stats of their input, or null. The same bits for every number of threads. Errors: kUsage
  // (statistics that the method cannot do without), kInput (statistics of another layer), kNumerical; those of the
  // device.
  Result<EncodedMatrix> (*run)(const FormatRow& format, MatrixView<const float> weights, const InputStatistics* stats,
                               const MethodTools& tools);
};

std::span<const Method> Methods();

// The method chosen by `auto`: the best measured method (docs/decisions/0007) that works with the data given.
inline constexpr const char* kAutoMethod = "auto";
std::string_view ChooseMethod(MethodNeeds known);

// Errors: kUsage, naming the methods there are.
Result<const Method*> ParseMethod(std::string_view name);

// Steps before a method. None of them changes what the model computes.
struct Step {
  std::string_view name;
  std::string_view description;
  std::string_view method;  // the one that follows where none is named; empty = one must be named
  MethodNeeds needs;        // not to be done without
  int version;              // as of a method
};

// In the order in which they are done.
std::span<const Step> Steps();
inline constexpr std::string_view kRotate = "rotate";  // source_tensors.h
inline constexpr std::string_view kAwq = "awq";        // channel_folding.h

// Steps and the method after them, as given by the user: "gptq", "awq" (awq, then mse), "rotate+awq+gptq".
struct Recipe {
  std::string name;      // as short as it can be said
  std::string versions;  // "rotate 1, gptq 1": steps and method, for keys
  bool rotate = false;
  bool scale_channels = false;
  const Method* method = nullptr;
  MethodNeeds needs = MethodNeeds::kNothing;        // makes use of
  MethodNeeds cannot_miss = MethodNeeds::kNothing;  // refuses to go without
};

// Errors: kUsage (unknown names, steps in another order or twice, a step without a method: names what there is).
Result<Recipe> ParseRecipe(std::string_view name);

}  // namespace marlin
