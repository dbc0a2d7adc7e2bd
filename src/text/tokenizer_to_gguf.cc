#include "text/tokenizer_to_gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>
#include <variant>

#include "text/gguf_pre_tokenizers.h"
#include "text/tokenizer_gguf.h"
#include "text/vocabulary.h"

namespace marlin {
namespace {

// tokenizer.ggml.token_type
enum : std::int32_t { kWord = 1, kUnknownWord = 2, kControlWord = 3, kUserWord = 4, kUnusedWord = 5, kByteWord = 6 };

const std::string kSpaceMark = "\u2581";

Error NoName(std::string_view where, const std::string& what) {
  return {ErrorCode::kUnsupported,
          fmt::format("{}: {}; the folder itself can still be run by programs that read tokenizer.json", where, what)};
}

struct TokenList {
  std::vector<std::string> words;
  std::vector<std::int32_t> types;
};

TokenList TokensOf(const TokenizerSpec& spec, std::size_t rows, bool bytes) {
  TokenList out;
  for (std::size_t id = 0; id < spec.size(); ++id) {
    const std::string_view word = spec.Text(static_cast<std::int32_t>(id));
    out.words.emplace_back(word);
    out.types.push_back(bytes && ByteOfFallback(word) ? kByteWord : kWord);
  }
  for (const AddedToken& token : spec.added) {
    const bool unknown = token.special && token.id == spec.unknown;
    out.types[static_cast<std::size_t>(token.id)] = unknown ? kUnknownWord : token.special ? kControlWord : kUserWord;
  }
  for (std::size_t id = out.words.size(); id < rows; ++id) {
    out.words.push_back(fmt::format("[PAD{}]", id));
    out.types.push_back(kUnusedWord);
  }
  return out;
}

std::vector<std::string> MergeLines(const std::vector<std::string>& vocabulary, const std::vector<BpeMerge>& merges) {
  std::vector<std::string> lines;
  for (const BpeMerge& merge : merges) {
    lines.push_back(fmt::format("{} {}", vocabulary[static_cast<std::size_t>(merge.left)],
                                vocabulary[static_cast<std::size_t>(merge.right)]));
  }
  return lines;
}

void SetTokens(TokenList tokens, GgufPairs& pairs) {
  pairs.Set("tokenizer.ggml.tokens", std::move(tokens.words));
  pairs.Set("tokenizer.ggml.token_type", std::move(tokens.types));
}

Status AddByteLevel(const TokenizerSpec& spec, const ByteLevelBpe& kind, std::size_t rows, std::string_view where,
                    GgufPairs& pairs) {
  bool nfc = false;
  for (const NormalizerStep& step : spec.normalizer) {
    const auto* const form = std::get_if<UnicodeFormStep>(&step);
    if (form == nullptr || form->form != UnicodeForm::kNfc || nfc) {
      return NoName(where, "the normalizer of its tokenizer is another one than NFC, and GGUF has no key for it");
    }
    nfc = true;
  }
  const GgufPreTokenizer* const pre = FindGgufPreTokenizer(spec.pre_tokenizer, nfc, kind.ignore_merges);
  if (pre == nullptr) {
    std::string patterns;
    for (const PreTokenizerStep& step : spec.pre_tokenizer) {
      if (const auto* split = std::get_if<SplitStep>(&step))
        patterns += fmt::format("{}\"{}\"", patterns.empty() ? "" : ", ", split->pattern);
    }
    return NoName(where,
                  fmt::format("GGUF names pre-tokenizers (tokenizer.ggml.pre) and does not describe them, and the "
                              "one of this model{} is none of {}",
                              patterns.empty() ? "" : " (" + patterns + ")", GgufPreTokenizerNames()));
  }
  pairs.Set("tokenizer.ggml.model", "gpt2");
  pairs.Set("tokenizer.ggml.pre", std::string(pre->name));
  SetTokens(TokensOf(spec, rows, false), pairs);
  pairs.Set("tokenizer.ggml.merges", MergeLines(kind.vocabulary, kind.merges));
  return {};
}

// Whether a space is put in front of a text. Errors: what else happens to a text before it is divided.
Result<bool> PutsSpaceInFront(const TokenizerSpec& spec, std::string_view where) {
  bool prepends = false, marks = false;
  for (const NormalizerStep& step : spec.normalizer) {
    const auto* const front = std::get_if<PrependStep>(&step);
    const auto* const replaced = std::get_if<ReplaceStep>(&step);
    if (front != nullptr && front->text == kSpaceMark && !marks) {
      prepends = true;
    } else if (replaced != nullptr && !replaced->is_regex && replaced->pattern == " " &&
               replaced->content == kSpaceMark) {
      marks = true;
    } else {
      return NoName(where, "the normalizer of its tokenizer does more than to mark spaces, and GGUF has no key for it");
    }
  }
  for (const PreTokenizerStep& step : spec.pre_tokenizer) {
    const auto* const metaspace = std::get_if<MetaspaceStep>(&step);
    const auto* const split = std::get_if<SplitStep>(&step);
    // After spaces are marked there are none left to cut at.
    if (split != nullptr && split->pattern == " " && marks && !split->invert) continue;
    if (metaspace == nullptr || metaspace->replacement != kSpaceMark || metaspace->split) {
      return NoName(where, "its tokenizer cuts words before it merges characters, and GGUF has no key for it");
    }
    prepends = prepends || metaspace->prepend != PrependScheme::kNever;
    marks = true;
  }
  if (!marks) return NoName(where, "its tokenizer does not mark spaces by U+2581, as GGUF's kind \"llama\" does");
  return prepends;
}

// Scores that give the same merges as the list: the earlier a token can first be made, the higher its score.
std::vector<float> ScoresOf(const CharacterBpe& kind) {
  constexpr float kNone = 1;
  std::vector<float> scores(kind.vocabulary.size(), kNone);
  float next = 0;
  for (const BpeMerge& merge : kind.merges) {
    float& score = scores[static_cast<std::size_t>(merge.result)];
    if (score == kNone) score = next--;
  }
  for (float& score : scores) {
    if (score == kNone) score = next;
  }
  return scores;
}

bool SameMerge(const BpeMerge& a, const BpeMerge& b) {
  return a.left == b.left && a.right == b.right && a.result == b.result;
}

// Whether those scores say what the merges say, among the tokens that take part.
Result<bool> ScoresGiveMerges(const CharacterBpe& kind, const std::vector<float>& scores,
                              const std::vector<std::int32_t>& types, std::string_view where) {
  std::vector<bool> joins;
  for (std::size_t id = 0; id < kind.vocabulary.size(); ++id) joins.push_back(types[id] == kWord);
  const auto index = IndexVocabulary(kind.vocabulary, where);
  if (!index) return index.error();
  const auto made = MergesFromScores(kind.vocabulary, scores, joins, MergeWays::kLongerLeftFirst, *index, where);
  if (!made) return made.error();
  std::vector<BpeMerge> wanted;
  for (const BpeMerge& merge : kind.merges) {
    const bool all = joins[static_cast<std::size_t>(merge.left)] && joins[static_cast<std::size_t>(merge.right)] &&
                     joins[static_cast<std::size_t>(merge.result)];
    if (all) wanted.push_back(merge);
  }
  return std::ranges::equal(*made, wanted, SameMerge);
}

Status AddCharacters(const TokenizerSpec& spec, const CharacterBpe& kind, const GgufTokenizerOptions& options,
                     std::string_view where, GgufPairs& pairs) {
  const auto prepends = PutsSpaceInFront(spec, where);
  if (!prepends) return prepends.error();
  TokenList tokens = TokensOf(spec, options.rows, true);
  if (kind.unknown >= 0) {
    tokens.types[static_cast<std::size_t>(kind.unknown)] = kUnknownWord;
    pairs.Set("tokenizer.ggml.unknown_token_id", static_cast<std::uint32_t>(kind.unknown));
  }
  std::vector<float> scores = ScoresOf(kind);
  const auto scored = ScoresGiveMerges(kind, scores, tokens.types, where);
  if (!scored) return scored.error();
  pairs.Set("tokenizer.ggml.add_space_prefix", *prepends);
  if (options.prefers_merges || !*scored) {
    if (*prepends) {
      return NoName(where,
                    "the order of its tokenizer's merges follows from no scores, as GGUF's kind \"llama\" wants them");
    }
    pairs.Set("tokenizer.ggml.model", "gemma4");
    pairs.Set("tokenizer.ggml.pre", "gemma4");
    pairs.Set("tokenizer.ggml.merges", MergeLines(kind.vocabulary, kind.merges));
  } else {
    pairs.Set("tokenizer.ggml.model", "llama");
    pairs.Set("tokenizer.ggml.pre", "default");
    const float lowest = *std::ranges::min_element(scores) - 1;
    scores.resize(tokens.words.size(), lowest);
    pairs.Set("tokenizer.ggml.scores", std::move(scores));
  }
  SetTokens(std::move(tokens), pairs);
  return {};
}

void AddIds(const TokenizerSpec& spec, const GgufTokenizerOptions& options, GgufPairs& pairs,
            std::vector<std::string>& notes) {
  const auto set = [&](const char* key, std::int32_t id) {
    if (id >= 0) pairs.Set(key, static_cast<std::uint32_t>(id));
  };
  set("tokenizer.ggml.bos_token_id", spec.bos);
  if (!pairs.Has("tokenizer.ggml.unknown_token_id")) set("tokenizer.ggml.unknown_token_id", spec.unknown);
  set("tokenizer.ggml.padding_token_id", spec.padding);
  std::vector<std::int32_t> ends;
  if (spec.eos >= 0) ends.push_back(spec.eos);
  for (const std::int32_t end : options.ends) {
    if (std::ranges::find(ends, end) == ends.end()) ends.push_back(end);
  }
  constexpr std::array kEndKeys = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                   "tokenizer.ggml.eom_token_id"};
  for (std::size_t i = 0; i < std::min(ends.size(), kEndKeys.size()); ++i) set(kEndKeys[i], ends[i]);
  if (ends.size() > kEndKeys.size()) {
    notes.push_back(fmt::format("{} tokens end a text, and GGUF names {} of them", ends.size(), kEndKeys.size()));
  }
}

void AddNotes(const TokenizerSpec& spec, std::vector<std::string>& notes) {
  const auto trims = std::ranges::count_if(
      spec.added, [](const AddedToken& token) { return token.lstrip || token.rstrip || token.single_word; });
  if (trims > 0) {
    notes.push_back(
        fmt::format("{} special tokens swallow white space beside them or stand only between words, and GGUF "
                    "does not say so",
                    trims));
  }
  if (spec.adds_bos && !spec.before_bos.empty()) {
    notes.push_back(
        fmt::format("{} tokens stand before BOS in front of a text, and GGUF names BOS alone", spec.before_bos.size()));
  }
}

}  // namespace

