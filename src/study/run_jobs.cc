#include "study/run_jobs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/file.h"
#include "study/machine.h"
#include "study/mixed_rows.h"
#include "study/quality_jobs.h"
#include "study/row_model.h"
#include "study/speed_job.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kPollEvery{300};
constexpr std::size_t kNamedJobs = 5;  // in an error

enum class Outcome { kDone, kRan, kWaiting, kFailed };

constexpr std::string_view kFinished = ".finished";

// The file beside another one that says that this may go.
fs::path FinishedMark(const fs::path& path) { return path.string() + std::string(kFinished); }

void MarkFinished(const fs::path& path) {
  std::error_code code;
  if (fs::exists(path, code)) (void)WriteFileAtomic(FinishedMark(path), "");
}

// Every file that some process marked.
void RemoveFinished(const fs::path& folder) {
  std::error_code code;
  std::vector<fs::path> marks;
  for (fs::directory_iterator it(folder, code); !code && it != fs::directory_iterator(); it.increment(code)) {
    if (it->path().filename().string().ends_with(kFinished)) marks.push_back(it->path());
  }
  for (const fs::path& mark : marks) {
    fs::remove(fs::path(mark).replace_extension(), code);
    fs::remove(mark, code);
  }
}

bool NeedsQuiet(const ClaimHolder& holder) { return holder.name.starts_with(NameOf(JobKind::kSpeed)); }

class JobRunner {
 public:
  JobRunner(ComparisonPlan& plan, const ComparisonOptions& options, const ComparisonTools& tools,
            const MachineLimits& limits, const JobChoice& choice)
      : plan_(plan),
        options_(options),
        tools_(tools),
        limits_(limits),
        choice_(choice),
        jobs_(ListJobs(plan, options, tools.text, limits)),
        shares_(ShareOut(jobs_, choice.shares)),
        outcomes_(jobs_.size(), Outcome::kWaiting) {}

  Status Run() {
    const std::size_t one = FindJob(jobs_, choice_.id);
    if (!choice_.id.empty() && one == jobs_.size()) return NoSuchJob();
    for (const ComparisonModel& model : plan_.models) {
      std::error_code ignored;  // states of an earlier sweep are needed again
      fs::remove(FinishedMark(StatesPath(options_, model)), ignored);
    }
    for (;;) {
      bool ran = false;
      bool waiting = false;
      for (std::size_t i = 0; i < jobs_.size(); ++i) {
        if (choice_.id.empty() ? shares_[i] != choice_.share : i != one) continue;
        const auto outcome = Try(i);
        if (!outcome) return outcome.error();
        ran = ran || *outcome == Outcome::kRan;
        waiting = waiting || *outcome == Outcome::kWaiting;
      }
      if (!waiting) break;
      if (ran) continue;
      if (auto status = Pause(); !status) return status;
    }
    TidyUp();
    return first_error_ ? Status(Failure()) : Status();
  }

 private:
  Error NoSuchJob() const {
    return {
        ErrorCode::kUsage,
        fmt::format("this comparison has no job {}; --list-jobs shows the jobs. An id belongs to the options, and to "
                    "the arithmetic, which is {} here: --isa and --activations choose it",
                    choice_.id, options_.arithmetic)};
  }

  // Runs the job if it can run now. Errors: those that stop everything.
  Result<Outcome> Try(std::size_t i) {
    if (outcomes_[i] == Outcome::kDone || outcomes_[i] == Outcome::kFailed) return outcomes_[i];
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    const auto outcome = TryOpen(i);
    if (outcome) outcomes_[i] = *outcome == Outcome::kRan ? Outcome::kDone : *outcome;
    return outcome;
  }

