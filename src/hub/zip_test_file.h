// For tests only: writes zip archives, valid and malicious ones.
#pragma once

#include <archive.h>
#include <archive_entry.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/check.h"

namespace marlin {

struct ZipTestEntry {
  std::string name;
  std::string content;
  bool is_link = false;  // a symbolic link to `content`
};

// `options` as archive_write_set_options takes them: "zip:compression=store".
inline void WriteZip(const std::filesystem::path& path, const std::vector<ZipTestEntry>& entries,
                     const char* options = "zip:compression=deflate") {
  struct archive* zip = archive_write_new();
  archive_write_set_format_zip(zip);
  archive_write_set_passphrase(zip, "secret");  // used only with zip:encryption
  MARLIN_CHECK(archive_write_set_options(zip, options) == ARCHIVE_OK, "zip options");
  MARLIN_CHECK(archive_write_open_filename(zip, path.c_str()) == ARCHIVE_OK, "zip file");
  for (const auto& [name, content, is_link] : entries) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_filetype(entry, is_link ? AE_IFLNK : AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    if (is_link) archive_entry_set_symlink(entry, content.c_str());
    archive_entry_set_size(entry, is_link ? 0 : static_cast<la_int64_t>(content.size()));
    MARLIN_CHECK(archive_write_header(zip, entry) == ARCHIVE_OK, "zip entry");
    if (!is_link) {
      MARLIN_CHECK(archive_write_data(zip, content.data(), content.size()) >= 0, "zip data");
    }
    archive_entry_free(entry);
  }
  MARLIN_CHECK(archive_write_close(zip) == ARCHIVE_OK, "zip end");
  archive_write_free(zip);
}

}  // namespace marlin
