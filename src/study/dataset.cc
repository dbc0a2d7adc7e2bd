#include "study/dataset.h"

#include <fmt/format.h>

#include <utility>

#include "base/open_file.h"
#include "study/named_text.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kFileName = kWikiText2FileName;

constexpr NamedText kWikiText2 = {
    kWikiText2Name,
    "test text of WikiText-2",
    "wikitext-2-raw/wiki.test.raw",
    kHuggingFace,
    "/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip",
    kFileName,
    kWikiText2Bytes,
    kWikiText2Sha256,
    "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
    "give it with --data FILE, or measure on the program's own sample with --data built-in"};

// `data` as the user gave it: a file, or a folder with the file in it.
Result<EvalText> FromGivenPath(const fs::path& data) {
  const auto kind = KindOf(data);
  if (!kind) return kind.error();
  if (*kind == PathKind::kNothing) {
    return Error{
        ErrorCode::kInput,
        fmt::format("there is no {}; --data takes a text file, a folder that holds {}, or built-in (the sample)",
                    data.string(), kWikiText2.place)};
  }
  if (*kind != PathKind::kFolder) return OpenEvalText(data);
  for (const fs::path& candidate : {data / kWikiText2.place, data / kFileName}) {
    if (IsFile(candidate)) return OpenEvalText(candidate);
  }
  return Error{ErrorCode::kInput, fmt::format("{} holds neither {} nor {}; name a text file instead", data.string(),
                                              kWikiText2.place, kFileName)};
}

}  // namespace

Result<std::optional<EvalText>> FindLocalWikiText2(const DatasetOptions& options) {
  if (options.data.empty()) return FindTextHere(kWikiText2, options);
  auto text = FromGivenPath(options.data);
  if (!text) return text.error();
  return std::optional(std::move(*text));
}

Result<EvalText> FindWikiText2(const DatasetOptions& options, const ProgressFn& progress) {
  if (!options.data.empty()) return FromGivenPath(options.data);
  return FindNamedText(kWikiText2, options, progress);
}

}  // namespace marlin
