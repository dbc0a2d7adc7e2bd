#include "text/normalizer.h"

#include <utility>

namespace marlin {
namespace {

std::string ReplaceLiteral(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  std::size_t done = 0;
  for (std::size_t at = text.find(pattern); at != std::string_view::npos; at = text.find(pattern, done)) {
    out.append(text, done, at - done);
    out += content;
    done = at + pattern.size();
  }
  out.append(text, done);
  return out;
}

std::string ReplaceRanges(std::string_view text, const std::vector<TextRange>& ranges, std::string_view content) {
  std::string out;
  std::size_t done = 0;
  for (const TextRange& range : ranges) {
    out.append(text, done, range.begin - done);
    out += content;
    done = range.end;
  }
  out.append(text, done);
  return out;
}

std::string_view Stripped(std::string_view text, StripStep step) {
  while (step.left && !text.empty()) {
    const CodePoint first = CodePointAt(text, 0);
    if (!IsWhiteSpace(first.value)) break;
    text.remove_prefix(first.bytes);
  }
  while (step.right && !text.empty()) {
    const CodePoint last = CodePointBefore(text, text.size());
    if (!IsWhiteSpace(last.value)) break;
    text.remove_suffix(last.bytes);
  }
  return text;
}

struct NormalizerStepHasher {
  TokenizerHasher& hasher;

  void operator()(const UnicodeFormStep& step) const {
    hasher.Text("form");
    hasher.Number(static_cast<int>(step.form));
  }
  void operator()(const PrependStep& step) const {
    hasher.Text("prepend");
    hasher.Text(step.text);
  }
  void operator()(const ReplaceStep& step) const {
    hasher.Text("replace");
    hasher.Text(step.pattern);
    hasher.Number(step.is_regex);
    hasher.Text(step.content);
  }
  void operator()(const StripStep& step) const {
    hasher.Text("strip");
    hasher.Number(step.left);
    hasher.Number(step.right);
  }
  void operator()(const LowercaseStep&) const { hasher.Text("lowercase"); }
  void operator()(const PrecompiledStep& step) const {
    hasher.Text("precompiled");
    hasher.Text(step.charsmap);
  }
};

}  // namespace

void HashStep(const NormalizerStep& step, TokenizerHasher& hasher) { std::visit(NormalizerStepHasher{hasher}, step); }

Result<Normalizer> Normalizer::Create(const std::vector<NormalizerStep>& steps) {
  Normalizer result;
  for (const NormalizerStep& step : steps) {
    if (const auto* replace = std::get_if<ReplaceStep>(&step); replace != nullptr && replace->is_regex) {
      auto regex = Regex::Compile(replace->pattern);
      if (!regex) return regex.error();
      result.operations_.emplace_back(RegexReplacement{std::move(*regex), replace->content});
    } else if (const auto* precompiled = std::get_if<PrecompiledStep>(&step)) {
      auto map = PrecompiledCharsmap::Read(precompiled->charsmap);
      if (!map) return map.error();
      result.operations_.emplace_back(std::move(*map));
    } else {
      std::visit(
          [&](const auto& same) {
            if constexpr (std::is_constructible_v<Operation, decltype(same)>) result.operations_.emplace_back(same);
          },
          step);
    }
  }
  return result;
}

Status Normalizer::Run(const Operation& operation, Regex::Workspace& workspace, std::string& text) {
  if (text.empty()) return {};  // as in Hugging Face tokenizers, nothing is added to an empty text
  if (const auto* form = std::get_if<UnicodeFormStep>(&operation)) {
    text = NormalizeUnicode(text, form->form);
  } else if (const auto* prepend = std::get_if<PrependStep>(&operation)) {
    text.insert(0, prepend->text);
  } else if (const auto* replace = std::get_if<ReplaceStep>(&operation)) {
    if (!replace->pattern.empty()) text = ReplaceLiteral(text, replace->pattern, replace->content);
  } else if (const auto* strip = std::get_if<StripStep>(&operation)) {
    text = std::string(Stripped(text, *strip));
  } else if (std::holds_alternative<LowercaseStep>(operation)) {
    text = LowerCase(text);
  } else if (const auto* by_regex = std::get_if<RegexReplacement>(&operation)) {
    std::vector<TextRange> matches;
    if (auto status = by_regex->regex.FindAll(text, workspace, matches); !status) return status;
    text = ReplaceRanges(text, matches, by_regex->content);
  } else {
    text = std::get<PrecompiledCharsmap>(operation).Normalize(text);
  }
  return {};
}

Result<std::optional<std::string>> Normalizer::Apply(std::string_view text, Regex::Workspace& workspace) const {
  if (operations_.empty()) return std::optional<std::string>();
  std::string changed(text);
  for (const Operation& operation : operations_) {
    if (auto status = Run(operation, workspace, changed); !status) return status.error();
  }
  return std::optional<std::string>(std::move(changed));
}

}  // namespace marlin
