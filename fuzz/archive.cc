// A zip archive that a server sent, of which one file is wanted.
#include "hub/archive.h"

#include "fuzz/files.h"
#include "fuzz/target_list.h"

namespace marlin {

Status FuzzArchive(FuzzInput input) {
  namespace fs = std::filesystem;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 20;
  static const FuzzFolder folder;
  const fs::path target = folder.path() / "text";
  fs::remove(target);
  const Status status = ExtractMember(FuzzFile(input), "wiki.test.raw", target, kMost);
  MARLIN_CHECK(
      status.ok() || status.error().code == ErrorCode::kInput || status.error().code == ErrorCode::kUnsupported,
      "the archive is to blame");
  MARLIN_CHECK(fs::exists(target) == status.ok(), "the target appears when all is well, and only then");
  MARLIN_CHECK(folder.files() == (status.ok() ? 1u : 0u), "nothing else is left behind");
  MARLIN_CHECK(!status.ok() || fs::file_size(target) <= kMost, "no more than was allowed");
  return status;
}

}  // namespace marlin
