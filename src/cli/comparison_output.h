// What `bench comparison` says about its rows and jobs before it runs them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "bench/limits.h"
#include "cli/console.h"
#include "study/comparison.h"
#include "study/job_list.h"
#include "study/run_jobs.h"

namespace marlin {

// A job with its state of now.
struct ListedJob {
  const Job* job = nullptr;
  bool done = false;
  std::optional<ClaimHolder> holder;  // who runs it
};
std::vector<ListedJob> ObserveJobs(const std::vector<Job>& jobs, const ComparisonPlan& plan,
                                   const ComparisonOptions& options, const EvalText& text, const JobChoice& choice);

// Leaves out the jobs of other shares.
void KeepShare(const std::vector<Job>& jobs, const JobChoice& choice, std::vector<ListedJob>& listed);

// The models and their rows.
void PrintRows(const ComparisonPlan& plan, const ComparisonOptions& options, const EvalText& text, Console& console);
// The timing, the machine, and what is left to do.
void PrintTotal(const ComparisonPlan& plan, const std::vector<ListedJob>& jobs, const ComparisonOptions& options,
                const EvalText& text, const MachineLimits& limits, Console& console);
// One line per job.
void PrintJobs(const std::vector<ListedJob>& jobs, const std::vector<Job>& all, Console& console);

nlohmann::json PlanToJson(const ComparisonPlan& plan, const std::vector<ListedJob>& jobs, const std::vector<Job>& all,
                          const ComparisonOptions& options, const EvalText& text);

}  // namespace marlin
