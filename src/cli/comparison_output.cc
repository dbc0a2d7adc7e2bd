#include "cli/comparison_output.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>

#include "cli/bench.h"
#include "report/table.h"

namespace marlin {
namespace {

// What is there of a row, and whether that is all.
struct RowState {
  bool finished = true;
  std::vector<std::string> done;
};

RowState StateOf(const ComparisonModel& model, std::size_t index, const ComparisonOptions& options,
                 const EvalText& text) {
  const ComparisonRow& row = model.rows[index];
  RowState state;
  const auto add = [&](const char* name, bool done) {
    state.finished = state.finished && done;
    if (done) state.done.emplace_back(name);
  };
  add("quality", HasQuality(model, options, text, row));
  if (row.is_baseline()) add("noise floor", HasNoiseFloor(model, options, text));
  if (options.time_models && !row.imported) add("speed", HasSpeed(model, options, row));
  std::error_code code;
  if (!state.finished && row.is_made() && row.is_known() && std::filesystem::exists(RowModelPath(options, row), code)) {
    state.done.emplace_back("quantized");
  }
  return state;
}

struct Total {
  std::size_t rows = 0, rows_to_do = 0, jobs_to_do = 0;
  double seconds = 0;
  std::uint64_t memory_bytes = 0, disk_bytes = 0;
};

Total TotalOf(const ComparisonPlan& plan, const std::vector<ListedJob>& jobs, const ComparisonOptions& options,
              const EvalText& text) {
  Total total;
  for (const ComparisonModel& model : plan.models) {
    total.rows += model.rows.size();
    for (std::size_t r = 0; r < model.rows.size(); ++r) {
      if (!StateOf(model, r, options, text).finished) ++total.rows_to_do;
    }
  }
  std::uint64_t states = 0;
  std::uint64_t largest = 0;
  for (const ListedJob& listed : jobs) {
    if (listed.done) continue;
    ++total.jobs_to_do;
    total.seconds += listed.job->seconds;
    total.memory_bytes = std::max(total.memory_bytes, listed.job->memory_bytes);
    std::uint64_t& kind = listed.job->kind == JobKind::kBaseline ? states : largest;
    kind = std::max(kind, listed.job->disk_bytes);
  }
  total.disk_bytes = states + largest;
  return total;
}

std::string StateText(const ListedJob& listed) {
  if (listed.done) return "done";
  return listed.holder ? "held by " + Describe(*listed.holder) : "to do";
}

std::string RowText(const ComparisonModel& model, const ComparisonRow& row, const RowState& state) {
  if (!row.unnecessary.empty()) return "not needed: " + row.unnecessary;
  if (state.finished) return "measured already";
  std::string text = "to do";
  if (row.plan && !model.plans[*row.plan]) text += fmt::format(", when plan {} is made", *row.plan + 1);
  if (!state.done.empty()) text += fmt::format("; done: {}", fmt::join(state.done, ", "));
  return text;
}

}  // namespace

std::vector<ListedJob> ObserveJobs(const std::vector<Job>& jobs, const ComparisonPlan& plan,
                                   const ComparisonOptions& options, const EvalText& text, const JobChoice& choice) {
  const std::vector<ClaimHolder> claims = ListClaims(ClaimsFolder(options), choice.claim_expiry);
  std::vector<ListedJob> listed;
  for (const Job& job : jobs) {
    const auto claim = std::ranges::find(claims, ClaimName(job, options), &ClaimHolder::name);
    listed.push_back(
        {&job, IsDone(job, plan, options, text), claim == claims.end() ? std::nullopt : std::optional(*claim)});
  }
  return listed;
}

void KeepShare(const std::vector<Job>& jobs, const JobChoice& choice, std::vector<ListedJob>& listed) {
  const std::vector<std::size_t> shares = ShareOut(jobs, choice.shares);
  std::erase_if(listed, [&](const ListedJob& x) {
    return shares[static_cast<std::size_t>(x.job - jobs.data())] != choice.share;
  });
}

void PrintRows(const ComparisonPlan& plan, const ComparisonOptions& options, const EvalText& text, Console& console) {
  for (const ComparisonModel& model : plan.models) {
    console.Say(fmt::format("{} ({}, {:.1f} million parameters): {} rows", model.name, BaselineName(model.source_type),
                            static_cast<double>(model.parameters) / 1e6, model.rows.size()));
    console.Say(fmt::format("  perplexity  {}, {} of {} tokens{}", text.name, CountText(model.windows, "window"),
                            options.ctx,
                            model.windows_estimated ? " (estimated from its size and the sample text)" : ""));
    for (std::size_t r = 0; r < model.rows.size(); ++r) {
      console.Say(fmt::format("  {:<13} {}", model.rows[r].name(),
                              RowText(model, model.rows[r], StateOf(model, r, options, text))));
    }
  }
}

void PrintTotal(const ComparisonPlan& plan, const std::vector<ListedJob>& jobs, const ComparisonOptions& options,
                const EvalText& text, const MachineLimits& limits, Console& console) {
  console.Say(options.time_models ? fmt::format("timing          {} (warm-up/measured iterations){}",
                                                PlanName(options.timing), options.time_kernels ? ", kernels too" : "")
                                  : "timing          none");
  console.Say(fmt::format("this machine    {}; {} threads", DescribeLimits(limits), options.machine.threads));
  const Total total = TotalOf(plan, jobs, options, text);
  console.Say(
      fmt::format("to do           {} of {} rows, {} of {} jobs, about {}, {} of disk in {}, about {} of memory",
                  total.rows_to_do, total.rows, total.jobs_to_do, jobs.size(), FormatDuration(total.seconds),
                  FormatBytes(static_cast<double>(total.disk_bytes)), options.work.string(),
                  FormatBytes(static_cast<double>(total.memory_bytes))));
  console.Say(fmt::format("records         {}", options.results.string()));
}

void PrintJobs(const std::vector<ListedJob>& jobs, const std::vector<Job>& all, Console& console) {
  constexpr std::size_t kNamed = 2;  // more are counted
  Table table;
  table.columns = {{"Job", Align::kLeft},
                   {"What", Align::kLeft},
                   {"State", Align::kLeft},
                   {"After", Align::kLeft},
                   {"Time"},
                   {"Memory"},
                   {"Disk"}};
  for (const ListedJob& listed : jobs) {
    const Job& job = *listed.job;
    std::vector<std::string> after;
    for (const std::size_t needed : job.after) after.push_back(all[needed].id);
    table.Add({job.id, job.name, StateText(listed),
               after.size() > kNamed ? fmt::format("{} jobs", after.size()) : fmt::format("{}", fmt::join(after, " ")),
               FormatDuration(job.seconds), FormatBytes(static_cast<double>(job.memory_bytes)),
               FormatBytes(static_cast<double>(job.disk_bytes))});
  }
  console.Result(ToPlainText(table));
}

nlohmann::json PlanToJson(const ComparisonPlan& plan, const std::vector<ListedJob>& jobs, const std::vector<Job>& all,
                          const ComparisonOptions& options, const EvalText& text) {
  nlohmann::json rows = nlohmann::json::array();
  for (const ComparisonModel& model : plan.models) {
    for (std::size_t r = 0; r < model.rows.size(); ++r) {
      const ComparisonRow& row = model.rows[r];
      const RowState state = StateOf(model, r, options, text);
      rows.push_back({{"model", model.name},
                      {"config", row.config_id},
                      {"name", row.name()},
                      {"key", row.quality_key},
                      {"speed_key", row.speed_key},
                      {"windows", model.windows},
                      {"windows_estimated", model.windows_estimated},
                      {"finished", state.finished},
                      {"unnecessary", row.unnecessary},
                      {"done", state.done}});
    }
  }
  nlohmann::json list = nlohmann::json::array();
  for (const ListedJob& listed : jobs) {
    const Job& job = *listed.job;
    nlohmann::json after = nlohmann::json::array();
    for (const std::size_t needed : job.after) after.push_back(all[needed].id);
    list.push_back({{"id", job.id},
                    {"kind", NameOf(job.kind)},
                    {"name", job.name},
                    {"state", listed.done     ? "done"
                              : listed.holder ? "held"
                                              : "to do"},
                    {"holder", listed.holder ? nlohmann::json(Describe(*listed.holder)) : nlohmann::json(nullptr)},
                    {"after", after},
                    {"seconds", job.seconds},
                    {"memory_bytes", job.memory_bytes},
                    {"disk_bytes", job.disk_bytes}});
  }
  const Total total = TotalOf(plan, jobs, options, text);
  return {{"rows", rows},
          {"jobs", list},
          {"seconds", total.seconds},
          {"disk_bytes", total.disk_bytes},
          {"memory_bytes", total.memory_bytes}};
}

}  // namespace marlin
