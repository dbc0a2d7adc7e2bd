#include "hub/hub_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

#include "base/file.h"
#include "base/mapped_file.h"
#include "base/open_file.h"
#include "base/sha256.h"
#include "base/temporary.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMostCachedFiles = 100'000;

std::string FolderOfRepository(const std::string& repository) {
  std::string name = "models--" + repository;
  name.replace(name.find('/'), 1, "--");
  return name;
}

Error CannotWrite(const fs::path& path, const std::error_code& code) {
  return {ErrorCode::kInput, fmt::format("cannot write {}: {}; change its permissions or choose another cache with "
                                         "HF_HUB_CACHE",
                                         path.string(), code.message())};
}

bool HasSize(const fs::path& path, std::uint64_t size) {
  std::error_code code;
  return fs::is_regular_file(path, code) && fs::file_size(path, code) == size && !code;
}

// "../" for every folder between the snapshots' folder and the file.
fs::path WayToBlob(const RepoFile& file) {
  fs::path way = "../..";
  for (const char c : file.name) {
    if (c == '/') way /= "..";
  }
  return way / "blobs" / file.hash;
}

std::string PullCommand(const HubName& name) { return "`metal-marlin pull " + name.Text() + "`"; }

}  // namespace

CachedRepository::CachedRepository(fs::path cache, const std::string& repository)
    : cache_(std::move(cache)), folder_(cache_ / FolderOfRepository(repository)) {}

Result<std::string> CachedRepository::CommitOf(const std::string& revision) const {
  if (IsCommit(revision)) return revision;
  const fs::path path = folder_ / "refs" / revision;
  auto text = ReadFile(path, 1 << 12);
  if (!text) return text.error();
  while (!text->empty() && (text->back() == '\n' || text->back() == '\r')) text->pop_back();
  if (IsCommit(*text)) return text;
  return Error{ErrorCode::kInput,
               fmt::format("{} holds {}, want a commit of 40 digits", path.string(), QuoteForeign(*text))};
}

Status CachedRepository::WriteRef(const std::string& revision, const std::string& commit) const {
  const fs::path path = folder_ / "refs" / revision;
  if (const auto known = ReadFile(path, 1 << 12); known && *known == commit) return {};
  std::error_code code;
  fs::create_directories(path.parent_path(), code);
  if (code) return CannotWrite(path.parent_path(), code);
  return WriteFileAtomic(path, commit);
}

bool CachedRepository::Holds(const RepoFile& file, const std::string& commit) const {
  return HasSize(Blob(file.hash), file.size) || HasSize(Snapshot(commit) / file.name, file.size);
}

Status CachedRepository::Link(const RepoFile& file, const std::string& commit) const {
  const fs::path path = Snapshot(commit) / file.name;
  const fs::path target = WayToBlob(file);
  std::error_code code;
  if (fs::read_symlink(path, code) == target || (HasSize(path, file.size) && !HasSize(Blob(file.hash), file.size))) {
    return {};
  }
  fs::create_directories(path.parent_path(), code);
  if (code) return CannotWrite(path.parent_path(), code);
  // Made under another name and renamed: other programs never see it missing.
  const fs::path made = path.string() + fmt::format(".{}.tmp", ::getpid());
  std::error_code ignored;
  fs::remove(made, ignored);
  fs::create_symlink(target, made, code);
  if (!code) fs::rename(made, path, code);
  if (!code) return {};
  fs::remove(made, ignored);
  return CannotWrite(path, code);
}

std::vector<RepoFile> CachedRepository::List(const std::string& commit) const {
  const fs::path snapshot = Snapshot(commit);
  std::vector<RepoFile> files;
  std::error_code code;
  for (fs::recursive_directory_iterator it(snapshot, code);
       !code && it != fs::recursive_directory_iterator() && files.size() < kMostCachedFiles; it.increment(code)) {
    std::error_code ignored;
    if (!it->is_regular_file(ignored)) continue;
    RepoFile file;
    file.name = it->path().lexically_relative(snapshot).generic_string();
    file.size = it->file_size(ignored);
    const std::string blob = fs::read_symlink(it->path(), ignored).filename().string();
    const bool is_hash = blob.size() == 40 || blob.size() == 64;
    if (is_hash && blob.find_first_not_of("0123456789abcdef") == std::string::npos) file.hash = blob;
    if (CheckFileName(file.name)) files.push_back(std::move(file));
  }
  std::ranges::sort(files, {}, &RepoFile::name);
  return files;
}

