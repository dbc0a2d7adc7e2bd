#include "study/named_text.h"

#include <fmt/format.h>

#include <cstdlib>
#include <system_error>
#include <utility>

#include "base/open_file.h"
#include "base/sha256.h"
#include "hub/archive.h"
#include "hub/cache_dir.h"
#include "hub/download.h"
#include "hub/hub_settings.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

constexpr const char* kDataVariable = "METAL_MARLIN_DATA";

fs::path DataFolderFromEnvironment() {
  const char* const value = std::getenv(kDataVariable);
  return value == nullptr ? fs::path() : fs::path(value);
}

Result<fs::path> CachedPathOf(const NamedText& text, const TextSearch& search) {
  if (!search.cache_dir.empty()) return search.cache_dir / text.place;
  const auto cache = CacheDir();
  if (!cache) return cache.error();
  return *cache / text.place;
}

std::string UrlOf(const NamedText& text, const TextSearch& search) {
  std::string endpoint = search.endpoint;
  if (endpoint.empty() && text.endpoint == kHuggingFace) endpoint = HubEndpoint();
  if (endpoint.empty() && text.endpoint == kGists) endpoint = GistEndpoint();
  if (endpoint.empty()) endpoint = text.endpoint;
  while (endpoint.ends_with("/")) endpoint.pop_back();
  return endpoint + std::string(text.url_path);
}

// A text whose hash is known is named after what it is.
Result<EvalText> OpenNamed(const fs::path& path, const NamedText& text) {
  auto opened = OpenEvalText(path);
  if (opened && text.sha256.empty()) opened->name = text.name;
  return opened;
}

// Anything else in the text's place in the cache is damage.
std::optional<EvalText> FromCacheOf(const fs::path& cached, const NamedText& text) {
  if (!IsFile(cached)) return std::nullopt;
  auto opened = OpenNamed(cached, text);
  if (!opened || (!text.sha256.empty() && opened->sha256 != text.sha256)) return std::nullopt;
  return std::move(*opened);
}

std::string HowToGet(const NamedText& text, const TextSearch& search, const fs::path& cached) {
  std::string by_hand;
  if (!text.endpoint.empty()) {
    const std::string url = UrlOf(text, search);
    by_hand = text.member.empty() ? fmt::format("to get it by hand, download {} and ", url)
                                  : fmt::format("to get it by hand, unpack {} from {} and ", text.member, url);
  }
  const fs::path named = DataFolderFromEnvironment();
  return fmt::format(
      "{}put it at {}, or set {} to a folder that holds {}{}, or {}", by_hand, cached.string(), kDataVariable,
      text.place, named.empty() ? "" : fmt::format(" (it is {}, which holds none)", named.string()), text.other_ways);
}

// Deletes a file when the work on it ends, however it ends.
class TemporaryFile {
 public:
  explicit TemporaryFile(fs::path path) : path_(std::move(path)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// Takes the text out of the archive that was sent.
Status Unpack(const NamedText& text, const fs::path& archive, const fs::path& target, const std::string& url,
              const std::string& how) {
  const auto status = ExtractMember(archive, std::string(text.member), target, text.max_bytes);
  if (status.ok() || status.error().code != ErrorCode::kInput) return status;
  return Error{ErrorCode::kInput, fmt::format("what {} sent is not the archive of {}: {}; {}", url, text.name,
                                              status.error().message, how)};
}

// Downloads the text, checks it, and only then puts it into its place.
Result<EvalText> DownloadText(const NamedText& text, const TextSearch& search, const fs::path& target,
                              const ProgressFn& progress) {
  const std::string url = UrlOf(text, search);
  const std::string how = HowToGet(text, search, target);
  const TemporaryFile archive(target.string() + ".archive");
  const TemporaryFile unverified(target.string() + ".unverified");
  const bool packed = !text.member.empty();
  Download download;
  download.url = url;
  download.target = packed ? archive.path() : unverified.path();
  download.max_bytes = packed ? kMaxTextBytes : text.max_bytes;
  download.stage = fmt::format("download {}", text.name);
  if (auto status = Fetch(download, progress); !status) {
    return Error{status.error().code, fmt::format("{}; {}", status.error().message, how)};
  }
  std::string archive_sha256;
  if (packed) {
    if (auto status = Sha256OfFile(archive.path()).MoveTo(archive_sha256); !status) return status.error();
    if (auto status = Unpack(text, archive.path(), unverified.path(), url, how); !status) return status.error();
  }
  const auto sent = OpenEvalText(unverified.path());
  if (!sent) return Error{sent.error().code, fmt::format("what {} sent: {}; {}", url, sent.error().message, how)};
  if (!text.sha256.empty() && sent->sha256 != text.sha256) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("what {} sent is not {}: sha256 is {}, should be {}; try again, or {}", url, text.name,
                             sent->sha256, text.sha256, how)};
  }
  std::error_code code;
  fs::rename(unverified.path(), target, code);
  if (code) return Error{ErrorCode::kInput, fmt::format("cannot create {}: {}", target.string(), code.message())};
  auto opened = OpenNamed(target, text);
  if (opened && !text.archive_sha256.empty() && archive_sha256 != text.archive_sha256) {
    opened->warnings.push_back(
        fmt::format("{} was packed anew (sha256 {}, known {}); the text in it is the standard one", url, archive_sha256,
                    text.archive_sha256));
  }
  return opened;
}

}  // namespace

std::string ForbidsDownload(const TextSearch& search) { return search.offline ? "--offline" : OfflineVariable(); }

Result<std::optional<EvalText>> FindTextHere(const NamedText& text, const TextSearch& search) {
  const fs::path folder = search.data_folder.empty() ? DataFolderFromEnvironment() : search.data_folder;
  if (!folder.empty() && IsFile(folder / text.place)) {
    auto opened = OpenNamed(folder / text.place, text);
    if (!opened) return opened.error();
    return std::optional(std::move(*opened));
  }
  const auto cached = CachedPathOf(text, search);
  if (!cached) return cached.error();
  return FromCacheOf(*cached, text);
}

Result<EvalText> FindNamedText(const NamedText& text, const TextSearch& search, const ProgressFn& progress) {
  auto here = FindTextHere(text, search);
  if (!here) return here.error();
  if (here->has_value()) return std::move(**here);
  const auto cached = CachedPathOf(text, search);
  if (!cached) return cached.error();
  const std::string forbidding = ForbidsDownload(search);
  if (text.endpoint.empty() || !forbidding.empty()) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} ({}) is {} {}, and {}; {}", text.name, text.description,
                             IsFile(*cached) ? "damaged at" : "not at", cached->string(),
                             text.endpoint.empty() ? "it is not downloaded" : forbidding + " forbids the download",
                             HowToGet(text, search, *cached))};
  }
  auto downloaded = DownloadText(text, search, *cached, progress);
  if (downloaded) return downloaded;
  // Another program that downloads at the same time may have taken the file away and put it into its place.
  if (auto other = FromCacheOf(*cached, text)) return std::move(*other);
  return downloaded;
}

}  // namespace marlin
