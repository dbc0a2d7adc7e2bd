// A plan of mixed precision from a model, a calibration text and a budget: sensitivities on some windows of the text,
// the solution, and its confirmation on others, against the best single configuration of the same budget.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "base/progress.h"
#include "base/result.h"
#include "files/checkpoint.h"
#include "kernels/backend.h"
#include "quantize/layer_walk.h"
#include "quantize/precision_plan.h"

namespace marlin {

inline constexpr std::size_t kPlanWindows = 16;
inline constexpr std::size_t kHeldOutPerWindow = 2;
inline constexpr std::size_t kHeldOutWindows = kHeldOutPerWindow * kPlanWindows;
inline constexpr double kDefaultBudgetBits = 4.25;
inline constexpr const char* kDefaultPlanMethod = "mse";
inline constexpr const char* kPlanProbe = "fp4-g128";  // of the common formats
// Raised whenever the same inputs give another plan.
inline constexpr int kPlanVersion = 1;

// Windows of one text that have no token in common.
struct PlanWindows {
  CalibrationWindows measured;
  CalibrationWindows held_out;
};

// Both spread over the whole text; a text with fewer windows gives each its share. Errors: kInput (too short).
Result<PlanWindows> CutPlanWindows(TokenStream stream, std::size_t ctx, std::size_t windows, std::size_t held_out,
                                   const std::string& text_name, const std::string& text_sha256);

struct PlanOptions {
  BudgetKind kind = BudgetKind::kBitsPerWeight;
  double value = kDefaultBudgetBits;
  std::string method = kDefaultPlanMethod;
  bool measure_all = false;
  PlanFormats formats = CommonPlanFormats();
  std::string probe = kPlanProbe;  // the format that every unit is measured in
  // Where measured layers are kept, for a resumed run and for other budgets; the caller removes it. Empty = not kept.
  std::filesystem::path kept;
  std::string model_sha256, tokenizer_sha256;
  std::string program, command;
};

// Errors: kUsage (a budget that cannot be met, unknown method), kInput (a quantized model), and those of loading,
// measuring and quantizing; kInterrupted (the same call continues).
Result<PrecisionPlan> MakePlan(const Checkpoint& checkpoint, const PlanWindows& windows, const PlanOptions& options,
                               Backend& backend, const ProgressFn& progress);

// The single configuration that did best on the held-out windows; null when none was within the budget.
const HeldOutKl* BestUniform(const PrecisionPlan& plan);

}  // namespace marlin
