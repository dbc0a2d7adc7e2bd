#include "cli/emit_jobs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "base/check.h"
#include "cli/command_line.h"

namespace marlin {
namespace {

std::string ShellWords(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + QuoteForShell(word);
  return text;
}

// make reads $ and # before the shell does.
std::string ForMake(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '$') out += '$';
    if (c == '#') out += '\\';
    out += c;
  }
  return out;
}

std::string EmitMake(const std::vector<Job>& jobs, const EmitOptions& options) {
  std::string out = fmt::format(
      "# {} jobs of a comparison, for GNU make. Run them with: make -f THIS-FILE -j 2\n"
      "# -j: how many run side by side, each with {} threads. A job that is done ends at once, so make can be run "
      "again.\n"
      "# Timings wait until nothing else of this comparison runs on the machine.\n\n"
      "COMMAND := cd {} && {}\n\n"
      ".PHONY: all",
      jobs.size(), options.threads, ForMake(QuoteForShell(options.folder)), ForMake(ShellWords(options.command)));
  for (const Job& job : jobs) out += " " + job.id;
  out += "\nall:";
  for (const Job& job : jobs) out += " " + job.id;
  out += "\n";
  for (const Job& job : jobs) {
    out += fmt::format("\n# {}\n{}:", ForMake(job.name), job.id);
    for (const std::size_t needed : job.after) out += " " + jobs[needed].id;
    out += fmt::format("\n\t@$(COMMAND) --job {}\n", job.id);
  }
  return out;
}

// Jobs of one kind and model that need the same others: one array of Slurm. So a model that fails stops no other.
struct JobArray {
  JobKind kind = JobKind::kQuality;
  std::vector<std::size_t> after;  // arrays
  std::vector<std::size_t> jobs;
};

// Slurm's usual limit is 1001.
constexpr std::size_t kLargestArray = 1000;

std::vector<JobArray> ArraysOf(const std::vector<Job>& jobs) {
  std::vector<JobArray> arrays;
  std::vector<std::size_t> array_of(jobs.size());
  std::map<std::tuple<JobKind, std::size_t, std::set<std::size_t>>, std::size_t> last;  // by kind, model, needs
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    std::set<std::size_t> after;
    for (const std::size_t needed : jobs[i].after) after.insert(array_of[needed]);
    const auto [found, is_new] = last.try_emplace({jobs[i].kind, jobs[i].model, after}, arrays.size());
    if (!is_new && arrays[found->second].jobs.size() == kLargestArray) found->second = arrays.size();
    if (found->second == arrays.size()) arrays.push_back({jobs[i].kind, {after.begin(), after.end()}, {}});
    arrays[found->second].jobs.push_back(i);
    array_of[i] = found->second;
  }
  return arrays;
}

// A job may run on a slower machine than the one that estimated.
std::string TimeLimit(double seconds) {
  constexpr double kMargin = 3;
  constexpr double kStartMinutes = 10;
  const auto minutes = static_cast<long>(std::ceil(seconds * kMargin / 60 + kStartMinutes));
  return fmt::format("{}:{:02}:00", minutes / 60, minutes % 60);
}

std::uint64_t MemoryMegabytes(std::uint64_t bytes) {
  constexpr std::uint64_t kWithoutModel = 512;
  return bytes / 1'000'000 * 5 / 4 + kWithoutModel;
}

