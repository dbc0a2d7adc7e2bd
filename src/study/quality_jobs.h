// The jobs that measure the quality of one model's rows: baseline, noise floor, quality.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "study/comparison.h"

namespace marlin {

class QualityJobs {
 public:
  // Everything given outlives it.
  QualityJobs(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonTools& tools)
      : model_(model), options_(options), tools_(tools) {}

  // Evaluates the baseline and leaves its hidden states; a record that is there already stays. Errors: those of loading
  // and evaluating, and of writing.
  Status RunBaseline();

  // The baseline by other kernels against its own states. Errors: as RunBaseline, kInput (no states).
  Status RunNoiseFloor();

  // Quantizes the row and evaluates it against the states. Errors: as RunNoiseFloor, and those of quantizing.
  Status RunQuality(const ComparisonRow& row);

 private:
  Result<DivergenceResult> Diverge(const Model& model, std::size_t samples, const std::string& stage);
  Status OpenStates();
  void FillPerplexity(const PerplexityResult& result, const Model& model, record::Perplexity& p) const;
  WindowFn OnWindow(const std::string& label) const;
  Status Save(const Record& record, const std::string& what, const std::string& figures) const;

  const ComparisonModel& model_;
  const ComparisonOptions& options_;
  const ComparisonTools& tools_;
  std::optional<HiddenStatesReader> states_;  // of the baseline
  bool damaged_states_ = false;               // a window was not what its hash says
  std::unique_ptr<Weight> head_;              // of the baseline
};

}  // namespace marlin
