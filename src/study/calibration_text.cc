#include "study/calibration_text.h"

#include <fmt/format.h>

#include <array>

#include "base/open_file.h"

namespace marlin {
namespace {

constexpr std::array kSources = {
    NamedText{"wikitext2", "training text of WikiText-2", "wikitext-2-raw/wiki.train.raw", kHuggingFace,
              "/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip", "wiki.train.raw"},
    NamedText{"bartowski-v3", "calibration_datav3.txt", "calibration/calibration_datav3.txt", kGists,
              "/bartowski1182/eb213dccb3571f863da82e99418f81e8/raw/calibration_datav3.txt", ""},
    NamedText{"wikitext2-valid", "validation text of WikiText-2", "wikitext-2-raw/wiki.valid.raw", "", "", ""},
    NamedText{"c4", "general web text", "calibration/c4.utf8", "", "", ""},
    NamedText{"code", "source code", "calibration/code.utf8", "", "", ""},
    NamedText{"technical", "technical prose", "calibration/technical.utf8", "", "", ""},
    NamedText{"multilingual", "text in many languages", "calibration/multilingual.utf8", "", "", ""},
    NamedText{"wiki", "articles of Wikipedia", "calibration/wiki.utf8", "", "", ""},
    NamedText{"tiny", "short stories", "calibration/tiny.utf8", "", "", ""},
};

const NamedText* FindSource(std::string_view name) {
  for (const NamedText& source : kSources) {
    if (source.name == name) return &source;
  }
  return nullptr;
}

Result<EvalText> OpenFile(const std::string& data) {
  const auto kind = KindOf(data);
  if (!kind) return kind.error();
  if (*kind == PathKind::kNothing) {
    std::string names;
    for (const NamedText& source : kSources) names += fmt::format("{}{}", names.empty() ? "" : ", ", source.name);
    return Error{ErrorCode::kInput,
                 fmt::format("\"{}\" is neither a calibration text nor a file; name a file or one of {}", data, names)};
  }
  return OpenEvalText(data);
}

}  // namespace

std::span<const NamedText> CalibrationSources() { return kSources; }

Result<EvalText> FindCalibrationText(const CalibrationTextOptions& options, const ProgressFn& progress) {
  const NamedText* const source = FindSource(options.data);
  if (source == nullptr) return OpenFile(options.data);
  return FindNamedText(*source, options, progress);
}

}  // namespace marlin