  Result<Outcome> TryOpen(std::size_t i) {
    const Job& job = jobs_[i];
    ComparisonModel& model = plan_.models[job.model];
    if (auto status = ResolveRows(options_, tools_.text, model); !status) return status.error();
    if (IsDone(job, plan_, options_, tools_.text)) return Outcome::kDone;
    bool waiting = false;
    for (const std::size_t needed : job.after) {
      const auto outcome = TryNeeded(job, needed);
      if (!outcome) return outcome.error();
      if (*outcome == Outcome::kFailed) {
        blocked_.push_back(job.name);
        return Outcome::kFailed;
      }
      waiting = waiting || *outcome == Outcome::kWaiting;
    }
    if (waiting) return PrepareMeanwhile(job);
    auto claim = Claim::Take(ClaimsFolder(options_), ClaimName(job, options_), choice_.claim_expiry);
    if (!claim) return claim.error();
    if (!claim->held()) return WaitFor(job, claim->holder());
    if (auto status = ResolveRows(options_, tools_.text, model); !status) return status.error();
    if (IsDone(job, plan_, options_, tools_.text)) return Outcome::kDone;  // meanwhile
    if (const auto timing = TimingHere(job)) return WaitFor(job, *timing);
    const Status status = RunClaimed(job);
    if (status.ok()) {
      if (tools_.recorded && job.kind != JobKind::kLimits && job.kind != JobKind::kPlan) tools_.recorded();
      return Outcome::kRan;
    }
    const ErrorCode code = status.error().code;
    if (code == ErrorCode::kInterrupted || code == ErrorCode::kResource) return status.error();
    if (!first_error_) first_error_ = status.error();
    failed_.push_back(job.name);
    if (choice_.id.empty()) tools_.Say(fmt::format("failed: {}: {}", job.name, status.error().message));
    return Outcome::kFailed;
  }

  // A job that was chosen alone runs nothing else.
  Result<Outcome> TryNeeded(const Job& job, std::size_t needed) {
    if (choice_.id.empty()) return Try(needed);
    if (IsDone(jobs_[needed], plan_, options_, tools_.text)) return Outcome::kDone;
    return Error{ErrorCode::kInput, fmt::format("{} needs the job {} ({}), which is not done", job.name,
                                                jobs_[needed].id, jobs_[needed].name)};
  }

  // While another process evaluates the baseline, rows can be quantized.
  Result<Outcome> PrepareMeanwhile(const Job& job) {
    const ComparisonModel& model = plan_.models[job.model];
    const ComparisonRow& row = model.rows[job.kind == JobKind::kQuality ? job.index : 0];
    std::error_code code;
    if (!row.is_made() || !row.is_known() || fs::exists(RowModelPath(options_, row), code)) return Outcome::kWaiting;
    const auto claim = Claim::Take(ClaimsFolder(options_), ClaimName(job, options_), choice_.claim_expiry);
    if (!claim) return claim.error();
    if (!claim->held() || TimingHere(job)) return Outcome::kWaiting;
    record::Size size;
    const Status status = EnsureModel(model, options_, tools_, row, size);
    // Another error shows again when the job runs.
    if (!status.ok() && status.error().code == ErrorCode::kInterrupted) return status.error();
    return Outcome::kWaiting;
  }

  Outcome WaitFor(const Job& job, const ClaimHolder& holder) {
    const std::string text = fmt::format("later: {}; {} is held by {}", job.name, holder.name, Describe(holder));
    if (text != said_) tools_.Say(text);
    said_ = text;
    return Outcome::kWaiting;
  }

  // Another process that times on this machine; of two that want to time, the one whose claim comes first.
  std::optional<ClaimHolder> TimingHere(const Job& job) const {
    const std::string own = ClaimName(job, options_);
    for (const ClaimHolder& holder : ListClaims(ClaimsFolder(options_), choice_.claim_expiry)) {
      if (!NeedsQuiet(holder) || !holder.is_here() || holder.is_own()) continue;
      if (job.kind != JobKind::kSpeed || holder.name < own) return holder;
    }
    return std::nullopt;
  }

  // Until no other process runs a job of this folder on this machine.
  Status WaitForQuiet() {
    for (;;) {
      const auto claims = ListClaims(ClaimsFolder(options_), choice_.claim_expiry);
      const auto other =
          std::ranges::find_if(claims, [](const ClaimHolder& holder) { return holder.is_here() && !holder.is_own(); });
      if (other == claims.end()) return {};
      const std::string text = fmt::format("waiting to time alone: {} is held by {}", other->name, Describe(*other));
      if (text != said_) tools_.Say(text);
      said_ = text;
      if (auto status = Pause(); !status) return status;
    }
  }

  Status Pause() const {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
    std::this_thread::sleep_for(kPollEvery);
    return {};
  }

  Status RunClaimed(const Job& job) {
    if (auto status = CheckDisk(job); !status) return status;
    const ComparisonModel& model = plan_.models[job.model];
    switch (job.kind) {
      case JobKind::kLimits:
        if (!tools_.measure_limits) return {};
        limits_ = LargerOf(limits_, tools_.measure_limits());
        return WriteLimits(options_, limits_);
      case JobKind::kPlan:
        return RunPlan(job);
      case JobKind::kBaseline:
        return QualityOf(job.model).RunBaseline();
      case JobKind::kNoiseFloor:
        return QualityOf(job.model).RunNoiseFloor();
      case JobKind::kQuality:
        return QualityOf(job.model).RunQuality(model.rows[job.index]);
      case JobKind::kSpeed:
        quality_.reset();  // its memory is needed
        if (auto status = WaitForQuiet(); !status) return status;
        return RunSpeedJob(model, options_, tools_);
    }
    MARLIN_CHECK(false, "every kind is known");
  }

