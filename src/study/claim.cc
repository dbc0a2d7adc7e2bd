#include "study/claim.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>
#include <thread>

#include "base/file.h"
#include "base/utc.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

constexpr std::size_t kLargestClaim = 4096;
constexpr std::string_view kHalfMade = ".claim-";
constexpr std::string_view kProbe = ".now-";

std::string RandomName(const fs::path& folder, std::string_view prefix) {
  return (folder / fmt::format("{}XXXXXX", prefix)).string();
}

std::string HostName() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "unknown";
}

std::string FirstLine(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// What process numbers belong to. Two machines that have one name differ in it, and two containers of one machine.
std::string ProcessSpace() {
  std::array<char, 256> space{};
  const ssize_t length = ::readlink("/proc/self/ns/pid", space.data(), space.size() - 1);
  std::string boot = FirstLine("/proc/sys/kernel/random/boot_id");
  if (boot.empty()) boot = HostName();
  return boot + " " + (length > 0 ? std::string(space.data(), static_cast<std::size_t>(length)) : "");
}

// When a process started, field 22 of its stat; 0 where the system does not tell. The name before it may hold spaces.
std::uint64_t StartOf(std::int64_t process) {
  constexpr int kFieldsAfterName = 20;
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::stringstream text;
  text << file.rdbuf();
  const std::string all = text.str();
  const std::size_t end = all.rfind(')');
  if (end == std::string::npos) return 0;
  std::istringstream rest(all.substr(end + 1));
  std::string field;
  for (int i = 0; i < kFieldsAfterName; ++i) rest >> field;
  return std::strtoull(field.c_str(), nullptr, 10);
}

ClaimHolder Myself(const std::string& name, std::chrono::seconds expiry) {
  const auto process = static_cast<std::int64_t>(::getpid());
  return {name, HostName(), ProcessSpace(), process, StartOf(process), UtcNow(), expiry.count()};
}

std::string ToJson(const ClaimHolder& x) {
  return nlohmann::ordered_json{{"host", x.host},   {"machine", x.machine}, {"process", x.process},
                                {"start", x.start}, {"since", x.since},     {"expiry", x.expiry}}
      .dump();
}

// A claim that cannot be read has an unknown holder and grows stale by its age alone.
ClaimHolder ReadHolder(const fs::path& path, const std::string& name) {
  ClaimHolder holder{name, "unknown", "", 0, 0, "", 0};
  const auto text = ReadFile(path, kLargestClaim);
  if (!text) return holder;
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  if (!json.is_object()) return holder;
  const auto word = [&](const char* field, std::string& to) {
    if (json.contains(field) && json[field].is_string()) to = json[field].get<std::string>();
  };
  word("host", holder.host);
  word("machine", holder.machine);
  word("since", holder.since);
  if (json.contains("process") && json["process"].is_number_integer()) holder.process = json["process"];
  if (json.contains("expiry") && json["expiry"].is_number_integer()) holder.expiry = json["expiry"];
  if (json.contains("start") && json["start"].is_number_unsigned()) holder.start = json["start"];
  return holder;
}

bool IsDead(const ClaimHolder& holder) {
  if (!holder.is_here() || holder.process <= 0) return false;
  if (::kill(static_cast<pid_t>(holder.process), 0) != 0 && errno == ESRCH) return true;
  const std::uint64_t start = StartOf(holder.process);
  return holder.start != 0 && start != 0 && start != holder.start;  // the number was given to another process
}

std::optional<std::int64_t> ChangedAt(const fs::path& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return std::nullopt;
  return static_cast<std::int64_t>(info.st_mtime);
}

// The time by the clock that stamps the files of this folder.
std::optional<std::int64_t> FolderNow(const fs::path& folder) {
  std::string name = RandomName(folder, kProbe);
  const int fd = ::mkstemp(name.data());
  if (fd < 0) return std::nullopt;
  ::close(fd);
  const auto now = ChangedAt(name);
  ::unlink(name.c_str());
  return now;
}

bool IsStale(const fs::path& path, const ClaimHolder& holder, std::chrono::seconds expiry) {
  if (IsDead(holder)) return true;
  if (holder.is_here() && holder.process > 0) return false;  // it lives
  const auto changed = ChangedAt(path);
  const auto now = FolderNow(path.parent_path());
  return changed && now && *now - *changed > (holder.expiry > 0 ? holder.expiry : expiry.count());
}

struct Highest {
  std::size_t number = 0;  // 0 = none
  fs::path path;
};

// Of every name the claim that counts.
std::map<std::string, Highest> HighestClaims(const fs::path& folder) {
  std::map<std::string, Highest> found;
  std::error_code code;
  for (fs::directory_iterator it(folder, code); !code && it != fs::directory_iterator(); it.increment(code)) {
    const std::string file = it->path().filename().string();
    const std::size_t dot = file.rfind('.');
    if (file.starts_with('.') || dot == std::string::npos) continue;
    std::size_t number = 0;
    const char* const end = file.data() + file.size();
    const auto [rest, error] = std::from_chars(file.data() + dot + 1, end, number);
    if (error != std::errc() || rest != end || number == 0) continue;
    Highest& highest = found[file.substr(0, dot)];
    if (number > highest.number) highest = {number, it->path()};
  }
  return found;
}

Error CannotClaim(const fs::path& path, int code) {
  const bool full = code == ENOSPC || code == EDQUOT;
  return {full ? ErrorCode::kResource : ErrorCode::kInput,
          fmt::format("cannot claim a job: {}: {}", path.string(), std::strerror(code))};
}

// Makes a file at once and whole. False when it is there already, or its folder went.
Result<bool> MakeWhole(const fs::path& path, const std::string& text) {
  std::string temporary = RandomName(path.parent_path(), kHalfMade);
  const int fd = ::mkstemp(temporary.data());
  if (fd < 0 && errno == ENOENT) return false;
  if (fd < 0) return CannotClaim(path, errno);
  int code = 0;
  if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) code = errno == 0 ? ENOSPC : errno;
  if (::close(fd) != 0 && code == 0) code = errno;
  if (code == 0 && ::link(temporary.c_str(), path.c_str()) != 0) code = errno;
  const bool no_links = code == EPERM || code == EOPNOTSUPP || code == ENOSYS;
  if (no_links) {
    // A file system without hard links. A reader may see the file empty for a moment, and then waits for its expiry.
    const int made = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    code = made < 0 ? errno : 0;
    if (made >= 0) {
      if (::write(made, text.data(), text.size()) != static_cast<ssize_t>(text.size())) code = ENOSPC;
      ::close(made);
    }
  }
  ::unlink(temporary.c_str());
  if (code == EEXIST || code == ENOENT) return false;
  if (code != 0) return CannotClaim(path, code);
  return true;
}

}  // namespace