std::string EmitSlurm(const std::vector<Job>& jobs, const EmitOptions& options) {
  std::string out =
      fmt::format(R"sh(#!/bin/bash
# {} jobs of a comparison, for Slurm. Submit them with: bash THIS-FILE [options for sbatch, such as --partition=cpu]
# A job that is done ends at once, so this file can be submitted again after a failure. Nodes share the folders of the
# results and of the work. Memory and time come from estimates; time has a margin of three.
set -euo pipefail
cd {}
command=({})
logs=${{LOGS:-$PWD/slurm-logs}}
mkdir -p "$logs"
extra=("$@")

# submit NAME TIME MEMORY_MB AFTER OPTIONS ID...: one array, a task per job. Prints its number.
submit() {{
  local name=$1 time=$2 memory=$3 after=$4 options=$5
  shift 5
  # shellcheck disable=SC2086  # options are words
  sbatch --parsable --job-name="$name" --array="0-$(($# - 1))" --ntasks=1 --cpus-per-task={} --time="$time" \
    --mem="${{memory}}M" --requeue --open-mode=append --output="$logs/%x-%A_%a.log" \
    ${{after:+--dependency=afterok$after --kill-on-invalid-dep=yes}} $options "${{extra[@]}}" <<EOF
#!/bin/bash
ids=($*)
exec $(printf '%q ' "${{command[@]}}") --job "\${{ids[SLURM_ARRAY_TASK_ID]}}"
EOF
}}
)sh",
                  jobs.size(), QuoteForShell(options.folder), ShellWords(options.command), options.threads);
  const std::vector<JobArray> arrays = ArraysOf(jobs);
  for (std::size_t a = 0; a < arrays.size(); ++a) {
    const JobArray& array = arrays[a];
    double seconds = 0;
    std::uint64_t memory = 0;
    std::string ids;
    out += "\n";
    for (const std::size_t i : array.jobs) {
      seconds = std::max(seconds, jobs[i].seconds);
      memory = std::max(memory, jobs[i].memory_bytes);
      ids += " " + jobs[i].id;
      out += fmt::format("# {}  {}\n", jobs[i].id, jobs[i].name);
    }
    std::string after;
    for (const std::size_t needed : array.after) after += fmt::format(":$array{}", needed);
    const std::string submit =
        fmt::format("submit {} {} {} \"{}\" \"{}\"{}", NameOf(array.kind), TimeLimit(seconds), MemoryMegabytes(memory),
                    after, array.kind == JobKind::kSpeed ? "--exclusive" : "", ids);
    const bool needed =
        std::ranges::any_of(arrays, [&](const JobArray& x) { return std::ranges::count(x.after, a) > 0; });
    out += needed ? fmt::format("array{}=$({})\n", a, submit) : submit + " >/dev/null\n";
  }
  return out + "\necho \"submitted; squeue --me shows the jobs, $logs has their output\"\n";
}

struct Emitter {
  const char* name;
  std::string (*emit)(const std::vector<Job>& jobs, const EmitOptions& options);
};
constexpr std::array kEmitters = {Emitter{"slurm", &EmitSlurm}, Emitter{"make", &EmitMake}};

bool IsNamed(const std::string& word, std::string_view option) {
  return word == option || word.starts_with(fmt::format("{}=", option));
}

}  // namespace

std::vector<std::string> EmitterNames() {
  std::vector<std::string> names;
  for (const Emitter& emitter : kEmitters) names.emplace_back(emitter.name);
  return names;
}

std::string EmitJobs(std::string_view name, const std::vector<Job>& jobs, const EmitOptions& options) {
  const auto found =
      std::ranges::find(kEmitters, name, [](const Emitter& emitter) { return std::string_view(emitter.name); });
  MARLIN_CHECK(found != kEmitters.end(), "a known engine");
  return found->emit(jobs, options);
}

std::vector<std::string> JobCommand(std::vector<std::string> words, const std::string& program, const std::string& isa,
                                    const std::string& activations, int threads) {
  std::vector<std::string> command = {program};
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--list-jobs" || words[i] == "--dry-run" || words[i] == "--json") continue;
    if (IsNamed(words[i], "--emit") || IsNamed(words[i], "--shard")) {
      if (words[i].find('=') == std::string::npos) ++i;  // its value is the next word
      continue;
    }
    command.push_back(words[i]);
  }
  const auto add = [&](const char* option, const std::string& value) {
    const bool given = std::ranges::any_of(command, [&](const std::string& word) { return IsNamed(word, option); });
    if (!given) command.insert(command.end(), {option, value});
  };
  if (!isa.empty()) add("--isa", isa);
  add("--activations", activations);
  add("--threads", fmt::format("{}", threads));
  return command;
}

}  // namespace marlin
