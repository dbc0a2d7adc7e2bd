#include "io/dataset.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <cstdlib>
#include <system_error>
#include <utility>

#include "base/open_file.h"
#include "base/sha256.h"
#include "io/archive.h"
#include "io/cache_dir.h"
#include "io/download.h"
#include "io/sample_text.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFileName = "wiki.test.raw";
constexpr const char* kPlace = "wikitext-2-raw/wiki.test.raw";  // inside a data folder

constexpr const char* kArchiveName = "wikitext-2-raw-v1.zip";
constexpr const char* kArchiveUrlPath = "/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip";
constexpr std::string_view kArchiveSha256 = "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11";
constexpr std::uint64_t kArchiveMaxBytes = 64 << 20;  // 4,721,645 today

// The position of the first byte that is not UTF-8 text.
std::optional<std::size_t> FirstBadByte(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t code_point = 0;
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at;
    const utf8proc_ssize_t length =
        utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size() - at), &code_point);
    if (length <= 0 || code_point == 0) return at;  // 0: no text holds it, though UTF-8 may
    at += static_cast<std::size_t>(length);
  }
  return std::nullopt;
}

Status CheckText(const fs::path& path, std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return Error{ErrorCode::kInput, fmt::format("{} holds no text; give a file of UTF-8 text", path.string())};
  }
  const auto bad = FirstBadByte(text);
  if (bad && text[*bad] == 0) {
    return Error{
        ErrorCode::kInput,
        fmt::format("{} is not a text: byte {} (0x00) is NUL, as in binary files and in UTF-16; give a file of "
                    "UTF-8 text",
                    path.string(), *bad)};
  }
  if (bad) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} is not a text: byte {} (0x{:02x}) is not UTF-8; give a file of UTF-8 text",
                             path.string(), *bad, static_cast<unsigned char>(text[*bad]))};
  }
  return {};
}

fs::path FolderFromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? fs::path() : fs::path(value);
}

std::string Endpoint(const DatasetOptions& options) {
  std::string endpoint = options.endpoint;
  if (endpoint.empty()) {
    const char* value = std::getenv("HF_ENDPOINT");
    endpoint = value != nullptr && value[0] != 0 ? value : "https://huggingface.co";
  }
  while (endpoint.ends_with("/")) endpoint.pop_back();
  return endpoint;
}

constexpr const char* kDataVariable = "METAL_MARLIN_DATA";

std::string HowToGetIt(const std::string& url, const fs::path& cached) {
  const fs::path named = FolderFromEnvironment(kDataVariable);
  const std::string set = named.empty() ? "" : fmt::format(" (it is {}, which holds none)", named.string());
  return fmt::format(
      "to get it by hand, unpack {} from {} and put it at {}, or give it with --data FILE, or set {} to a folder that "
      "holds {}{}; or measure on the program's own sample with --data built-in",
      kFileName, url, cached.string(), kDataVariable, kPlace, set);
}

// `data` as the user gave it: a file, or a folder with the file in it.
Result<EvalText> FromGivenPath(const fs::path& data) {
  const auto kind = KindOf(data);
  if (!kind) return kind.error();
  if (*kind == PathKind::kNothing) {
    return Error{
        ErrorCode::kInput,
        fmt::format("there is no {}; --data takes a text file, a folder that holds {}, or built-in (the sample)",
                    data.string(), kPlace)};
  }
  if (*kind != PathKind::kFolder) return OpenEvalText(data);
  for (const fs::path& candidate : {data / kPlace, data / kFileName}) {
    if (IsFile(candidate)) return OpenEvalText(candidate);
  }
  return Error{ErrorCode::kInput,
               fmt::format("{} holds neither {} nor {}; name a text file instead", data.string(), kPlace, kFileName)};
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

// Downloads the archive, takes the file out of it and checks that it is the one: only then `target` exists.
Result<EvalText> DownloadWikiText2(const std::string& url, const fs::path& target, const ProgressFn& progress) {
  const TemporaryFile archive(target.parent_path() / kArchiveName);
  const TemporaryFile unpacked(target.string() + ".unverified");
  Download download;
  download.url = url;
  download.target = archive.path();
  download.max_bytes = kArchiveMaxBytes;
  download.stage = fmt::format("download {}", kArchiveName);
  if (auto status = Fetch(download, progress); !status) {
    return Error{status.error().code, fmt::format("{}; {}", status.error().message, HowToGetIt(url, target))};
  }
  const auto archive_hash = Sha256OfFile(archive.path());
  if (!archive_hash) return archive_hash.error();
  if (auto status = ExtractMember(archive.path(), kFileName, unpacked.path(), kWikiText2Bytes); !status) {
    if (status.error().code != ErrorCode::kInput) return status.error();
    return Error{ErrorCode::kInput, fmt::format("what {} sent is not WikiText-2: {}; {}", url, status.error().message,
                                                HowToGetIt(url, target))};
  }
  const auto hash = Sha256OfFile(unpacked.path());
  if (!hash) return hash.error();
  if (*hash != kWikiText2Sha256) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{} from {} is not the WikiText-2 test file: sha256 is {}, should be {}; try again, or {}",
                             kFileName, url, *hash, kWikiText2Sha256, HowToGetIt(url, target))};
  }
  std::error_code code;
  fs::rename(unpacked.path(), target, code);
  if (code) return Error{ErrorCode::kInput, fmt::format("cannot create {}: {}", target.string(), code.message())};
  auto text = OpenEvalText(target);
  if (text && *archive_hash != kArchiveSha256) {
    text->warnings.push_back(fmt::format("{} was packed anew (sha256 {}, known {}); the text in it is the standard one",
                                         url, *archive_hash, kArchiveSha256));
  }
  return text;
}

