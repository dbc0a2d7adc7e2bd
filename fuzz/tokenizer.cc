// tokenizer.json, a byte 0, tokenizer_config.json, a byte 0, a text to encode. The last two may be missing.
#include "text/tokenizer.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "fuzz/target_list.h"
#include "text/tokenizer_json.h"

namespace marlin {
namespace {

std::string_view TakePart(std::string_view& rest) {
  const std::size_t end = std::min(rest.find('\0'), rest.size());
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return part;
}

// Whether Decode gives back the very text, were there no added tokens: nothing normalizes it, drops or adds bytes.
bool Reversible(const TokenizerSpec& spec) {
  const auto* kind = std::get_if<ByteLevelBpe>(&spec.kind);
  if (kind == nullptr || !spec.normalizer.empty()) return false;
  for (const PreTokenizerStep& step : spec.pre_tokenizer) {
    const auto* split = std::get_if<SplitStep>(&step);
    const auto* bytes = std::get_if<ByteLevelStep>(&step);
    if (split != nullptr && split->behavior == SplitBehavior::kRemoved) return false;
    if (bytes != nullptr && bytes->add_prefix_space) return false;
    if (split == nullptr && bytes == nullptr && !std::holds_alternative<DigitsStep>(step)) return false;
  }
  const auto index = IndexVocabulary(kind->vocabulary, "fuzz");
  return index && !MissingByte(*index);
}

}  // namespace

Status FuzzTokenizer(FuzzInput input) {
  std::string_view rest = FuzzText(input);
  const std::string_view json = TakePart(rest);
  const std::string_view config = TakePart(rest);
  const auto tokenizer = Tokenizer::FromHuggingFace(json, config, "tokenizer.json");
  if (!tokenizer) return tokenizer.error();
  const auto spec = SpecFromTokenizerJson(json, config, "tokenizer.json");
  MARLIN_CHECK(spec.ok(), "the same file is read twice");
  const auto again = Tokenizer::FromHuggingFace(WriteTokenizerJson(*spec), WriteTokenizerConfigJson(*spec), "again");
  MARLIN_CHECK(again.ok() && again->sha256() == tokenizer->sha256(), "what was written is the same tokenizer");

  const auto ids = tokenizer->Encode(rest, true);
  if (!ids) return ids.error();
  for (const std::int32_t id : *ids) {
    MARLIN_CHECK(id >= 0 && static_cast<std::size_t>(id) < tokenizer->vocab_size(), "an id that there is");
  }
  const std::string text = tokenizer->Decode(*ids);
  if (spec->added.empty() && Reversible(*spec)) MARLIN_CHECK(text == rest, "decode(encode(text)) is the text");
  return {};
}

}  // namespace marlin
