#include "study/make_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "formats/formats.h"
#include "model/families/family.h"
#include "model/model.h"
#include "quantize/calibrate.h"
#include "quantize/method.h"
#include "quantize/weight_maker.h"
#include "study/head_divergence.h"
#include "study/sensitivity.h"

namespace marlin {
namespace {

// Single configurations whose expected KL is at most this much above the least are tried on the held-out windows.
constexpr double kWorthTrying = 1.5;

// Runs configurations of a model over held-out windows.
class Confirmation {
 public:
  Confirmation(const Checkpoint& checkpoint, Model& model, const PlanWindows& windows, const Method& method,
               const ProgressFn& progress)
      : checkpoint_(checkpoint),
        model_(model),
        windows_(windows),
        method_(method),
        progress_(progress),
        pool_(model.backend->threads()) {}

  Status Start() {
    const std::size_t ctx = windows_.held_out.ctx;
    auto session = Session::Create(model_, ctx, ctx);
    if (!session) return session.error();
    session_.emplace(std::move(*session));
    auto head = HeadDivergence::Create(model_, ctx);
    if (!head) return head.error();
    head_.emplace(std::move(*head));
    const std::size_t floats = WindowCount() * ctx * model_.description.hidden_size;
    if (auto status = model_.backend->AllocateAll({{&base_, floats}}); !status) return status;
    for (std::size_t w = 0; w < WindowCount(); ++w) {
      if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
      model_.backend->Copy(States(w), Base(w));
      if (auto status = model_.backend->Synchronize(); !status) return status;
      if (progress_) progress_({"baseline on held-out windows", w + 1, WindowCount(), "windows", ""});
    }
    return {};
  }

  Result<HeldOutKl> Measure(const std::string& name, std::uint64_t bytes, const FormatMap& formats) {
    auto weights = Make(formats);
    if (!weights) return weights.error();
    Swap(*weights);
    HeldOutKl result{name, bytes, {}};
    Status status;
    for (std::size_t w = 0; w < WindowCount() && status.ok(); ++w) {
      if (Interrupted()) status = Error{ErrorCode::kInterrupted, "interrupted"};
      if (!status.ok()) break;
      const DeviceTensor states = States(w);
      const auto sums = head_->Sums(Tokens(w), Base(w), {&states, 1});
      if (!sums)
        status = Error{sums.error().code, fmt::format("{}, held-out window {}: {}", name, w, sums.error().message)};
      if (sums) result.window_kl.push_back(sums->front());
      if (progress_) progress_({name + " on held-out windows", w + 1, WindowCount(), "windows", ""});
    }
    Swap(*weights);
    if (!status.ok()) return status.error();
    return result;
  }

 private:
  struct Changed {
    std::size_t block = 0;
    std::size_t matrix = 0;
    std::unique_ptr<Weight> weight;
  };

  std::vector<std::int32_t> Tokens(std::size_t window) const {
    return windows_.held_out.stream.Window(windows_.held_out.begins[window], windows_.held_out.ctx);
  }

  std::size_t WindowCount() const { return windows_.held_out.begins.size(); }
  // The final hidden states of a window: of the baseline, and of the model as it is now, until the next call.
  DeviceTensor Base(std::size_t window) const {
    const std::size_t ctx = windows_.held_out.ctx;
    return View(base_, (window + 1) * ctx, model_.description.hidden_size).Rows(window * ctx, ctx);
  }
  DeviceTensor States(std::size_t window) {
    session_->Reset();
    return session_->Forward(Tokens(window));
  }

  Result<std::vector<Changed>> Make(const FormatMap& formats) {
    MakerInput input;
    if (method_.needs != MethodNeeds::kNothing) {
      input.calibration = &windows_.measured;
      input.backend = model_.backend;
    }
    const auto source = SourceTensors::Create(checkpoint_, model_.description, std::nullopt, pool_);
    if (!source) return source.error();
    const auto recipe = ParseRecipe(method_.name);
    if (!recipe) return recipe.error();
    auto maker = WeightMaker::Create(*source, *recipe, formats, std::move(input), pool_, progress_);
    if (!maker) return maker.error();
    std::vector<Changed> changed;
    const auto& blocks = model_.description.blocks;
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      for (std::size_t m = 0; m < blocks[b].matrices.size(); ++m) {
        const std::string& name = blocks[b].matrices[m].name;
        if (!formats.contains(name)) continue;
        const auto matrix = maker->Make(name);
        if (!matrix) return matrix.error();
        auto weight = model_.backend->Pack(matrix->view());
        if (!weight) return weight.error();
        changed.push_back({b, m, std::move(*weight)});
      }
    }
    return changed;
  }

  void Swap(std::vector<Changed>& changed) {
    for (Changed& x : changed) std::swap(model_.weights.blocks[x.block].matrices[x.matrix].weight, x.weight);
  }

