// Runs the jobs of a comparison, beside any number of other processes that share its folders.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/limits.h"
#include "study/claim.h"
#include "study/comparison.h"
#include "study/job_list.h"

namespace marlin {

inline constexpr std::chrono::seconds kClaimExpiry{600};

// Which jobs a process runs: one, a share, or all.
struct JobChoice {
  std::string id;          // empty = a share of all
  std::size_t share = 0;   // 0 .. shares - 1
  std::size_t shares = 1;  // 1 = all jobs
  std::chrono::seconds claim_expiry = kClaimExpiry;
};

// The folder of claims, and the name of a job's claim. Speeds and limits of two machines are two claims.
std::filesystem::path ClaimsFolder(const ComparisonOptions& options);
std::string ClaimName(const Job& job, const ComparisonOptions& options);

// Runs every chosen job that is not done; `plan` is completed by the plans of mixed precision that are made meanwhile.
// A share also runs jobs that its jobs need and that nobody else runs. Jobs that another process holds are waited for.
// While one process times on a machine, no other starts a job there. A job that fails does not stop jobs that do not
// need it. Errors: kUsage (no such job), kInput (a job that the chosen one needs is not done), kResource (a disk that
// is full stops everything), kInterrupted (run it again to continue), and the first error of a job, with the names of
// the jobs that were not run because of it.
Status RunJobs(ComparisonPlan& plan, const ComparisonOptions& options, const ComparisonTools& tools,
               const MachineLimits& limits, const JobChoice& choice);

}  // namespace marlin
