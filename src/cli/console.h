// Output of the program: data on stdout, everything else on stderr.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/progress.h"
#include "base/result.h"

namespace marlin {

enum class Verbosity { kQuiet, kNormal, kVerbose };

class Console {
 public:
  Console(Verbosity verbosity, bool json);

  // For people: stdout, or nowhere with --json or -q.
  void Say(std::string_view text);
  // Details, with -v only: stderr.
  void Detail(std::string_view text);
  // Always: stderr.
  void Warn(std::string_view text);
  void Fail(const Error& error);
  // The data of a command, with --json: one document on stdout.
  void Data(const nlohmann::json& document);
  // The data of a command, without --json: stdout even with -q.
  void Result(std::string_view text);

  // As Result, without ending the line.
  void Raw(std::string_view text);
  // Called at the end. Errors if output to stdout was lost: kResource (disk full), kFailure (closed), kInterrupted.
  Status Finish();

  bool json() const { return json_; }
  bool verbose() const { return verbosity_ == Verbosity::kVerbose; }

  // Draws progress on stderr: a bar with rate and time left on a terminal, a line every ten seconds otherwise.
  ProgressFn progress();
  // Ends the bar, if one is drawn.
  void EndProgress();

 private:
  using Clock = std::chrono::steady_clock;
  void Draw(const Progress& progress);
  std::string Describe(const Progress& progress) const;

  Verbosity verbosity_;
  bool json_;
  bool terminal_;
  bool bar_open_ = false;
  std::string stage_;
  std::uint64_t stage_first_ = 0;
  Clock::time_point stage_start_;
  Clock::time_point last_draw_;
};

// "1 window", "5 windows"
std::string CountText(std::uint64_t count, std::string_view noun);
// "1.5 GB", "12.3 MB", "840 bytes": powers of ten.
std::string FormatBytes(double bytes);
// "2 h 05 min", "3 min 10 s", "12 s"
std::string FormatDuration(double seconds);

}  // namespace marlin
