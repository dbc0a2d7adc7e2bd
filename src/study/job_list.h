// A comparison as a list of independent jobs, with what each needs and which others must be done before it.
//
//   limits       measures what this machine can do at most, for estimates
//   plan         makes one plan of mixed precision
//   baseline     evaluates the 16-bit model and leaves its hidden states in the work folder
//   noise floor  compares the baseline with itself by other kernels
//   quality      quantizes one row and evaluates it against the baseline's states
//   speed        measures the memory of a model's rows and times them interleaved
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bench/limits.h"
#include "study/comparison.h"

namespace marlin {

enum class JobKind { kLimits, kPlan, kBaseline, kNoiseFloor, kQuality, kSpeed };

std::string_view NameOf(JobKind kind);

struct Job {
  JobKind kind = JobKind::kQuality;
  std::size_t model = 0;           // index in the plan of the comparison
  std::size_t index = 0;           // of the row, of the plan of mixed precision
  std::string id;                  // 12 hexadecimal digits; the same on every machine
  std::string name;                // "quality of SmolLM2-135M fp4-g128"
  std::vector<std::size_t> after;  // indices in the list, below its own
  double seconds = 0;              // estimates
  double share = 0;                // the same on a nominal machine: equal wherever the list is made
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;  // in the work folder
};

// In an order in which they can run. The ids depend on what was asked for, not on this machine and not on plans of
// mixed precision that were made meanwhile. `limits` may be empty: then the nominal machine estimates.
std::vector<Job> ListJobs(const ComparisonPlan& plan, const ComparisonOptions& options, const EvalText& text,
                          const MachineLimits& limits);

// Whether its results are there: the record, the plan of mixed precision, or the limits of this machine. A baseline
// must also have its states as long as a row needs them. A job that a plan made unnecessary is done.
bool IsDone(const Job& job, const ComparisonPlan& plan, const ComparisonOptions& options, const EvalText& text);

// Whether the results hold what belongs to a row: the record of its quality, of its speeds, of a baseline's noise
// floor.
bool HasQuality(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text,
                const ComparisonRow& row);
bool HasSpeed(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonRow& row);
bool HasNoiseFloor(const ComparisonModel& model, const ComparisonOptions& options, const EvalText& text);

// Where a baseline's states and a row's model lie in the work folder; the folder of a model appears whole.
std::filesystem::path StatesPath(const ComparisonOptions& options, const ComparisonModel& model);
std::filesystem::path RowModelPath(const ComparisonOptions& options, const ComparisonRow& row);

// Limits of this machine that an earlier job kept; zeros when there are none.
MachineLimits ReadLimits(const ComparisonOptions& options);
Status WriteLimits(const ComparisonOptions& options, const MachineLimits& limits);

// Index of the job with this id, or jobs.size().
std::size_t FindJob(const std::vector<Job>& jobs, std::string_view id);

// Of every job the number of its share, 0 .. shares - 1: the longest job goes to the share that has the least so far.
// The same on every machine.
std::vector<std::size_t> ShareOut(const std::vector<Job>& jobs, std::size_t shares);

}  // namespace marlin
