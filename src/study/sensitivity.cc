#include "study/sensitivity.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/check.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/statistics.h"
#include "eval/windows.h"
#include "files/json_text.h"
#include "files/quantized_layout.h"
#include "formats/formats.h"
#include "model/sizes.h"
#include "quantize/gptq.h"
#include "quantize/source_tensors.h"
#include "study/head_divergence.h"

namespace marlin {
namespace {
using nlohmann::json;

// sum_ij importance[j] (w_ij - q_ij)^2; rows are added in order.
double WeightedError(MatrixView<const float> weights, const EncodedMatrixView& quantized,
                     std::span<const float> importance, ThreadPool& pool) {
  std::vector<double> rows(weights.rows, 0.0);
  pool.Split(weights.rows, [&](std::size_t begin, std::size_t end, int) {
    std::vector<float> decoded(weights.cols);
    for (std::size_t r = begin; r < end; ++r) {
      DecodeRow(quantized, r, decoded);
      for (std::size_t j = 0; j < weights.cols; ++j) {
        const double error = static_cast<double>(weights.data[r * weights.cols + j]) - decoded[j];
        rows[r] += importance[j] * error * error;
      }
    }
  });
  double sum = 0;
  for (const double row : rows) sum += row;
  return sum;
}

// A unit in a format, ready to run.
struct Trial {
  std::size_t unit = 0;
  std::size_t candidate = 0;
  std::vector<std::unique_ptr<Weight>> weights;  // of the unit's matrices
  double kl = 0;                                 // sum over the tokens so far
};

class SensitivityWalk {
 public:
  SensitivityWalk(const SourceTensors& source, Model& model, const CalibrationWindows& windows,
                  const SensitivityOptions& options, const ProgressFn& progress, PrecisionPlan& plan, ThreadPool& pool)
      : source_(source),
        model_(model),
        windows_(windows),
        options_(options),
        progress_(progress),
        plan_(plan),
        pool_(pool) {}

  Status Run() {
    if (auto status = Start(); !status) return status;
    for (std::size_t layer = 0; layer < model_.description.blocks.size(); ++layer) {
      const bool kept = IsKept(layer);
      if (auto status = Advance(layer, !kept); !status) return status;
      if (kept) {
        done_ += RunsOf(layer);
      } else if (auto status = MeasureLayer(layer); !status) {
        return status;
      } else if (runner_->IsShared(layer)) {
        // The trials left their keys and values for the blocks that share them.
        if (auto again = Advance(layer, false); !again) return again;
      }
      std::swap(hidden_, next_);
    }
    return {};
  }

 private:
  std::size_t StateFloats() const { return windows_.ctx * model_.description.hidden_size; }
  std::size_t WindowCount() const { return windows_.begins.size(); }
  // The states of one window, or of `count` that run together, of many.
  DeviceTensor State(const std::unique_ptr<Buffer>& states, std::size_t i, std::size_t count = 1) const {
    return View(states, (i + count) * windows_.ctx, model_.description.hidden_size)
        .Rows(i * windows_.ctx, count * windows_.ctx);
  }
  std::vector<std::int32_t> Tokens(std::size_t window) const {
    return windows_.stream.Window(windows_.begins[window], windows_.ctx);
  }

