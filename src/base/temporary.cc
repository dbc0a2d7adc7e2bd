#include "base/temporary.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace marlin {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kMark = ".tmp-";
constexpr std::size_t kRandomLetters = 6;
constexpr std::string_view kSetAside = "-old";
constexpr std::size_t kLongestName = 200;  // of the target's: with the mark it stays below the usual limit of 255

// ".NAME.tmp-"
std::string Prefix(const fs::path& target) {
  return "." + target.filename().string().substr(0, kLongestName) + std::string(kMark);
}

fs::path FolderOf(const fs::path& target) { return target.has_parent_path() ? target.parent_path() : fs::path("."); }

// ".NAME.tmp-XXXXXX", also with "-old"; an empty prefix stands for every name.
bool IsTemporaryName(std::string_view name, std::string_view prefix) {
  if (name.ends_with(kSetAside)) name.remove_suffix(kSetAside.size());
  if (!name.starts_with('.') || name.size() < kMark.size() + kRandomLetters + 1) return false;
  const std::string_view letters = name.substr(name.size() - kRandomLetters);
  const std::string_view head = name.substr(0, name.size() - kRandomLetters);
  const auto is_letter = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  };
  return head.ends_with(kMark) && (prefix.empty() || head == prefix) && std::ranges::all_of(letters, is_letter);
}

// What was set aside for a folder that never came goes back to its place; everything else goes.
void RemoveOne(const fs::path& path) {
  std::error_code ignored;
  const std::string name = path.filename().string();
  if (name.ends_with(kSetAside)) {
    const fs::path target = path.parent_path() / name.substr(1, name.rfind(kMark) - 1);
    if (::access(target.c_str(), F_OK) != 0 && ::rename(path.c_str(), target.c_str()) == 0) return;
  }
  fs::remove_all(path, ignored);
}

void RemoveUnheld(const fs::path& folder, std::string_view prefix) {
  std::error_code code;
  std::vector<fs::path> found;
  for (fs::directory_iterator entry(folder, code); !code && entry != fs::directory_iterator(); entry.increment(code)) {
    if (IsTemporaryName(entry->path().filename().string(), prefix)) found.push_back(entry->path());
  }
  std::sort(found.begin(), found.end());
  for (const fs::path& path : found) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0) continue;
    struct stat info {};
    const bool ours = ::fstat(fd, &info) == 0 && (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode));
    if (ours && TryLock(fd, path) == LockState::kHeld) RemoveOne(path);
    ::close(fd);
  }
}

// Makes one by `make`, which fills in the random letters, until it is ours: between its making and its lock another
// program may take it for a leftover.
template <class Make>
Temporary MakeLocked(const fs::path& target, int& code, Make make) {
  constexpr int kTries = 100;
  const fs::path folder = FolderOf(target);
  RemoveUnheld(folder, Prefix(target));
  const std::string pattern = (target.parent_path() / (Prefix(target) + std::string(kRandomLetters, 'X'))).string();
  for (int i = 0; i < kTries; ++i) {
    std::vector<char> name(pattern.c_str(), pattern.c_str() + pattern.size() + 1);
    const int fd = make(name.data());
    code = errno;
    if (fd < 0) return {};
    const fs::path path = name.data();
    const LockState state = TryLock(fd, path);
    if (state == LockState::kHeld || state == LockState::kNoLocking) return {fd, path};
    ::close(fd);
  }
  code = EAGAIN;
  return {};
}

}  // namespace

LockState TryLock(int fd, const fs::path& path) {
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK ? LockState::kBusy : LockState::kNoLocking;
  struct stat opened {};
  struct stat named {};
  const bool same = ::fstat(fd, &opened) == 0 && ::stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
                    opened.st_dev == named.st_dev;
  return same ? LockState::kHeld : LockState::kGone;
}

Temporary MakeTemporaryFile(const fs::path& target, int& code) {
  return MakeLocked(target, code, [](char* name) { return ::mkostemp(name, O_CLOEXEC); });
}

Temporary MakeTemporaryFolder(const fs::path& target, int& code) {
  return MakeLocked(target, code, [](char* name) {
    if (::mkdtemp(name) == nullptr) return -1;
    return ::open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  });
}

fs::path SetAsideName(const fs::path& temporary) { return temporary.string() + std::string(kSetAside); }

void RemoveLeftovers(const fs::path& folder) { RemoveUnheld(folder, ""); }

}  // namespace marlin
