#include "study/job_estimates.h"

#include <algorithm>

#include "base/check.h"
#include "formats/formats.h"
#include "model/description.h"
#include "model/sizes.h"
#include "quantize/method.h"
#include "quantize/quantize_model.h"
#include "study/sensitivity.h"

namespace marlin {
namespace {

// The share of the measured FMA peak that evaluation reaches, attention and softmax included.
constexpr double kExpectedEfficiency = 0.6;
// Decode and small products are bound by memory, which prefill's flops do not show: seconds added per row and round.
constexpr double kSecondsPerKernelRound = 0.25;
// How much longer scalar kernels take than vectors, and the reference than those. One of them makes the noise floor.
constexpr double kScalarSlowness = 10;
constexpr double kReferenceSlowness = 4;
// What evaluation and decode reach on a GPU. An H200 reaches about twice as much.
constexpr double kGpuFlops = 1e14;
constexpr double kGpuBytesPerSecond = 1e12;
// Passes over the calibration text: each layer is looked at, and run again when it is quantized; statistics cost
// another.
constexpr double kWalkPasses = 3;
// Configurations that are made and confirmed on the held-out windows of a plan.
constexpr double kConfirmed = 6;
// What searching scales takes per weight, in multiply-adds of the measured peak: mse takes 190 ns where one thread
// reaches 118 GFLOP/s; gptq and gptq-cd search in the same way, and spread errors.
constexpr double kSearchFlops = 13'000;
constexpr double kLimitsSeconds = 3;
constexpr double kPrefillTokens = 512;

class Estimator {
 public:
  Estimator(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text,
            const MachineLimits& limits)
      : model_(model), options_(options), text_(text), limits_(limits) {}

  JobCosts Baseline() const {
    return {Run(tokens()), Bytes(model_.rows[0]), HiddenStatesBytes(StatesOf(model_, options_, text_))};
  }

  JobCosts NoiseFloor() const {
    const double floor = static_cast<double>(std::min(kFloorWindows, model_.windows) * options_.ctx);
    const double slowness = is_scalar() ? kReferenceSlowness : kScalarSlowness;
    return {floor * token_flops() / host_rate() * slowness, Bytes(model_.rows[0]), 0};
  }

  // Evaluation with the baseline's head beside the row's own.
  JobCosts Quality(const ComparisonRow& row) const {
    JobCosts costs{Run(tokens()) + tokens() * head_flops() / rate(), Bytes(row), row.is_made() ? Bytes(row) : 0};
    if (!row.calibration) return costs;
    const CalibrationWindows& windows = model_.calibrations[*row.calibration];
    costs.seconds += Making(row.method) + kWalkPasses * Run(static_cast<double>(windows.begins.size() * windows.ctx));
    costs.memory_bytes = std::max(costs.memory_bytes, QuantizingBytes(model_.description, windows.begins.size(),
                                                                      windows.ctx, ParseRecipe(row.method)->needs));
    costs.disk_bytes *= 2;  // layers kept for a resumed run, and the folder
    return costs;
  }

  // Every unit is made in every format. In the probe it runs through the rest of the model. Then whole configurations
  // are made and evaluated.
  JobCosts Plan(std::size_t index) const {
    const PlanRequest& request = options_.plans;
    if (!request.file.empty()) return {};
    const std::string& method = request.budgets[index].method;
    const auto recipe = ParseRecipe(method);
    const bool gram = recipe && recipe->needs == MethodNeeds::kGram;
    const auto formats = static_cast<double>(CommonPlanFormats().formats.size());
    const auto layers = static_cast<double>(model_.description.blocks.size());
    const auto tokens = static_cast<double>(request.windows * request.ctx);
    const double sensitivities = formats * Making(method) + Run((2 * layers + 1) * tokens);
    const double confirmed = Making(method) + Run((kWalkPasses + static_cast<double>(kHeldOutPerWindow)) * tokens);
    return {sensitivities + kConfirmed * confirmed,
            Bytes(model_.rows[0]) + SensitivityBytes(model_.description, request.windows, request.ctx, gram,
                                                     request.budgets[index].measure_all),
            0};
  }