  // The hidden states in front of the first layer, and the final ones.
  Status Start() {
    if (auto status = CheckContext(model_.description, windows_.ctx); !status) return status;
    if (auto status = CheckTokens(windows_.stream, model_.description.vocab_size); !status) return status;
    ReadKept();
    for (std::size_t layer = 0; layer < model_.description.blocks.size(); ++layer) total_ += RunsOf(layer);
    Backend& backend = *model_.backend;
    together_ = SequencesTogether(backend, windows_.ctx, WindowCount());
    if (auto status =
            BlockRunner::Create(model_.description, backend, windows_.ctx, WindowCount(), together_).MoveTo(runner_);
        !status) {
      return status;
    }
    auto head = HeadDivergence::Create(model_, windows_.ctx);
    if (!head) return head.error();
    head_.emplace(std::move(*head));
    const std::size_t floats = WindowCount() * StateFloats();
    const auto allocated = backend.AllocateAll({{&hidden_, floats}, {&next_, floats}, {&final_, floats}});
    if (!allocated) return allocated;
    for (std::size_t w = 0; w < WindowCount(); ++w) {
      if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
      const DeviceTensor hidden = State(hidden_, w), last = State(final_, w);
      runner_->Embed(model_.weights.around, Tokens(w), {w, hidden});
      backend.Copy(hidden, last);
      Finish({w, last}, 0);
      if (auto status = backend.Synchronize(); !status) return status;
      if (progress_) progress_({"baseline on " + windows_.text_name, w + 1, WindowCount(), "windows", ""});
    }
    return {};
  }

  // Layers `from` .. the last, and the last norm.
  void Finish(const SequenceState& state, std::size_t from) {
    for (std::size_t layer = from; layer < model_.description.blocks.size(); ++layer) {
      runner_->Run(model_.block(layer), state);
    }
    model_.FinalNorm(state.hidden, state.hidden);
  }

  // Fills next_ with the outputs of the layer, and statistics_ with what its inputs look like.
  Status Advance(std::size_t layer, bool observe) {
    const Block& block = model_.description.blocks[layer];
    const bool gram = options_.method->needs == MethodNeeds::kGram;
    std::vector<StatisticsGatherer> gatherers;
    for (std::size_t i = 0; i < block.inputs.size(); ++i) gatherers.emplace_back(*model_.backend, gram);
    Status status;
    for (std::size_t w = 0; w < WindowCount(); w += together_) {
      if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
      const std::size_t count = std::min(together_, WindowCount() - w);
      InputObserver observer;
      if (observe) {
        observer = [&](std::size_t input, const DeviceTensor& x) {
          if (!status.ok()) return;
          status = gatherers[input].Add(x, {w, block.FirstOf(block.inputs[input]).name}, count);
        };
      }
      model_.backend->Copy(State(hidden_, w, count), State(next_, w, count));
      runner_->Run(model_.block(layer), {w, State(next_, w, count)}, observer);
      if (!status.ok()) return status;
    }
    if (auto done = model_.backend->Synchronize(); !done) return done;
    return FinishAll(gatherers).MoveTo(statistics_);
  }

  bool IsProbe(const PlanCandidate& candidate) const { return candidate.format == options_.probe; }

  // The probe and, of `checks` units spread over the model, one other format each, rotating through the formats.
  bool IsMeasured(std::size_t unit, std::size_t candidate) const {
    const std::vector<PlanCandidate>& candidates = plan_.units[unit].candidates;
    if (candidates[candidate].format == nullptr) return false;
    if (options_.measure_all || IsProbe(candidates[candidate])) return true;
    if (options_.checks == 0) return false;
    const std::size_t step = std::max<std::size_t>(1, plan_.units.size() / options_.checks);
    if (unit % step != step / 2) return false;
    std::vector<std::size_t> others;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (candidates[i].format != nullptr && !IsProbe(candidates[i])) others.push_back(i);
    }
    return !others.empty() && others[unit / step % others.size()] == candidate;
  }

  // The units of a layer are neighbours; beyond the last layer: the number of units.
  std::size_t FirstUnit(std::size_t layer) const {
    const auto at = std::ranges::lower_bound(plan_.units, layer, {}, &PlanUnit::layer);
    return static_cast<std::size_t>(at - plan_.units.begin());
  }

  // Layers that the trials of a layer run.
  std::uint64_t RunsOf(std::size_t layer) const {
    std::uint64_t trials = 0;
    for (std::size_t unit = FirstUnit(layer); unit < FirstUnit(layer + 1); ++unit) {
      for (std::size_t c = 0; c < plan_.units[unit].candidates.size(); ++c) trials += IsMeasured(unit, c) ? 1 : 0;
    }
    return trials * WindowCount() * (model_.description.blocks.size() - layer);
  }