Status AddTokenizer(const TokenizerSpec& spec, const GgufTokenizerOptions& options, std::string_view where,
                    GgufPairs& pairs, std::vector<std::string>& notes) {
  if (spec.size() > options.rows) {
    return NoName(where, fmt::format("its tokenizer has {} tokens and its embedding {} rows, and in GGUF both are one "
                                     "number",
                                     spec.size(), options.rows));
  }
  Status status;
  if (const auto* bytes = std::get_if<ByteLevelBpe>(&spec.kind)) {
    status = AddByteLevel(spec, *bytes, options.rows, where, pairs);
  } else if (const auto* characters = std::get_if<CharacterBpe>(&spec.kind)) {
    status = AddCharacters(spec, *characters, options, where, pairs);
  } else {
    status = NoName(where, fmt::format("its tokenizer is of the kind {}, which this program does not write into GGUF",
                                       Unigram::kName));
  }
  if (!status) return status;
  AddIds(spec, options, pairs, notes);
  pairs.Set("tokenizer.ggml.add_bos_token", spec.adds_bos && spec.bos >= 0);
  pairs.Set("tokenizer.ggml.add_eos_token", false);
  if (!options.chat_template.empty()) pairs.Set("tokenizer.chat_template", options.chat_template);
  AddNotes(spec, notes);
  return {};
}

}  // namespace marlin
