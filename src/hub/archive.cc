#include "hub/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <memory>
#include <string>

#include "base/file.h"
#include "base/progress.h"

namespace marlin {
namespace {

struct ArchiveDeleter {
  void operator()(struct archive* reader) const { archive_read_free(reader); }
};
using ArchiveReader = std::unique_ptr<struct archive, ArchiveDeleter>;

constexpr std::size_t kReadBytes = 64 << 10;

Error Refuse(const std::filesystem::path& path, std::string_view what) {
  return {ErrorCode::kInput, fmt::format("cannot unpack {}: {}", path.string(), what)};
}

Error Damaged(const std::filesystem::path& path, struct archive* reader) {
  const char* why = archive_error_string(reader);
  return Refuse(path, fmt::format("it is not a zip archive, or is damaged ({})", why != nullptr ? why : "no details"));
}

// A name that points outside of the target folder. Such an archive is not made by accident.
bool LeadsOut(std::string_view name) {
  if (name.starts_with("/")) return true;
  for (const auto& part : std::filesystem::path(name)) {
    if (part == "..") return true;
  }
  return false;
}

bool Names(std::string_view name, std::string_view member) {
  if (!name.ends_with(member)) return false;
  return name.size() == member.size() || name[name.size() - member.size() - 1] == '/';
}

// Moves to the entry that is `member`.
Status Seek(const std::filesystem::path& path, struct archive* reader, std::string_view member) {
  for (;;) {
    if (Interrupted())
      return Error{ErrorCode::kInterrupted, fmt::format("interrupted while unpacking {}", path.string())};
    archive_entry* entry = nullptr;
    const int code = archive_read_next_header(reader, &entry);
    if (code == ARCHIVE_EOF) return Refuse(path, fmt::format("there is no {} in it", member));
    if (code != ARCHIVE_OK && code != ARCHIVE_WARN) return Damaged(path, reader);
    const char* name = archive_entry_pathname(entry);
    if (name == nullptr) continue;  // a name that this locale cannot spell is not ours
    if (LeadsOut(name)) return Refuse(path, fmt::format("it contains the name {}, which points outside of it", name));
    if (!Names(name, member)) continue;
    if (archive_entry_filetype(entry) != AE_IFREG) return Refuse(path, fmt::format("{} in it is not a file", name));
    return {};
  }
}

// That the current entry is stored or deflated. Other methods let the archive say how much memory unpacking takes: LZMA
// and PPMd up to 4 GB.
Status CheckMethod(const std::filesystem::path& path, struct archive* reader) {
  const char* format = archive_format_name(reader);  // "ZIP 2.0 (deflation)"
  const std::string_view name = format != nullptr ? format : "";
  if (name.ends_with("(deflation)") || name.ends_with("(uncompressed)")) return {};
  return Error{ErrorCode::kUnsupported,
               fmt::format("cannot unpack {}: the file in it is packed as {}, which this program does not read; want a "
                           "zip archive with deflate",
                           path.string(), name)};
}

// Copies the current entry, block by block.
Status Copy(const std::filesystem::path& path, struct archive* reader, std::uint64_t max_bytes, AtomicFile& out) {
  std::uint64_t written = 0;
  for (;;) {
    if (Interrupted())
      return Error{ErrorCode::kInterrupted, fmt::format("interrupted while unpacking {}", path.string())};
    const void* block = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int code = archive_read_data_block(reader, &block, &size, &offset);
    if (code == ARCHIVE_EOF) return {};
    if (code != ARCHIVE_OK) return Damaged(path, reader);
    if (offset != static_cast<la_int64_t>(written)) return Refuse(path, "the file in it has holes");
    if (size > max_bytes - written) {
      return Refuse(path, fmt::format("the file in it is longer than the {} bytes that it may have", max_bytes));
    }
    if (auto status = out.Write(std::string_view(static_cast<const char*>(block), size)); !status) return status;
    written += size;
  }
}

}  // namespace

Status ExtractMember(const std::filesystem::path& archive, std::string_view member, const std::filesystem::path& target,
                     std::uint64_t max_bytes) {
  const ArchiveReader reader(archive_read_new());
  MARLIN_CHECK(reader != nullptr, "libarchive has no memory for a reader");
  MARLIN_CHECK(archive_read_support_format_zip(reader.get()) == ARCHIVE_OK, "libarchive was built without zip");
  if (archive_read_open_filename(reader.get(), archive.c_str(), kReadBytes) != ARCHIVE_OK) {
    return Damaged(archive, reader.get());
  }
  if (auto status = Seek(archive, reader.get(), member); !status) return status;
  if (auto status = CheckMethod(archive, reader.get()); !status) return status;
  auto out = AtomicFile::Create(target);
  if (!out) return out.error();
  if (auto status = Copy(archive, reader.get(), max_bytes, *out); !status) return status;
  return out->Commit();
}

}  // namespace marlin
