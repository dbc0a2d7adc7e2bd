// The cache of the Hugging Face Hub on disk, which other programs read and write too:
//   models--ORG--MODEL/blobs/HASH                    contents, named by their hash
//   models--ORG--MODEL/snapshots/COMMIT/NAME         relative links to blobs
//   models--ORG--MODEL/refs/REVISION                 the commit of a branch or tag
//   .locks/models--ORG--MODEL/HASH.lock              held by the program that downloads a blob
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "hub/hub_api.h"
#include "hub/hub_name.h"
#include "hub/model_files.h"

namespace marlin {

// One repository in the cache. Names, hashes and commits are checked ones.
class CachedRepository {
 public:
  CachedRepository(std::filesystem::path cache, const std::string& repository);

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path Blob(const std::string& hash) const { return folder_ / "blobs" / hash; }
  std::filesystem::path Snapshot(const std::string& commit) const { return folder_ / "snapshots" / commit; }

  // The commit that the revision had when it was last downloaded; a commit is its own. Errors: kInput (not there, or
  // the file of the ref holds something else).
  Result<std::string> CommitOf(const std::string& revision) const;
  // Errors: as WriteFileAtomic.
  Status WriteRef(const std::string& revision, const std::string& commit) const;

  // Whether the file's contents are there in full, as a blob or in the snapshot. Looks at sizes only.
  bool Holds(const RepoFile& file, const std::string& commit) const;
  // Makes the file visible in the snapshot. Errors: kInput (cannot be written).
  Status Link(const RepoFile& file, const std::string& commit) const;
  // The files that the snapshot shows, by name. Links that lead nowhere are left out.
  std::vector<RepoFile> List(const std::string& commit) const;

 private:
  friend class BlobLock;
  std::filesystem::path cache_;
  std::filesystem::path folder_;
};

// While it lives, no other program downloads this blob.
class BlobLock {
 public:
  // Waits for another program; `say` is told so once. Errors: kInput (cannot be written), kInterrupted while waiting.
  static Result<BlobLock> Take(const CachedRepository& repository, const RepoFile& file,
                               const std::function<void(const std::string&)>& say);
  BlobLock(BlobLock&& other) noexcept;
  BlobLock& operator=(BlobLock&& other) noexcept;
  BlobLock(const BlobLock&) = delete;
  BlobLock& operator=(const BlobLock&) = delete;
  ~BlobLock();

 private:
  explicit BlobLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

// Errors: kCorrupt when the bytes of the file at `path` do not have the hash (git's SHA-1 of a blob, or SHA-256, told
// by its length); kInput (unreadable), kInterrupted. `name` is what progress and errors call it.
Status CheckHash(const std::filesystem::path& path, const std::string& hash, const std::string& name,
                 const ProgressFn& progress);

// A model in the cache, ready to be opened.
struct CachedModel {
  std::filesystem::path snapshot;  // folder
  std::string commit;
  ModelFiles files;

  // What to open: the folder, or the GGUF file in it.
  std::filesystem::path path() const { return files.gguf.empty() ? snapshot : snapshot / files.gguf; }
};

// Asks no network. Errors: kInput (not in the cache, or not all of it: says how to download it), kUsage (a choice among
// GGUF files is missing or fits none).
Result<CachedModel> FindCachedModel(const std::filesystem::path& cache, const HubName& name);

// Checks every file of a cached model whose name in the cache is its hash. Returns how many there were. Errors: as
// CheckHash.
Result<std::size_t> CheckCachedModel(const CachedModel& model, const ProgressFn& progress);

}  // namespace marlin