  Status RunPlan(const Job& job) {
    ComparisonModel& model = plan_.models[job.model];
    if (auto status = MakePlanFor(model, options_, job.index, tools_.maker, tools_.progress); !status) return status;
    if (auto status = ResolveRows(options_, tools_.text, model); !status) return status;
    tools_.Say(fmt::format("{}: {}", job.name, Describe(*model.plans[job.index])));
    return {};
  }

  QualityJobs& QualityOf(std::size_t model) {
    if (quality_ == nullptr || quality_model_ != model) {
      quality_ = std::make_unique<QualityJobs>(plan_.models[model], options_, tools_);
      quality_model_ = model;
    }
    return *quality_;
  }

  Status CheckDisk(const Job& job) const {
    std::error_code code;
    const fs::space_info space = fs::space(options_.work, code);
    if (code || space.available >= job.disk_bytes) return {};
    return Error{ErrorCode::kResource, fmt::format("{} needs {} bytes in {}, {} are free; choose another folder with "
                                                   "--work",
                                                   job.name, job.disk_bytes, options_.work.string(), space.available)};
  }

  // What nobody needs any more: quantized models of finished models at once, hidden states when nobody works here, as
  // another process may read them; and the folders if they are empty.
  void TidyUp() {
    std::error_code ignored;
    for (std::size_t m = 0; m < plan_.models.size(); ++m) {
      const ComparisonModel& model = plan_.models[m];
      const bool all_done = std::ranges::all_of(jobs_, [&](const Job& job) {
        return job.model != m || job.kind == JobKind::kLimits || IsDone(job, plan_, options_, tools_.text);
      });
      if (!all_done) continue;
      MarkFinished(StatesPath(options_, model));
      for (const ComparisonRow& row : model.rows) DropModel(options_, row);
    }
    if (!ListClaims(ClaimsFolder(options_), choice_.claim_expiry).empty()) return;  // others still work here
    RemoveFinished(options_.work);
    SweepClaims(ClaimsFolder(options_), choice_.claim_expiry);
    fs::remove(options_.work, ignored);  // fails where something is left
  }

  Error Failure() const {
    Error error = *first_error_;
    if (failed_.size() > 1) error.message += fmt::format("; {} jobs failed: {}", failed_.size(), Some(failed_));
    if (!blocked_.empty()) error.message += "; not run, because they need a job that failed: " + Some(blocked_);
    return error;
  }

  static std::string Some(const std::vector<std::string>& names) {
    const std::size_t shown = std::min(names.size(), kNamedJobs);
    std::string text =
        fmt::format("{}", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
    if (shown < names.size()) text += fmt::format(" and {} more", names.size() - shown);
    return text;
  }

  ComparisonPlan& plan_;
  const ComparisonOptions& options_;
  const ComparisonTools& tools_;
  MachineLimits limits_;
  const JobChoice& choice_;
  const std::vector<Job> jobs_;
  const std::vector<std::size_t> shares_;
  std::vector<Outcome> outcomes_;
  std::unique_ptr<QualityJobs> quality_;
  std::size_t quality_model_ = 0;
  std::optional<Error> first_error_;
  std::vector<std::string> failed_;
  std::vector<std::string> blocked_;
  std::string said_;  // the last line about waiting
};

}  // namespace

fs::path ClaimsFolder(const ComparisonOptions& options) { return options.work / "claims"; }

std::string ClaimName(const Job& job, const ComparisonOptions& options) {
  const std::string name = fmt::format("{}-{}", NameOf(job.kind), job.id);
  const bool of_machine = job.kind == JobKind::kLimits || job.kind == JobKind::kSpeed;
  return of_machine ? name + "-" + MachineId(options.timer_machine) : name;
}

Status RunJobs(ComparisonPlan& plan, const ComparisonOptions& options, const ComparisonTools& tools,
               const MachineLimits& limits, const JobChoice& choice) {
  MARLIN_CHECK(tools.text.absent_bytes == 0, "a text to measure on");
  return JobRunner(plan, options, tools, limits, choice).Run();
}

}  // namespace marlin
