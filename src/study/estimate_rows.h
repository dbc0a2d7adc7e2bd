// Estimates of what each configuration of a model loses, for a model of which nothing was measured: the sum of the
// sensitivities (sensitivity.h) of its units on a few windows of text. Weights are rounded to nearest, so nothing is
// fitted to the text and any text may serve.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "kernels/backend.h"
#include "model/open_model.h"
#include "records/recommend.h"
#include "text/eval_text.h"

namespace marlin {

inline constexpr std::size_t kEstimateWindows = 4;
inline constexpr std::size_t kEstimateCtx = 512;
inline constexpr const char* kEstimateMethod = "rtn";

struct Estimates {
  std::vector<EstimatedRow> rows;  // the 16-bit model, then every uniform configuration; sizes are exact
  std::string text_name;
  std::size_t windows = 0;
  std::size_t ctx = 0;
  std::size_t units = 0;
};

// In memory while estimating.
std::uint64_t EstimateBytes(const Description& description);

// Errors: kInput (a quantized model, a text that is too short), and those of loading and measuring.
Result<Estimates> EstimateRows(const OpenedModel& opened, const EvalText& text, Backend& backend,
                               const ProgressFn& progress);

}  // namespace marlin
