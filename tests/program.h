// Runs the program as a user would and keeps what it said.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace marlin {

struct RunOptions {
  std::map<std::string, std::string> environment{};  // added to the test's own; an empty value removes the variable
  std::filesystem::path folder{};                    // to run in; empty = here
  std::optional<std::size_t> file_size_limit{};      // RLIMIT_FSIZE
  std::optional<std::size_t> memory_limit{};         // RLIMIT_AS
  std::optional<double> signal_after_seconds{};      // then `signal` is sent
  int signal = 9;
  std::string stdout_file{};  // instead of being kept
  bool close_stdout = false;  // as by `>&-`
};

struct RunResult {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  std::string out, err;
};

RunResult RunProgram(const std::vector<std::string>& arguments, const RunOptions& options = {});

// The model of the repository.
inline const std::string kMinnow = MARLIN_SOURCE_DIR "/models/minnow";

// A fresh folder under the test's temporary folder, removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace marlin
