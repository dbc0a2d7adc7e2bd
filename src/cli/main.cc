// metal-marlin: the program. Parses the command line, runs one command, converts its Status to the exit code.

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <exception>
#include <filesystem>
#include <new>
#include <system_error>

#include "base/json_error.h"
#include "base/progress.h"
#include "cli/program_info.h"
#include "cli/verb.h"

namespace marlin {
namespace {

constexpr std::array kEndingSignals = {SIGINT, SIGTERM, SIGHUP};
volatile std::sig_atomic_t g_ignores_hangup = 0;

void SetHandler(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = 0;  // without SA_RESTART a call that waits returns, so that the work sees the interrupt
  ::sigaction(signal, &action, nullptr);
}

// The first signal asks the work to stop at its next safe point. The second one, of any of these kinds, ends the
// program.
void OnInterrupt(int) {
  g_interrupted.store(true);
  for (const int signal : kEndingSignals) {
    if (signal != SIGHUP || g_ignores_hangup == 0) SetHandler(signal, SIG_DFL);
  }
}

void PrepareSignals() {
  struct sigaction hangup {};
  ::sigaction(SIGHUP, nullptr, &hangup);
  g_ignores_hangup = hangup.sa_handler == SIG_IGN ? 1 : 0;  // nohup: a closed terminal ends nothing
  for (const int signal : kEndingSignals) {
    if (signal != SIGHUP || g_ignores_hangup == 0) SetHandler(signal, OnInterrupt);
  }
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit shows as an error of write, which names the file
}

// A program may be started with closed streams (`>&-`). The next file that it opens would then be its standard output,
// and what it prints would land in that file.
void OpenClosedStreams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) >= 0) continue;
    // Standard output stays one that cannot be written, so that lost data is still an error.
    const int fd = ::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY);
    if (fd >= 0 && fd != stream) ::close(fd);
  }
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

int RunProgram(const std::vector<std::string>& words, Console& plain) {
  CommandLine line(
      "Quantizes language models and measures what that costs in quality, size and speed, on your model and your "
      "machine.",
      VersionText(),
      "Start with:  metal-marlin inspect MODEL\nExit codes: 0 ok, 1 failure, 2 usage, 3 input missing or invalid, "
      "4 not enough memory or disk,\n5 unsupported, 6 threshold failed, 7 corrupt, 8 numerical failure, 130 "
      "interrupted");
  RegisterPull(line.root());
  RegisterInspect(line.root());
  RegisterCalibrate(line.root());
  RegisterPlan(line.root());
  RegisterQuantize(line.root());
  RegisterExport(line.root());
  RegisterCheckExport(line.root());
  RegisterVerify(line.root());
  RegisterGenerate(line.root());
  RegisterEval(line.root());
  RegisterBench(line.root());
  RegisterReport(line.root());
  RegisterRecommend(line.root());
  RegisterCompare(line.root());

  const auto selection = line.Parse(words);
  if (!selection) return Finish(selection.error(), plain);
  if (!selection->run) return 0;
  const CommonOptions& common = selection->common;
  const Verbosity verbosity = common.quiet     ? Verbosity::kQuiet
                              : common.verbose ? Verbosity::kVerbose
                                               : Verbosity::kNormal;
  Console console(verbosity, common.json);
  Invocation invocation{common, console, JoinCommand(words), words};
  Status status = selection->run(invocation);
  if (status.ok()) status = console.Finish();
  return Finish(status, console);
}

// Libraries below report by Result; what they throw nevertheless becomes an error here and nowhere else.
Error ErrorOf(const std::exception& exception) {
  if (dynamic_cast<const std::bad_alloc*>(&exception) != nullptr) return {ErrorCode::kResource, "not enough memory"};
  if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&exception)) {
    return {ErrorCode::kInput, fmt::format("cannot use {}: {}", file->path1().string(), file->code().message())};
  }
  const auto* system = dynamic_cast<const std::system_error*>(&exception);
  if (system != nullptr && system->code() == std::errc::resource_unavailable_try_again) {
    return {ErrorCode::kResource,
            "the system starts no more threads (a limit of processes is reached); ask for fewer with --threads"};
  }
  return {ErrorCode::kFailure,
          fmt::format("the program failed: {}; please report this", WithoutJsonTag(exception.what()))};
}

int Main(int argc, char** argv) {
  OpenClosedStreams();
  PrepareSignals();
  Console plain(Verbosity::kNormal, false);
  try {
    return RunProgram({argv + 1, argv + std::max(argc, 1)}, plain);
  } catch (const std::exception& exception) {
    return Finish(ErrorOf(exception), plain);
  }
}

}  // namespace
}  // namespace marlin

int main(int argc, char** argv) { return marlin::Main(argc, argv); }