bool ClaimHolder::is_here() const { return machine == ProcessSpace(); }

bool ClaimHolder::is_own() const { return is_here() && process == static_cast<std::int64_t>(::getpid()); }

// A claim that is held. A thread touches it until it is released.
struct Claim::State {
  State(fs::path file, std::size_t number, std::chrono::seconds expiry)
      : path(std::move(file)), stale(number), toucher([this, expiry] { Touch(expiry); }) {}

  void Touch(std::chrono::seconds expiry) {
    constexpr int kTouchesPerExpiry = 10;
    const std::chrono::milliseconds pause = std::chrono::milliseconds(expiry) / kTouchesPerExpiry;
    std::unique_lock lock(mutex);
    while (!ended.wait_for(lock, pause, [this] { return end; })) ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
  }

  // Stale claims go first: as long as one is left, nobody counts from 1 again.
  void Remove() {
    for (std::size_t number = 1; number <= stale; ++number) {
      ::unlink(fs::path(path).replace_extension(fmt::format("{}", number)).c_str());
    }
    ::unlink(path.c_str());
  }

  fs::path path;
  std::size_t stale;  // the highest number below its own
  std::mutex mutex;
  std::condition_variable ended;
  bool end = false;
  std::thread toucher;
};

void Claim::Ender::operator()(State* state) const {
  {
    const std::lock_guard lock(state->mutex);
    state->end = true;
  }
  state->ended.notify_all();
  state->toucher.join();
  state->Remove();
  delete state;
}

Result<Claim> Claim::Take(const fs::path& folder, const std::string& name, std::chrono::seconds expiry) {
  Claim claim;
  for (;;) {
    std::error_code error;  // another process may remove the folder when its work is done
    fs::create_directories(folder, error);
    if (error) return Error{ErrorCode::kInput, fmt::format("cannot create {}: {}", folder.string(), error.message())};
    const auto claims = HighestClaims(folder);
    const auto found = claims.find(name);
    const Highest last = found == claims.end() ? Highest() : found->second;
    if (last.number > 0) {
      claim.holder_ = ReadHolder(last.path, name);
      if (!IsStale(last.path, claim.holder_, expiry)) return claim;
    }
    const fs::path path = folder / fmt::format("{}.{}", name, last.number + 1);
    claim.holder_ = Myself(name, expiry);
    const auto made = MakeWhole(path, ToJson(claim.holder_));
    if (!made) return made.error();
    if (!*made) continue;  // another process was faster
    claim.state_.reset(new State(path, last.number, expiry));
    return claim;
  }
}

std::vector<ClaimHolder> ListClaims(const fs::path& folder, std::chrono::seconds expiry) {
  std::vector<ClaimHolder> holders;
  for (const auto& [name, claim] : HighestClaims(folder)) {
    ClaimHolder holder = ReadHolder(claim.path, name);
    if (!IsStale(claim.path, holder, expiry)) holders.push_back(std::move(holder));
  }
  return holders;
}

void SweepClaims(const fs::path& folder, std::chrono::seconds expiry) {
  std::error_code code;
  const auto now = fs::exists(folder, code) ? FolderNow(folder) : std::nullopt;
  if (!now) return;
  for (fs::directory_iterator it(folder, code); !code && it != fs::directory_iterator(); it.increment(code)) {
    const std::string file = it->path().filename().string();
    if (!file.starts_with(kHalfMade) && !file.starts_with(kProbe)) continue;
    const auto changed = ChangedAt(it->path());
    if (changed && *now - *changed > expiry.count()) ::unlink(it->path().c_str());
  }
  // Whoever takes a claim over removes what was stale when it is released.
  for (const auto& [name, claim] : HighestClaims(folder)) (void)Claim::Take(folder, name, expiry);
  fs::remove(folder, code);
}

std::string Describe(const ClaimHolder& holder) {
  if (holder.since.empty()) return "someone unknown";
  return fmt::format("host {}, process {}, since {}", holder.host, holder.process, holder.since);
}

}  // namespace marlin
