#include "study/job_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/file.h"
#include "base/sha256.h"
#include "records/keys.h"
#include "study/job_estimates.h"
#include "study/machine.h"
#include "study/mixed_rows.h"
#include "study/row_record.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

constexpr std::size_t kIdDigits = 12;

class Lister {
 public:
  Lister(const ComparisonPlan& plan, const ComparisonOptions& options, const EvalText& text,
         const MachineLimits& limits)
      : plan_(plan), options_(options), text_(text), limits_(limits) {}

  std::vector<Job> List() {
    if (options_.time_models) Add(JobKind::kLimits, 0, 0, "limits of the machine", "limits", {});
    for (std::size_t m = 0; m < plan_.models.size(); ++m) AddModel(m);
    return std::move(jobs_);
  }

 private:
  void AddModel(std::size_t m) {
    const ComparisonModel& model = plan_.models[m];
    const std::string base = model.rows[0].quality_key + " " + model.name;
    const std::size_t baseline = Add(JobKind::kBaseline, m, 0, "baseline of " + model.name, base, {});
    std::vector<std::size_t> plans;
    for (std::size_t i = 0; i < model.plans.size(); ++i) {
      // One after the other: the second finds the sensitivities of the first.
      plans.push_back(Add(JobKind::kPlan, m, i, fmt::format("plan {} of {}", i + 1, model.name),
                          base + PlanName(model, options_, i), i == 0 ? plans : std::vector{plans.back()}));
    }
    Add(JobKind::kNoiseFloor, m, 0, "noise floor of " + model.name, base, {baseline});
    std::vector<std::size_t> before_speed;
    std::string rows;
    for (std::size_t i = 1; i < model.rows.size(); ++i) {
      const ComparisonRow& row = model.rows[i];
      const std::string asked = Asked(model, row);
      rows += asked;
      std::vector<std::size_t> after = {baseline};
      if (row.plan) after.push_back(plans[*row.plan]);
      const std::size_t job =
          Add(JobKind::kQuality, m, i, fmt::format("quality of {} {}", model.name, row.name()), base + asked, after);
      if (!row.imported) before_speed.push_back(job);
    }
    if (!options_.time_models) return;
    before_speed.push_back(baseline);
    const TimingPlan& timing = options_.timing;
    Add(JobKind::kSpeed, m, 0, "speed of " + model.name,
        fmt::format("{} {} {} {} {}{}", base, rows, timing.prefill.id, timing.decode.id, options_.time_kernels,
                    options_.timer_arithmetic == options_.arithmetic ? "" : " " + options_.timer_arithmetic),
        before_speed);
  }

  // What was asked for, which is known before a plan is made.
  std::string Asked(const ComparisonModel& model, const ComparisonRow& row) const {
    std::string text = fmt::format("\n{} {}", row.asked, row.method);
    if (row.plan) text += " " + PlanName(model, options_, *row.plan);
    if (row.imported) text += " " + row.imported->sha256;
    if (row.calibration) {
      const CalibrationWindows& from = model.calibrations[*row.calibration];
      text += fmt::format(" {} {} {}", from.text_sha256, from.begins.size(), from.ctx);
    }
    return text;
  }

  std::size_t Add(JobKind kind, std::size_t model, std::size_t index, std::string name, const std::string& asked,
                  std::vector<std::size_t> after) {
    Job job{kind,
            model,
            index,
            Sha256Hex(fmt::format("{}\n{}", NameOf(kind), asked)).substr(0, kIdDigits),
            std::move(name),
            std::move(after)};
    const JobCosts costs = EstimateJob(kind, plan_.models[model], options_, text_, index, NominalLimits());
    job.share = costs.seconds;
    job.memory_bytes = costs.memory_bytes;
    job.disk_bytes = costs.disk_bytes;
    const bool measured = limits_.fma_gflops > 0;
    job.seconds =
        measured ? EstimateJob(kind, plan_.models[model], options_, text_, index, limits_).seconds : job.share;
    jobs_.push_back(std::move(job));
    return jobs_.size() - 1;
  }

  const ComparisonPlan& plan_;
  const ComparisonOptions& options_;
  const EvalText& text_;
  const MachineLimits& limits_;
  std::vector<Job> jobs_;
};

bool IsBaselineDone(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text) {
  if (!HasQuality(model, options, text, model.rows[0])) return false;
  const bool needed = !HasNoiseFloor(model, options, text) || !std::ranges::all_of(model.rows, [&](const auto& row) {
    return HasQuality(model, options, text, row);
  });
  return !needed || HiddenStatesReader::Open(StatesPath(options, model), StatesOf(model, options, text)).ok();
}