  Status MeasureLayer(std::size_t layer) {
    std::vector<Trial> trials;
    std::vector<std::vector<double>> errors;  // of each unit's candidates
    const std::size_t first = FirstUnit(layer);
    const std::size_t units = FirstUnit(layer + 1) - first;
    for (std::size_t i = 0; i < units; ++i) {
      auto unit_errors = MakeUnit(first + i, trials);
      if (!unit_errors) return unit_errors.error();
      errors.push_back(std::move(*unit_errors));
    }
    for (std::size_t w = 0; w < WindowCount(); w += together_) {
      if (auto status = RunTrials(layer, w, std::min(together_, WindowCount() - w), trials); !status) return status;
    }
    for (const Trial& trial : trials) {
      plan_.units[trial.unit].candidates[trial.candidate].measured_kl =
          trial.kl / static_cast<double>(WindowCount() * (windows_.ctx - 1));
    }
    for (std::size_t i = 0; i < units; ++i) Estimate(plan_.units[first + i], errors[i]);
    return Keep(layer);
  }

  void Estimate(PlanUnit& unit, const std::vector<double>& errors) const {
    const auto probe = static_cast<std::size_t>(
        std::find_if(unit.candidates.begin(), unit.candidates.end(), [&](const auto& c) { return IsProbe(c); }) -
        unit.candidates.begin());
    for (std::size_t c = 0; c < unit.candidates.size(); ++c) {
      if (unit.candidates[c].format == nullptr) continue;
      const double ratio = errors[probe] > 0 ? errors[c] / errors[probe] : 1;
      unit.candidates[c].estimated_kl = *unit.candidates[probe].measured_kl * ratio;
    }
  }

  // Encodes the unit in every format: the errors, and the trials of those that are measured.
  Result<std::vector<double>> MakeUnit(std::size_t index, std::vector<Trial>& trials) {
    const PlanUnit& unit = plan_.units[index];
    const InputStatistics& stats = statistics_[unit.input];
    const std::vector<float> importance = Importance(stats);
    const MethodTools tools(pool_, model_.backend);
    std::vector<double> errors(unit.candidates.size(), 0.0);
    std::vector<Trial> made;
    for (std::size_t c = 0; c < unit.candidates.size(); ++c) {
      if (IsMeasured(index, c)) made.push_back({index, c, {}, 0});
    }
    for (const std::string& stem : unit.stems) {
      if (auto status = source_.ReadValues(WeightName(stem), values_); !status) return status.error();
      const Tensor& tensor = *source_.checkpoint().Find(WeightName(stem));
      const MatrixView<const float> weights(values_.data(), tensor.rows(), tensor.cols());
      for (std::size_t c = 0; c < unit.candidates.size(); ++c) {
        if (unit.candidates[c].format == nullptr) continue;
        if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
        const auto matrix =
            options_.method->run(FormatForRows(*unit.candidates[c].format, weights.cols), weights, &stats, tools);
        if (!matrix) return Error{matrix.error().code, stem + ": " + matrix.error().message};
        errors[c] += stats.gram.empty() ? WeightedError(weights, matrix->view(), importance, pool_)
                                        : ReconstructionError(weights, matrix->view(), stats, pool_);
        for (Trial& trial : made) {
          if (trial.candidate != c) continue;
          auto packed = model_.backend->Pack(matrix->view());
          if (!packed) return packed.error();
          trial.weights.push_back(std::move(*packed));
        }
      }
    }
    std::move(made.begin(), made.end(), std::back_inserter(trials));
    return errors;
  }

  void Swap(Trial& trial) {
    const PlanUnit& unit = plan_.units[trial.unit];
    const auto& matrices = model_.description.blocks[unit.layer].inputs[unit.input].matrices;
    for (std::size_t i = 0; i < matrices.size(); ++i) {
      std::swap(model_.weights.blocks[unit.layer].matrices[matrices[i]].weight, trial.weights[i]);
    }
  }