// Only the standard file has a place in the cache; anything else there is damage.
std::optional<EvalText> FromCache(const fs::path& cached) {
  if (!IsFile(cached)) return std::nullopt;
  auto text = OpenEvalText(cached);
  if (!text || !text->is_standard) return std::nullopt;
  return std::move(*text);
}

Result<fs::path> CachedPath(const DatasetOptions& options) {
  if (!options.cache_dir.empty()) return options.cache_dir / kPlace;
  const auto cache = CacheDir();
  if (!cache) return cache.error();
  return *cache / kPlace;
}

}  // namespace

Result<EvalText> OpenEvalText(const fs::path& path) {
  auto file = MappedFile::Open(path);
  if (!file) return file.error();
  EvalText result;
  result.path = path;
  result.text = {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
  result.file = std::move(*file);
  if (auto status = CheckText(path, result.text); !status) return status.error();
  result.sha256 = Sha256Hex(result.text);
  result.is_standard = result.sha256 == kWikiText2Sha256;
  result.name = result.is_standard ? std::string(kWikiText2Name) : path.filename().string();
  if (!result.is_standard && result.name == kFileName) {
    result.name = fmt::format("{} (not the standard file, sha256 {})", kFileName, result.sha256.substr(0, 8));
    result.warnings.push_back(fmt::format(
        "{} is not the WikiText-2 test file in spite of its name: it has {} bytes and sha256 {}, should have {} "
        "and {}; numbers on it do not compare with WikiText-2",
        path.string(), result.text.size(), result.sha256, kWikiText2Bytes, kWikiText2Sha256));
  }
  return result;
}

Result<std::optional<EvalText>> FindLocalWikiText2(const DatasetOptions& options) {
  const fs::path folder = options.data_folder.empty() ? FolderFromEnvironment(kDataVariable) : options.data_folder;
  if (!options.data.empty() || (!folder.empty() && IsFile(folder / kPlace))) {
    auto text = options.data.empty() ? OpenEvalText(folder / kPlace) : FromGivenPath(options.data);
    if (!text) return text.error();
    return std::optional(std::move(*text));
  }
  const auto cached = CachedPath(options);
  if (!cached) return cached.error();
  return FromCache(*cached);
}

Result<EvalText> FindWikiText2(const DatasetOptions& options, const ProgressFn& progress) {
  auto local = FindLocalWikiText2(options);
  if (!local) return local.error();
  if (local->has_value()) return std::move(**local);
  const auto path = CachedPath(options);
  if (!path) return path.error();
  const fs::path& cached = *path;
  const std::string url = Endpoint(options) + kArchiveUrlPath;
  if (options.offline) {
    return Error{ErrorCode::kInput,
                 fmt::format("WikiText-2 is {} {}, and --offline forbids the download; {}",
                             IsFile(cached) ? "damaged at" : "not at", cached.string(), HowToGetIt(url, cached))};
  }
  auto text = DownloadWikiText2(url, cached, progress);
  if (text) return text;
  // Another program that downloads at the same time may have taken the file away and put it into its place.
  if (auto other = FromCache(cached)) return std::move(*other);
  return text;
}

EvalText AbsentWikiText2() {
  EvalText result;
  result.name = kWikiText2Name;
  result.sha256 = kWikiText2Sha256;
  result.is_standard = true;
  result.absent_bytes = kWikiText2Bytes;
  return result;
}

EvalText BuiltInSample() {
  EvalText result;
  result.name = kBuiltInSampleName;
  result.text = SampleText();
  result.sha256 = Sha256Hex(result.text);
  return result;
}

}  // namespace marlin
