#include "study/estimate_rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/formats.h"
#include "model/model.h"
#include "model/sizes.h"
#include "quantize/calibrate.h"
#include "study/make_plan.h"
#include "study/sensitivity.h"
#include "text/tokenizer.h"

namespace marlin {
namespace {

// A small model has learned positions for fewer tokens.
std::size_t CtxOf(const Description& description) { return std::min(kEstimateCtx, description.max_context); }

}  // namespace

std::uint64_t EstimateBytes(const Description& description) {
  return 2 * CountParameters(description) +
         SensitivityBytes(description, kEstimateWindows, CtxOf(description), false, false);
}

Result<Estimates> EstimateRows(const OpenedModel& opened, const EvalText& text, Backend& backend,
                               const ProgressFn& progress) {
  const Checkpoint& checkpoint = opened.checkpoint;
  if (checkpoint.config.contains("quantization_config")) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} is already quantized; name its 16-bit original", checkpoint.path.string())};
  }
  const auto tokenizer = Tokenizer::FromCheckpoint(checkpoint);
  if (!tokenizer) return tokenizer.error();
  const auto windows = CutCalibration(*tokenizer, text, CtxOf(opened.description), kEstimateWindows);
  if (!windows) return windows.error();
  auto model = LoadModel(checkpoint, backend, Precision::kSixteenBit, progress);
  if (!model) return model.error();
  const auto method = ParseMethod(kEstimateMethod);
  if (!method) return method.error();
  PrecisionPlan plan = EmptyPlan(opened.description);
  SensitivityOptions options;
  options.method = *method;
  options.probe = FindFormat(kPlanProbe);
  options.checks = 0;
  if (auto status = MeasureSensitivities(checkpoint, *model, *windows, options, progress, plan); !status) {
    return status.error();
  }
  Estimates out{{}, text.name, windows->begins.size(), windows->ctx, plan.units.size()};
  out.rows.push_back({"f16", StoredBytes(opened.description, nullptr), std::nullopt, 0});
  const auto weights = static_cast<double>(LinearWeights(opened.description));
  for (const UniformChoice& choice : UniformChoices(plan)) {
    if (choice.format == nullptr || !choice.kl) continue;
    const auto bytes = static_cast<double>(LinearBytes(opened.description, *choice.format));
    out.rows.push_back({std::string(choice.format->info.name), StoredBytes(opened.description, choice.format),
                        2 * weights / bytes, *choice.kl});
  }
  return out;
}

}  // namespace marlin
