// The loss of each unit of a plan when only it is quantized: KL(16-bit model || this unit in a format) on calibration
// windows. It is measured in one format, the probe. The ratio of the errors in the unit's weights converts it to the
// other formats; some are measured too, as a check. Or it is measured in every format.
//
// A unit's error is sum_ij E[x_j^2] (w_ij - q_ij)^2; for methods that see X^T X it is tr((W - Q) H (W - Q)^T), the
// change of the unit's output. To second order the KL is a quadratic form of that change. The ratio is valid as far as
// formats change a unit's output in similar directions.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "base/progress.h"
#include "base/result.h"
#include "files/checkpoint.h"
#include "model/model.h"
#include "quantize/layer_walk.h"
#include "quantize/method.h"
#include "quantize/precision_plan.h"

namespace marlin {

struct SensitivityOptions {
  const Method* method = nullptr;    // that makes the weights
  const FormatRow* probe = nullptr;  // every unit is measured in it
  bool measure_all = false;          // every candidate
  std::size_t checks = 8;            // units that are measured in another format as well, spread over the model
  std::filesystem::path kept;        // finished layers for a resumed run; empty = not kept. The caller removes it.
  std::string key;                   // everything that decides the numbers beside these options and `windows`
};

// Fills estimated_kl and measured_kl of all candidates. The model is changed and restored; in memory beside it: the
// hidden states of all windows twice, the candidates of one layer. The same bits for every number of threads and
// however often it was interrupted. Errors: kInput, kResource, kNumerical, kInterrupted.
Status MeasureSensitivities(const Checkpoint& checkpoint, Model& model, const CalibrationWindows& windows,
                            const SensitivityOptions& options, const ProgressFn& progress, PrecisionPlan& plan);

// How well the estimates met what was measured, over all candidates that have both and are not the probe.
struct SensitivityCheck {
  std::size_t pairs = 0;
  double median_ratio = 0;  // measured / estimated
  double least_ratio = 0;
  double most_ratio = 0;
};
SensitivityCheck CheckEstimates(const PrecisionPlan& plan);

// In memory beside the model.
std::uint64_t SensitivityBytes(const Description& description, std::size_t windows, std::size_t ctx, bool gram,
                               bool measure_all);

}  // namespace marlin