fs::path LimitsPath(const ComparisonOptions& options) {
  return options.work / fmt::format("limits-{}.json", MachineId(options.machine));
}

}  // namespace

std::string_view NameOf(JobKind kind) {
  switch (kind) {
    case JobKind::kLimits:
      return "limits";
    case JobKind::kPlan:
      return "plan";
    case JobKind::kBaseline:
      return "baseline";
    case JobKind::kNoiseFloor:
      return "noise-floor";
    case JobKind::kQuality:
      return "quality";
    case JobKind::kSpeed:
      return "speed";
  }
  MARLIN_CHECK(false, "every kind has a name");
}

std::vector<Job> ListJobs(const ComparisonPlan& plan, const ComparisonOptions& options, const EvalText& text,
                          const MachineLimits& limits) {
  return Lister(plan, options, text, limits).List();
}

bool HasQuality(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text,
                const ComparisonRow& row) {
  if (!row.unnecessary.empty()) return true;
  return row.is_known() && IsRecorded(options.results, QualityRecord(model, options, text, row));
}

bool HasSpeed(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonRow& row) {
  if (row.imported || !row.unnecessary.empty()) return true;
  return row.is_known() && IsRecorded(options.results, SpeedRecord(model, options, row));
}

bool HasNoiseFloor(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text) {
  return IsRecorded(options.results, FloorRecord(model, options, text));
}

bool IsDone(const Job& job, const ComparisonPlan& plan, const ComparisonOptions& options, const EvalText& text) {
  const ComparisonModel& model = plan.models[job.model];
  switch (job.kind) {
    case JobKind::kLimits:
      return ReadLimits(options).fma_gflops > 0;
    case JobKind::kPlan:
      return model.plans[job.index].has_value();
    case JobKind::kBaseline:
      return IsBaselineDone(model, options, text);
    case JobKind::kNoiseFloor:
      return HasNoiseFloor(model, options, text);
    case JobKind::kQuality:
      return HasQuality(model, options, text, model.rows[job.index]);
    case JobKind::kSpeed:
      return std::ranges::all_of(model.rows, [&](const auto& row) { return HasSpeed(model, options, row); });
  }
  MARLIN_CHECK(false, "every kind is known");
}

fs::path StatesPath(const ComparisonOptions& options, const ComparisonModel& model) {
  return options.work / fmt::format("states-{}.hidden", IdOfKey(model.rows[0].quality_key));
}

fs::path RowModelPath(const ComparisonOptions& options, const ComparisonRow& row) {
  return options.work / fmt::format("{}-{}", row.config_id, row.quality_key.substr(0, kIdDigits));
}

MachineLimits ReadLimits(const ComparisonOptions& options) {
  const auto text = ReadFile(LimitsPath(options));
  if (!text) return {};
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  if (!json.is_object() || !json.contains("fma_isa") || !json["fma_isa"].is_string()) return {};
  const auto number = [&](const char* name) {
    return json.contains(name) && json[name].is_number() ? json[name].get<double>() : 0;
  };
  return {number("read_gbps"),  number("fma_gflops"), json["fma_isa"],       number("bf16_gflops"),
          number("int16_gops"), number("int8_gops"),  number("alone_gflops")};
}

Status WriteLimits(const ComparisonOptions& options, const MachineLimits& x) {
  const nlohmann::ordered_json json = {{"read_gbps", x.read_gbps},      {"fma_gflops", x.fma_gflops},
                                       {"fma_isa", x.fma_isa},          {"bf16_gflops", x.bf16_gflops},
                                       {"int16_gops", x.int16_gops},    {"int8_gops", x.int8_gops},
                                       {"alone_gflops", x.alone_gflops}};
  return WriteFileAtomic(LimitsPath(options), json.dump(2) + "\n");
}

std::size_t FindJob(const std::vector<Job>& jobs, std::string_view id) {
  return static_cast<std::size_t>(std::ranges::find(jobs, id, &Job::id) - jobs.begin());
}

std::vector<std::size_t> ShareOut(const std::vector<Job>& jobs, std::size_t shares) {
  std::vector<std::size_t> longest_first(jobs.size());
  std::iota(longest_first.begin(), longest_first.end(), std::size_t{0});
  std::ranges::stable_sort(longest_first, std::greater{}, [&](std::size_t i) { return jobs[i].share; });
  std::vector<double> load(shares, 0);
  std::vector<std::size_t> share(jobs.size());
  for (const std::size_t i : longest_first) {
    share[i] = static_cast<std::size_t>(std::ranges::min_element(load) - load.begin());
    load[share[i]] += jobs[i].share;
  }
  return share;
}

}  // namespace marlin