  JobCosts Speed() const {
    const auto rounds = [](const TimingProtocol& x) { return static_cast<double>(x.warmup + x.iterations); };
    const double prefill_rounds = rounds(options_.timing.prefill);
    const double decode_rounds = rounds(options_.timing.decode);
    JobCosts costs;
    for (const ComparisonRow& row : model_.rows) {
      if (row.imported) continue;
      const std::uint64_t bytes = Bytes(row);
      costs.seconds += prefill_rounds * kPrefillTokens * block_flops() / RateOf(options_.timer_machine);
      costs.seconds += decode_rounds * 2.0 * static_cast<double>(bytes) / ReadRateOf(options_.timer_machine);
      if (options_.time_kernels && row.mixed == nullptr) costs.seconds += prefill_rounds * kSecondsPerKernelRound + 8;
      costs.memory_bytes += bytes;
      if (row.is_made()) costs.disk_bytes += bytes;
    }
    return costs;
  }

 private:
  static bool IsGpu(const record::Machine& machine) { return machine.device.has_value(); }
  bool is_scalar() const { return !IsGpu(options_.machine) && options_.machine.isa == "scalar"; }
  // Of the processor, which also searches scales for a GPU.
  double host_rate() const {
    return limits_.fma_gflops * 1e9 * kExpectedEfficiency / (is_scalar() ? kScalarSlowness : 1);
  }
  double RateOf(const record::Machine& machine) const { return IsGpu(machine) ? kGpuFlops : host_rate(); }
  double rate() const { return RateOf(options_.machine); }
  double ReadRateOf(const record::Machine& machine) const {
    return IsGpu(machine) ? kGpuBytesPerSecond : limits_.read_gbps * 1e9;
  }
  double tokens() const { return static_cast<double>(model_.windows * options_.ctx); }
  double head_flops() const {
    return 2.0 * static_cast<double>(model_.description.vocab_size) *
           static_cast<double>(model_.description.hidden_size);
  }
  double block_flops() const { return 2.0 * static_cast<double>(LinearWeights(model_.description)); }
  double token_flops() const { return block_flops() + head_flops(); }
  double Run(double tokens) const { return tokens * token_flops() / rate(); }

  double Making(const std::string& method) const {
    return method == "rtn" ? 0 : static_cast<double>(LinearWeights(model_.description)) * kSearchFlops / host_rate();
  }

  // A row that a plan decides counts as the plan's probe, whether the plan was made or not: so shares stay the same.
  std::uint64_t Bytes(const ComparisonRow& row) const {
    return row.plan ? ModelBytes(model_.description, FindFormat(kPlanProbe)) : row.model_bytes;
  }

  const ComparisonModel& model_;
  const ComparisonOptions& options_;
  const EvalText& text_;
  const MachineLimits& limits_;
};

}  // namespace

MachineLimits NominalLimits() {
  MachineLimits limits;
  limits.read_gbps = 20;
  limits.fma_gflops = 200;
  return limits;
}

JobCosts EstimateJob(JobKind kind, const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text,
                     std::size_t index, const MachineLimits& limits) {
  const Estimator estimator(model, options, text, limits);
  switch (kind) {
    case JobKind::kLimits:
      return {kLimitsSeconds, 0, 0};
    case JobKind::kPlan:
      return estimator.Plan(index);
    case JobKind::kBaseline:
      return estimator.Baseline();
    case JobKind::kNoiseFloor:
      return estimator.NoiseFloor();
    case JobKind::kQuality:
      return estimator.Quality(model.rows[index]);
    case JobKind::kSpeed:
      return estimator.Speed();
  }
  MARLIN_CHECK(false, "every kind is known");
}

}  // namespace marlin