Result<BlobLock> BlobLock::Take(const CachedRepository& repository, const RepoFile& file,
                                const std::function<void(const std::string&)>& say) {
  const fs::path path = repository.cache_ / ".locks" / repository.folder_.filename() / (file.hash + ".lock");
  std::error_code code;
  fs::create_directories(path.parent_path(), code);
  if (code) return CannotWrite(path.parent_path(), code);
  for (bool said = false;;) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return CannotWrite(path, std::error_code(errno, std::generic_category()));
    BlobLock lock(fd);
    const LockState state = TryLock(fd, path);
    // Without locks on this file system the partial file's own lock fails too, and says so.
    if (state == LockState::kHeld || state == LockState::kNoLocking) return lock;
    if (state == LockState::kBusy && !std::exchange(said, true) && say) {
      say(fmt::format("another process is downloading {}; waiting for it", file.name));
    }
    if (Interrupted()) {
      return Error{ErrorCode::kInterrupted, fmt::format("interrupted while another process downloads {}", file.name)};
    }
    if (state == LockState::kBusy) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

BlobLock::BlobLock(BlobLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
BlobLock& BlobLock::operator=(BlobLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
BlobLock::~BlobLock() {
  if (fd_ >= 0) ::close(fd_);
}

Status CheckHash(const fs::path& path, const std::string& hash, const std::string& name, const ProgressFn& progress) {
  constexpr std::size_t kPiece = std::size_t{1} << 23;
  const auto file = MappedFile::Open(path);
  if (!file) return file.error();
  const std::span<const std::uint8_t> bytes = file->bytes();
  const bool git = hash.size() == 40;
  Digest digest(git ? Digest::Kind::kSha1 : Digest::Kind::kSha256);
  if (git) digest.Update(std::string_view(fmt::format("blob {}", bytes.size()) + '\0'));
  for (std::size_t begin = 0; begin < bytes.size(); begin += kPiece) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, fmt::format("interrupted while checking {}", name)};
    const auto piece = bytes.subspan(begin, std::min(kPiece, bytes.size() - begin));
    digest.Update(piece);
    // Files of one piece take no time.
    if (progress && bytes.size() > kPiece) progress({"check " + name, begin + piece.size(), bytes.size(), "bytes", ""});
  }
  const std::string got = digest.HexDigest();
  if (got == hash) return {};
  return Error{ErrorCode::kCorrupt,
               fmt::format("{} ({} bytes) has the hash {}, want {}", name, bytes.size(), got, hash)};
}

Result<CachedModel> FindCachedModel(const fs::path& cache, const HubName& name) {
  const CachedRepository repository(cache, name.repository);
  const std::string revision = name.RevisionOrMain();
  const auto commit = repository.CommitOf(revision);
  std::error_code code;
  if (!commit || !fs::is_directory(repository.Snapshot(*commit), code)) {
    return Error{ErrorCode::kInput, fmt::format("{} is not in the Hugging Face cache {}; {} downloads it", name.Text(),
                                                cache.string(), PullCommand(name))};
  }
  const fs::path snapshot = repository.Snapshot(*commit);
  const ReadIndex read = [&](const RepoFile& file) { return ReadFile(snapshot / file.name, kMaxShardIndex); };
  auto files = ChooseModelFiles(name, repository.List(*commit), read);
  if (files) return CachedModel{snapshot, *commit, std::move(*files)};
  if (files.error().code == ErrorCode::kUsage) return files.error();
  return Error{ErrorCode::kInput,
               fmt::format("{} is in the Hugging Face cache, but not all of it ({}): {}; {} downloads "
                           "the rest",
                           name.Text(), snapshot.string(), files.error().message, PullCommand(name))};
}

Result<std::size_t> CheckCachedModel(const CachedModel& model, const ProgressFn& progress) {
  std::size_t checked = 0;
  for (const RepoFile& file : model.files.files) {
    if (file.hash.empty()) continue;
    std::error_code code;
    const fs::path blob = fs::canonical(model.snapshot / file.name, code);
    if (auto status = CheckHash(blob, file.hash, file.name, progress); !status) {
      if (status.error().code != ErrorCode::kCorrupt) return status.error();
      return Error{ErrorCode::kCorrupt,
                   fmt::format("{}; delete {} and pull the model again", status.error().message, blob.string())};
    }
    ++checked;
  }
  return checked;
}

}  // namespace marlin
