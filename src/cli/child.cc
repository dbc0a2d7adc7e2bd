#include "cli/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/progress.h"

extern char** environ;  // POSIX

namespace marlin {
namespace {

struct Pipe {
  int read = -1;
  int write = -1;
  ~Pipe() {
    for (const int fd : {read, write}) {
      if (fd >= 0) ::close(fd);
    }
  }
};

bool Open(Pipe& pipe) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
  pipe.read = ends[0];
  pipe.write = ends[1];
  return true;
}

// Until the child closes its end. One stream after the other is safe: stderr of a quiet command is one line. An
// interrupt of this program ends the child too.
std::string Drain(int fd, pid_t child) {
  std::string text;
  std::array<char, 4096> chunk{};
  for (;;) {
    const ssize_t n = ::read(fd, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) {
      if (Interrupted()) ::kill(child, SIGTERM);
      continue;
    }
    if (n <= 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(n));
  }
}

Error ChildError(int status, std::string words) {
  while (!words.empty() && words.back() == '\n') words.pop_back();
  constexpr std::string_view kPrefix = "metal-marlin: ";
  if (words.starts_with(kPrefix)) words.erase(0, kPrefix.size());
  if (Interrupted()) return {ErrorCode::kInterrupted, "interrupted"};
  if (WIFSIGNALED(status)) {
    return {ErrorCode::kFailure, fmt::format("a measuring process was ended by signal {}", WTERMSIG(status))};
  }
  return {static_cast<ErrorCode>(WEXITSTATUS(status)), "a measuring process failed: " + words};
}

}  // namespace

Result<std::filesystem::path> OwnFile() {
  std::error_code code;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", code);
  if (code) return Error{ErrorCode::kFailure, "cannot find this program's own file: " + code.message()};
  return self;
}

Result<std::string> RunSelf(const std::vector<std::string>& arguments) {
  const auto self = OwnFile();
  if (!self) return self.error();
  Pipe out;
  Pipe err;
  if (!Open(out) || !Open(err)) {
    return Error{ErrorCode::kFailure, fmt::format("cannot make a pipe: {}", std::strerror(errno))};
  }
  std::vector<std::string> words = {self->string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.write, STDERR_FILENO);
  pid_t child = 0;
  const int failed = ::posix_spawn(&child, self->c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    return Error{ErrorCode::kFailure, fmt::format("cannot start {}: {}", self->string(), std::strerror(failed))};
  }
  ::close(std::exchange(out.write, -1));
  ::close(std::exchange(err.write, -1));
  std::string text = Drain(out.read, child);
  std::string words_of_error = Drain(err.read, child);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return ChildError(status, std::move(words_of_error));
  return text;
}

}  // namespace marlin
