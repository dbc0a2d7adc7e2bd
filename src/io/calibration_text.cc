#include "io/calibration_text.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <system_error>

#include "base/open_file.h"
#include "io/archive.h"
#include "io/cache_dir.h"
#include "io/download.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kHuggingFace = "https://huggingface.co";
constexpr std::string_view kGists = "https://gist.githubusercontent.com";
constexpr std::uint64_t kMaxBytes = 64 << 20;  // the archive has 4.7 MB, its training text 10.9 MB

constexpr std::array kSources = {
    CalibrationSource{"wikitext2", "training text of WikiText-2", "wikitext-2-raw/wiki.train.raw", kHuggingFace,
                      "/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip", "wiki.train.raw"},
    CalibrationSource{"bartowski-v3", "calibration_datav3.txt", "calibration/calibration_datav3.txt", kGists,
                      "/bartowski1182/eb213dccb3571f863da82e99418f81e8/raw/calibration_datav3.txt", ""},
    CalibrationSource{"wikitext2-valid", "validation text of WikiText-2", "wikitext-2-raw/wiki.valid.raw", "", "", ""},
    CalibrationSource{"c4", "general web text", "calibration/c4.utf8", "", "", ""},
    CalibrationSource{"code", "source code", "calibration/code.utf8", "", "", ""},
    CalibrationSource{"technical", "technical prose", "calibration/technical.utf8", "", "", ""},
    CalibrationSource{"multilingual", "text in many languages", "calibration/multilingual.utf8", "", "", ""},
    CalibrationSource{"wiki", "articles of Wikipedia", "calibration/wiki.utf8", "", "", ""},
    CalibrationSource{"tiny", "short stories", "calibration/tiny.utf8", "", "", ""},
};

const CalibrationSource* FindSource(std::string_view name) {
  for (const CalibrationSource& source : kSources) {
    if (source.name == name) return &source;
  }
  return nullptr;
}

std::string Endpoint(const CalibrationSource& source, const CalibrationTextOptions& options) {
  std::string endpoint = options.endpoint;
  const char* mirror = source.endpoint == kHuggingFace ? std::getenv("HF_ENDPOINT") : nullptr;
  if (endpoint.empty() && mirror != nullptr) endpoint = mirror;
  if (endpoint.empty()) endpoint = source.endpoint;
  while (endpoint.ends_with("/")) endpoint.pop_back();
  return endpoint;
}

Result<EvalText> OpenAs(const fs::path& path, const CalibrationSource& source) {
  auto text = OpenEvalText(path);
  if (text) text->name = source.name;
  return text;
}

std::string HowToGetIt(const CalibrationSource& source, const fs::path& cached) {
  return fmt::format("put it at {}, or set METAL_MARLIN_DATA to a folder that holds {}, or name another text or a file",
                     cached.string(), source.place);
}

Result<EvalText> DownloadSource(const CalibrationSource& source, const std::string& url, const fs::path& target,
                                const ProgressFn& progress) {
  Download download;
  download.url = url;
  download.target = source.member.empty() ? target : fs::path(target.string() + ".zip");
  download.max_bytes = kMaxBytes;
  download.stage = fmt::format("download {}", source.name);
  if (auto status = Fetch(download, progress); !status) {
    return Error{status.error().code, fmt::format("{}; {}", status.error().message, HowToGetIt(source, target))};
  }
  if (!source.member.empty()) {
    const auto status = ExtractMember(download.target, std::string(source.member), target, kMaxBytes);
    std::error_code ignored;
    fs::remove(download.target, ignored);
    if (!status) {
      return Error{status.error().code, fmt::format("what {} sent is not the archive of {}: {}; {}", url, source.name,
                                                    status.error().message, HowToGetIt(source, target))};
    }
  }
  auto text = OpenAs(target, source);
  if (!text) {  // a page of a proxy, say: it must not stay in the cache
    std::error_code ignored;
    fs::remove(target, ignored);
    return Error{text.error().code, fmt::format("what {} sent: {}", url, text.error().message)};
  }
  return text;
}

Result<EvalText> OpenFile(const std::string& data) {
  const auto kind = KindOf(data);
  if (!kind) return kind.error();
  if (*kind == PathKind::kNothing) {
    std::string names;
    for (const CalibrationSource& source : kSources)
      names += fmt::format("{}{}", names.empty() ? "" : ", ", source.name);
    return Error{ErrorCode::kInput,
                 fmt::format("\"{}\" is neither a calibration text nor a file; name a file or one of {}", data, names)};
  }
  return OpenEvalText(data);
}

}  // namespace

std::span<const CalibrationSource> CalibrationSources() { return kSources; }

Result<EvalText> FindCalibrationText(const CalibrationTextOptions& options, const ProgressFn& progress) {
  const CalibrationSource* source = FindSource(options.data);
  if (source == nullptr) return OpenFile(options.data);
  fs::path folder = options.data_folder;
  if (const char* value = std::getenv("METAL_MARLIN_DATA"); folder.empty() && value != nullptr) folder = value;
  if (!folder.empty() && IsFile(folder / source->place)) return OpenAs(folder / source->place, *source);
  fs::path cache = options.cache_dir;
  if (cache.empty()) {
    auto found = CacheDir();
    if (!found) return found.error();
    cache = *found;
  }
  const fs::path cached = cache / source->place;
  if (IsFile(cached)) return OpenAs(cached, *source);
  if (source->endpoint.empty() || options.offline) {
    return Error{
        ErrorCode::kInput,
        fmt::format("the calibration text {} ({}) is not here{}; {}", source->name, source->description,
                    source->endpoint.empty() ? " and is not downloaded" : ", and --offline forbids the download",
                    HowToGetIt(*source, cached))};
  }
  return DownloadSource(*source, Endpoint(*source, options) + std::string(source->url_path), cached, progress);
}

}  // namespace marlin
