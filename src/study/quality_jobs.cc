#include "study/quality_jobs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <system_error>
#include <utility>

#include "model/model_tensors.h"
#include "records/store.h"
#include "study/divergence_record.h"
#include "study/job_list.h"
#include "study/row_model.h"
#include "study/row_record.h"

namespace marlin {
namespace {

Error Named(const std::string& what, const Error& error) { return {error.code, what + ": " + error.message}; }

}  // namespace

Status QualityJobs::RunBaseline() {
  const ComparisonRow& row = model_.rows[0];
  Record record = QualityRecord(model_, options_, tools_.text, row);
  const std::string label = RowLabel(model_, row);
  const auto model = LoadRow(model_, options_, tools_, row, tools_.backend, record.size);
  if (!model) return model.error();
  auto writer = HiddenStatesWriter::Create(StatesPath(options_, model_), StatesOf(model_, options_, tools_.text));
  if (!writer) return writer.error();
  const auto keep = [&](std::span<const float> hidden) { return writer->Add(hidden); };
  const auto result = EvaluatePerplexity(*model, model_.text, {options_.ctx, options_.samples}, OnWindow(label), keep);
  if (!result) return Named(label, result.error());
  if (auto status = writer->Commit(); !status) return status;
  if (IsRecorded(options_.results, record)) return {};  // only the states were missing
  FillPerplexity(*result, *model, *record.perplexity);
  record.perplexity->baseline_id = record.id;
  return Save(record, label,
              fmt::format("ppl {:.4f} over {} windows in {:.0f} s", std::exp(result->mean_nll()),
                          result->window_nll.size(), result->seconds));
}

Status QualityJobs::RunNoiseFloor() {
  Record record = FloorRecord(model_, options_, tools_.text);
  if (auto status = OpenStates(); !status) return status;
  const auto backend = tools_.make_other_backend();
  if (!backend) return backend.error();
  const auto model = LoadModel(model_.checkpoint, **backend, Precision::kSixteenBit, tools_.progress);
  if (!model) return model.error();
  const std::string label = "noise floor of " + model_.name;
  const auto result = Diverge(*model, record.noise_floor->windows, label);
  if (!result) return Named(label, result.error());
  std::optional<std::string> baseline = std::move(record.noise_floor->baseline_id);
  record.noise_floor = NoiseFloorRecord(*result, {options_.kernels, options_.other_kernels});
  record.noise_floor->baseline_id = std::move(baseline);
  return Save(record, label,
              fmt::format("{:.2g} nats, {} against {}", result->mean_kl(), options_.kernels, options_.other_kernels));
}

Status QualityJobs::RunQuality(const ComparisonRow& row) {
  Record record = QualityRecord(model_, options_, tools_.text, row);
  const std::string label = RowLabel(model_, row);
  if (auto status = OpenStates(); !status) return status;
  const auto model = LoadRow(model_, options_, tools_, row, tools_.backend, record.size);
  if (!model) return model.error();
  const auto result = Diverge(*model, options_.samples, "divergence of " + label);
  if (!result) return Named(label, result.error());
  const DivergenceSummary summary = Summarize(*result);
  const std::string baseline = QualityRecord(model_, options_, tools_.text, model_.rows[0]).id;
  FillPerplexity(result->other, *model, *record.perplexity);
  record.perplexity->baseline_id = baseline;
  record.divergence = DivergenceRecord(*result, summary, baseline);
  if (auto status = Save(record, label,
                         fmt::format("ppl {:.4f}, KL {:.4g} nats, same top-1 {:.2f} %, over {} windows in {:.0f} s",
                                     std::exp(result->other.mean_nll()), summary.kl.mean, 100 * summary.same_top.mean,
                                     result->window_kl.size(), result->other.seconds));
      !status) {
    return status;
  }
  if (!options_.time_models) DropModel(options_, row);
  return {};
}

Status QualityJobs::OpenStates() {
  if (states_) return {};
  auto states = HiddenStatesReader::Open(StatesPath(options_, model_), StatesOf(model_, options_, tools_.text));
  if (!states) return states.error();
  states_.emplace(std::move(*states));
  return {};
}

// `model` against the kept baseline.
Result<DivergenceResult> QualityJobs::Diverge(const Model& model, std::size_t samples, const std::string& stage) {
  if (head_ == nullptr) {
    const Matrix& matrix = model_.description.matrices[model_.description.head];
    auto head = LoadMatrix(model_.checkpoint, matrix, tools_.backend, Precision::kSixteenBit);
    if (!head) return head.error();
    head_ = std::move(*head);
  }
  const Baseline baseline{HeadOf(model_.description, *head_), &tools_.backend,
                          [this](std::size_t window, std::span<const std::int32_t>, std::span<float> hidden) {
                            const Status read = states_->Read(window, hidden);
                            damaged_states_ = damaged_states_ || !read.ok();
                            return read;
                          }};
  const auto on_window = [&](const DivergenceResult& so_far, std::size_t windows) {
    if (!tools_.progress) return;
    tools_.progress({stage, so_far.window_kl.size(), windows, "windows",
                     fmt::format("ppl {:.4f}, KL {:.4g}", std::exp(so_far.other.mean_nll()), so_far.mean_kl())});
  };
  auto result = EvaluateDivergence(model, baseline, model_.text, {options_.ctx, samples}, on_window);
  if (result.ok() || !damaged_states_) return result;
  states_.reset();
  damaged_states_ = false;
  std::error_code ignored;
  std::filesystem::remove(StatesPath(options_, model_), ignored);
  return Error{result.error().code, result.error().message + "; the file was deleted, run the command again"};
}

WindowFn QualityJobs::OnWindow(const std::string& label) const {
  return [this, label](const PerplexityResult& so_far, std::size_t windows) {
    if (!tools_.progress) return;
    tools_.progress({"perplexity of " + label, so_far.window_nll.size(), windows, "windows",
                     fmt::format("ppl {:.4f}", std::exp(so_far.mean_nll()))});
  };
}

// Fills in what was measured; the protocol is there.
void QualityJobs::FillPerplexity(const PerplexityResult& result, const Model& model, record::Perplexity& p) const {
  p.windows_total = result.windows_total;
  p.tokens = p.windows * result.ctx;
  p.scored_tokens = p.windows * result.scored_per_window;
  p.scored_bytes = result.scored_bytes;
  p.scored_per_window = result.scored_per_window;
  p.window_nll = result.window_nll;
  p.half = record::HalfWindows{p.protocol + "-half", result.scored_per_window_half, result.window_nll_half};
  p.backend = tools_.backend.name();
  p.kernels = KernelNames(model);
  p.seconds = result.seconds;
}

Status QualityJobs::Save(const Record& record, const std::string& what, const std::string& figures) const {
  const auto path = SaveRecord(options_.results, record);
  if (!path) return path.error();
  tools_.Say(fmt::format("{}: {}\n  record {}", what, figures, path->string()));
  return {};
}

}  // namespace marlin