  // Memory for the states of so many trials.
  Status ReserveTrials(std::size_t count) {
    const std::size_t floats = count * together_ * StateFloats();
    if (trials_ != nullptr && trials_->bytes() >= floats * sizeof(float)) return {};
    trials_.reset();
    return model_.backend->AllocateAll({{&trials_, floats}});
  }

  // Every trial over `count` windows; their final states are compared together, so that the baseline's logits are made
  // once.
  Status RunTrials(std::size_t layer, std::size_t first, std::size_t count, std::vector<Trial>& trials) {
    if (auto status = ReserveTrials(trials.size()); !status) return status;
    std::vector<DeviceTensor> states;
    for (Trial& trial : trials) {
      if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
      const SequenceState sequence{first, State(trials_, states.size() * count, count)};
      states.push_back(sequence.hidden);
      model_.backend->Copy(State(hidden_, first, count), sequence.hidden);
      Swap(trial);
      runner_->Run(model_.block(layer), sequence);
      Swap(trial);
      Finish(sequence, layer + 1);
      done_ += count * (model_.description.blocks.size() - layer);
      if (progress_) {
        progress_({"sensitivities", done_, total_, "layer runs",
                   fmt::format("layer {} of {}", layer + 1, model_.description.blocks.size())});
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      std::vector<DeviceTensor> own;
      for (const DeviceTensor& state : states) own.push_back(state.Rows(i * windows_.ctx, windows_.ctx));
      const auto sums = head_->Sums(Tokens(first + i), State(final_, first + i), own);
      if (!sums) {
        return Error{sums.error().code,
                     fmt::format("calibration window {}, layer {}: {}", first + i, layer, sums.error().message)};
      }
      for (std::size_t t = 0; t < trials.size(); ++t) trials[t].kl += (*sums)[t];
    }
    return {};
  }

  std::string Key() const {
    return Sha256Hex(fmt::format("{}\n{} {} {} {} {}\n{} {}\n{}", options_.key, options_.method->name,
                                 options_.method->version, options_.probe->info.name, options_.measure_all,
                                 options_.checks, windows_.text_sha256, windows_.ctx, fmt::join(windows_.begins, ",")));
  }

  bool IsKept(std::size_t layer) const { return kept_.contains(fmt::format("{}", layer)); }

  // What an interrupted run measured. A file that is not whole or of other work is not used.
  void ReadKept() {
    kept_ = json::object();
    const auto text = options_.kept.empty() ? Result<std::string>(std::string()) : ReadFile(options_.kept);
    const auto parsed = text ? ParseJson(*text, options_.kept.string()) : Result<json>(json());
    const json document = parsed ? *parsed : json();
    if (!document.is_object() || document.value("key", json()) != Key()) return;
    if (!document.contains("layers") || !document["layers"].is_object()) return;
    for (std::size_t layer = 0; layer < model_.description.blocks.size(); ++layer) {
      const auto found = document["layers"].find(fmt::format("{}", layer));
      if (found != document["layers"].end() && Take(*found, layer)) kept_[fmt::format("{}", layer)] = *found;
    }
  }

  // [unit][candidate][estimated, measured]; null where there is none.
  bool Take(const json& units, std::size_t layer) {
    const std::size_t first = FirstUnit(layer);
    if (!units.is_array() || units.size() != FirstUnit(layer + 1) - first) return false;
    for (std::size_t i = 0; i < units.size(); ++i) {
      PlanUnit& unit = plan_.units[first + i];
      if (!units[i].is_array() || units[i].size() != unit.candidates.size()) return false;
      for (std::size_t c = 0; c < unit.candidates.size(); ++c) {
        const json& pair = units[i][c];
        if (!pair.is_array() || pair.size() != 2) return false;
        const auto number = [](const json& x) { return x.is_number() ? std::optional(x.get<double>()) : std::nullopt; };
        unit.candidates[c].estimated_kl = number(pair[0]);
        unit.candidates[c].measured_kl = number(pair[1]);
        if (!unit.candidates[c].kl()) return false;
      }
    }
    return true;
  }

  Status Keep(std::size_t layer) {
    if (options_.kept.empty()) return {};
    json units = json::array();
    for (std::size_t unit = FirstUnit(layer); unit < FirstUnit(layer + 1); ++unit) {
      json candidates = json::array();
      for (const PlanCandidate& candidate : plan_.units[unit].candidates) {
        const auto number = [](const std::optional<double>& x) { return x ? json(*x) : json(nullptr); };
        candidates.push_back({number(candidate.estimated_kl), number(candidate.measured_kl)});
      }
      units.push_back(std::move(candidates));
    }
    kept_[fmt::format("{}", layer)] = std::move(units);
    return WriteFileAtomic(options_.kept, json{{"key", Key()}, {"layers", kept_}}.dump());
  }

  const SourceTensors& source_;
  Model& model_;
  const CalibrationWindows& windows_;
  const SensitivityOptions& options_;
  const ProgressFn& progress_;
  PrecisionPlan& plan_;
  ThreadPool& pool_;
  std::vector<float> values_;  // of the matrix at hand
  std::optional<BlockRunner> runner_;
  std::optional<HeadDivergence> head_;
  // [windows][ctx][hidden]: in front of the layer, behind it, at the end.
  std::unique_ptr<Buffer> hidden_, next_, final_;
  std::unique_ptr<Buffer> trials_;  // [trials][together][ctx][hidden]
  std::size_t together_ = 1;        // windows that run together
  BlockStatistics statistics_;
  std::uint64_t done_ = 0, total_ = 0;  // layers run
  json kept_;
};

}  // namespace

Status MeasureSensitivities(const Checkpoint& checkpoint, Model& model, const CalibrationWindows& windows,
                            const SensitivityOptions& options, const ProgressFn& progress, PrecisionPlan& plan) {
  MARLIN_CHECK(plan.units.size() == EmptyPlan(model.description).units.size(), "a plan of this model");
  MARLIN_CHECK(options.method != nullptr && options.probe != nullptr && options.probe->info.group > 0,
               "a method and a format with groups");
  ThreadPool pool(model.backend->threads());
  const auto source = SourceTensors::Create(checkpoint, model.description, std::nullopt, pool);
  if (!source) return source.error();
  SensitivityWalk walk(*source, model, windows, options, progress, plan, pool);
  return walk.Run();
}

SensitivityCheck CheckEstimates(const PrecisionPlan& plan) {
  std::vector<double> ratios;
  for (const PlanUnit& unit : plan.units) {
    for (const PlanCandidate& candidate : unit.candidates) {
      if (candidate.format == nullptr || candidate.name() == plan.probe) continue;
      if (!candidate.measured_kl || !candidate.estimated_kl || *candidate.estimated_kl <= 0) continue;
      ratios.push_back(*candidate.measured_kl / *candidate.estimated_kl);
    }
  }
  if (ratios.empty()) return {};
  return {ratios.size(), Quantile(ratios, 0.5), Quantile(ratios, 0), Quantile(ratios, 1)};
}

std::uint64_t SensitivityBytes(const Description& description, std::size_t windows, std::size_t ctx, bool gram,
                               bool measure_all) {
  const std::uint64_t layer_parameters = LargestBlock(description);
  const std::uint64_t state = std::uint64_t{ctx} * description.hidden_size * sizeof(float);
  const std::uint64_t trials = measure_all ? 32 : 8;  // of a layer
  // One layer in fp32 at most, and its trials in up to 8 bits; states; the logits of some positions.
  return 3 * windows * state + trials * state + layer_parameters * (4 + (measure_all ? 8 : 2)) +
         LargestBlockStatistics(description, gram) + BlockRunner::Bytes(description, ctx, windows) +
         std::uint64_t{2} * kHeadRows * description.vocab_size * sizeof(float);
}

}  // namespace marlin