  const Checkpoint& checkpoint_;
  Model& model_;
  const PlanWindows& windows_;
  const Method& method_;
  const ProgressFn& progress_;
  ThreadPool pool_;
  std::optional<Session> session_;
  std::optional<HeadDivergence> head_;
  std::unique_ptr<Buffer> base_;  // [windows][ctx][hidden]
};

Status Confirm(const Checkpoint& checkpoint, Model& model, const PlanWindows& windows, const Method& method,
               const ProgressFn& progress, PrecisionPlan& plan) {
  Confirmation confirmation(checkpoint, model, windows, method, progress);
  if (auto status = confirmation.Start(); !status) return status;
  auto mixed = confirmation.Measure("mixed", plan.bytes(), plan.formats());
  if (!mixed) return mixed.error();
  plan.confirmed = {std::move(*mixed)};
  const std::uint64_t most = plan.budget.kind == BudgetKind::kMostKl ? plan.bytes() : plan.budget.bytes;
  std::vector<UniformChoice> fitting;
  for (const UniformChoice& choice : UniformChoices(plan)) {
    if (choice.bytes <= most) fitting.push_back(choice);
  }
  std::ranges::stable_sort(fitting, [](const auto& a, const auto& b) { return *a.kl < *b.kl; });
  for (const UniformChoice& choice : fitting) {
    if (*choice.kl > kWorthTrying * *fitting[0].kl) break;
    FormatMap formats;
    for (const PlanUnit& unit : plan.units) {
      const FormatRow* const own = unit.Uniform(*choice.format).format;
      if (own == nullptr) continue;
      for (const std::string& stem : unit.stems) formats[stem] = own;
    }
    auto uniform = confirmation.Measure(std::string(choice.format->info.name), choice.bytes, formats);
    if (!uniform) return uniform.error();
    plan.confirmed.push_back(std::move(*uniform));
  }
  return {};
}

}  // namespace

Result<PlanWindows> CutPlanWindows(TokenStream stream, std::size_t ctx, std::size_t windows, std::size_t held_out,
                                   const std::string& text_name, const std::string& text_sha256) {
  const auto all = SpreadWindows(stream.tokens.size(), ctx, windows + held_out);
  if (!all) return Error{all.error().code, text_name + ": " + all.error().message};
  const std::size_t measured = all->size() * windows / (windows + held_out);
  if (std::min(measured, all->size() - measured) < kLeastCalibrationWindows) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} gives {} windows of {} tokens to measure on and {} to confirm on, want at least {} "
                             "each; give a longer text or ask for more windows",
                             text_name, measured, ctx, all->size() - measured, kLeastCalibrationWindows)};
  }
  PlanWindows cut;
  for (std::size_t i = 0; i < all->size(); ++i) {
    const bool first = (i + 1) * measured / all->size() > i * measured / all->size();
    (first ? cut.measured : cut.held_out).begins.push_back((*all)[i]);
  }
  for (CalibrationWindows* part : {&cut.measured, &cut.held_out}) {
    part->stream = stream;
    part->ctx = ctx;
    part->text_name = text_name;
    part->text_sha256 = text_sha256;
  }
  return cut;
}

Result<PrecisionPlan> MakePlan(const Checkpoint& checkpoint, const PlanWindows& windows, const PlanOptions& options,
                               Backend& backend, const ProgressFn& progress) {
  if (checkpoint.config.contains("quantization_config")) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} is already quantized; plan for its 16-bit original", checkpoint.path.string())};
  }
  const auto method = ParseMethod(options.method);
  if (!method) return method.error();
  const auto description = DescribeModel(checkpoint.config);
  if (!description) {
    return Error{description.error().code, checkpoint.path.string() + ": " + description.error().message};
  }
  PrecisionPlan plan = EmptyPlan(*description, options.formats);
  // Whether it can be met is known before anything is measured.
  if (auto status = SetBudget(plan, options.kind, options.value); !status) return status.error();
  auto model = LoadModel(checkpoint, backend, Precision::kSixteenBit, progress);
  if (!model) return model.error();
  plan.model_name = checkpoint.name;
  plan.model_sha256 = options.model_sha256;
  plan.tokenizer_sha256 = options.tokenizer_sha256;
  plan.text_name = windows.measured.text_name;
  plan.text_sha256 = windows.measured.text_sha256;
  plan.ctx = windows.measured.ctx;
  plan.windows = windows.measured.begins.size();
  plan.held_out_windows = windows.held_out.begins.size();
  plan.method = options.method;
  plan.probe = options.probe;
  plan.program = options.program;
  plan.command = options.command;
  SensitivityOptions sensitivity;
  sensitivity.method = *method;
  sensitivity.probe = FindFormat(options.probe);
  sensitivity.measure_all = options.measure_all;
  sensitivity.kept = options.kept;
  sensitivity.key =
      fmt::format("{} {} {} v{}", options.model_sha256, options.tokenizer_sha256, backend.arithmetic(), kPlanVersion);
  if (options.probe != kPlanProbe) {
    sensitivity.key += " among";
    for (const FormatRow* format : options.formats.formats) sensitivity.key += fmt::format(" {}", format->info.name);
  }
  if (auto status = MeasureSensitivities(checkpoint, *model, windows.measured, sensitivity, progress, plan); !status) {
    return status.error();
  }
  if (auto status = Choose(plan); !status) return status.error();
  if (auto status = Confirm(checkpoint, *model, windows, **method, progress, plan); !status) return status.error();
  return plan;
}

const HeldOutKl* BestUniform(const PrecisionPlan& plan) {
  const HeldOutKl* best = nullptr;
  double least = 0;
  for (std::size_t i = 1; i < plan.confirmed.size(); ++i) {
    const std::vector<double>& sums = plan.confirmed[i].window_kl;
    const double sum = std::accumulate(sums.begin(), sums.end(), 0.0);
    if (best != nullptr && sum >= least) continue;
    best = &plan.confirmed[i];
    least = sum;
  }
  return best;
}

}  // namespace marlin
