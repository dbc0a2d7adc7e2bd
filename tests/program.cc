#include "tests/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/file.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

void RedirectTo(const fs::path& path, int target) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) ::_exit(126);
  ::dup2(fd, target);
  ::close(fd);
}

[[noreturn]] void BecomeProgram(const std::vector<std::string>& arguments, const RunOptions& options,
                                const fs::path& out, const fs::path& err) {
  for (const auto& [name, value] : options.environment) {
    if (value.empty()) {
      ::unsetenv(name.c_str());
    } else {
      ::setenv(name.c_str(), value.c_str(), 1);
    }
  }
  RedirectTo(out, STDOUT_FILENO);
  RedirectTo(err, STDERR_FILENO);
  if (!options.folder.empty() && ::chdir(options.folder.c_str()) != 0) ::_exit(126);
  if (options.file_size_limit) {
    const rlimit limit{*options.file_size_limit, *options.file_size_limit};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  if (options.memory_limit) {
    const rlimit limit{*options.memory_limit, *options.memory_limit};
    ::setrlimit(RLIMIT_AS, &limit);
  }
  if (options.close_stdout) ::close(STDOUT_FILENO);
  std::vector<char*> argv;
  std::string program = MARLIN_PROGRAM;
  argv.push_back(program.data());
  std::vector<std::string> words = arguments;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  ::_exit(127);
}

// A child that is killed at once has no file yet.
std::string Said(const fs::path& path) {
  auto text = ReadFile(path);
  return text ? std::move(*text) : "";
}

int WaitFor(pid_t child, const RunOptions& options) {
  int status = 0;
  if (options.signal_after_seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(*options.signal_after_seconds);
    while (std::chrono::steady_clock::now() < end) {
      if (::waitpid(child, &status, WNOHANG) == child) return status;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ::kill(child, options.signal);
  }
  ::waitpid(child, &status, 0);
  return status;
}

}  // namespace

RunResult RunProgram(const std::vector<std::string>& arguments, const RunOptions& options) {
  const TemporaryFolder folder;
  const fs::path out = options.stdout_file.empty() ? folder / "out" : fs::path(options.stdout_file);
  const fs::path err = folder / "err";
  const pid_t child = ::fork();
  if (child == 0) BecomeProgram(arguments, options, out, err);
  const int status = WaitFor(child, options);
  RunResult result;
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  if (options.stdout_file.empty()) result.out = Said(out);
  result.err = Said(err);
  return result;
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (fs::path(testing::TempDir()) / "marlin-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace marlin
