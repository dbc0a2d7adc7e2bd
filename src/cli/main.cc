// metal-marlin: the program. Parses the command line, runs one command, converts its Status to the exit code.

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <new>

#include "base/progress.h"
#include "cli/program_info.h"
#include "cli/verb.h"

namespace marlin {
namespace {

// The first interrupt asks the work to stop at its next safe point. The second one ends the program at once.
void OnInterrupt(int) {
  g_interrupted.store(true);
  std::signal(SIGINT, SIG_DFL);
}

void PrepareSignals() {
  std::signal(SIGINT, OnInterrupt);
  std::signal(SIGTERM, OnInterrupt);
  if (std::signal(SIGHUP, OnInterrupt) == SIG_IGN) std::signal(SIGHUP, SIG_IGN);  // a closed terminal, but for nohup
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit shows as an error of write, which names the file
}

std::string JoinCommand(const std::vector<std::string>& words) {
  std::string command = "metal-marlin";
  for (const std::string& word : words) command += " " + QuoteForShell(word);
  return command;
}

int Finish(const Status& status, Console& console) {
  if (status.ok()) return 0;
  console.Fail(status.error());
  return static_cast<int>(status.error().code);
}

int Main(int argc, char** argv) {
  PrepareSignals();
  CommandLine line(
      "Quantizes language models and measures what that costs in quality, size and speed, on your model and your "
      "machine.",
      VersionText(),
      "Start with:  metal-marlin inspect MODEL\nExit codes: 0 ok, 1 failure, 2 usage, 3 input missing or invalid, "
      "4 not enough memory or disk,\n5 unsupported, 6 threshold failed, 7 corrupt, 8 numerical failure, 130 "
      "interrupted");
  RegisterInspect(line.root());
  RegisterCalibrate(line.root());
  RegisterPlan(line.root());
  RegisterQuantize(line.root());
  RegisterVerify(line.root());
  RegisterGenerate(line.root());
  RegisterEval(line.root());
  RegisterBench(line.root());
  RegisterReport(line.root());
  RegisterCompare(line.root());

  const std::vector<std::string> words(argv + 1, argv + std::max(argc, 1));
  Console plain(Verbosity::kNormal, false);
  const auto selection = line.Parse(words);
  if (!selection) return Finish(selection.error(), plain);
  if (!selection->run) return 0;
  const CommonOptions& common = selection->common;
  const Verbosity verbosity = common.quiet     ? Verbosity::kQuiet
                              : common.verbose ? Verbosity::kVerbose
                                               : Verbosity::kNormal;
  Console console(verbosity, common.json);
  Invocation invocation{common, console, JoinCommand(words)};
  try {
    Status status = selection->run(invocation);
    return Finish(status.ok() ? console.Finish() : status, console);
  } catch (const std::bad_alloc&) {
    return Finish(Error{ErrorCode::kResource, "not enough memory"}, console);
  }
}

}  // namespace
}  // namespace marlin

int main(int argc, char** argv) { return marlin::Main(argc, argv); }
