#include "text/tokenizer_model.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "text/sentencepiece_model.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_json_members.h"

namespace marlin {
namespace {
using nlohmann::json;
using PieceType = SentencePieceModel::PieceType;
using ModelType = SentencePieceModel::ModelType;

const std::string kSpaceCharacter = "\u2581";

Status CheckOptions(const SentencePieceModel& model, std::string_view where) {
  if (model.model_type != ModelType::kBpe && model.model_type != ModelType::kUnigram) {
    return UnsupportedPart(where, model.model_type == ModelType::kWord ? "a SentencePiece model of words"
                                                                       : "a SentencePiece model of characters");
  }
  if (model.treat_whitespace_as_suffix) return UnsupportedPart(where, "\"treat_whitespace_as_suffix\"");
  if (!model.escape_whitespaces) return UnsupportedPart(where, "a normalizer that does not escape white space");
  return {};
}

// A space before each part of a text (legacy), or before the text only.
void AddPrefixSteps(const SentencePieceModel& model, bool legacy, TokenizerSpec& spec) {
  const bool words = model.model_type == ModelType::kUnigram && model.split_by_whitespace;
  if (model.remove_extra_whitespaces) {
    spec.normalizer.emplace_back(ReplaceStep{"\\A +|[ " + kSpaceCharacter + "]+\\z", true, ""});
    spec.normalizer.emplace_back(ReplaceStep{" {2,}", true, " "});
  }
  if (model.add_dummy_prefix && legacy) spec.normalizer.emplace_back(PrependStep{kSpaceCharacter});
  spec.normalizer.emplace_back(ReplaceStep{" ", false, kSpaceCharacter});
  const auto prepend = model.add_dummy_prefix && !legacy ? PrependScheme::kFirst : PrependScheme::kNever;
  if (words || prepend == PrependScheme::kFirst) {
    spec.pre_tokenizer.emplace_back(MetaspaceStep{kSpaceCharacter, prepend, words});
  }
  spec.decoder = {DecodeReplaceStep{kSpaceCharacter, " "}, ByteFallbackStep{}, FuseStep{}};
  if (model.add_dummy_prefix) spec.decoder.emplace_back(DecodeStripStep{" ", 1, 0});
}

Result<Tokenization> KindOf(SentencePieceModel& model, std::string_view where) {
  const auto index = IndexVocabulary(model.pieces, where);
  if (!index) return index.error();
  if (model.unknown < 0 || static_cast<std::size_t>(model.unknown) >= model.pieces.size()) model.unknown = -1;
  if (model.model_type == ModelType::kUnigram) {
    const std::vector<double> scores(model.scores.begin(), model.scores.end());
    return Tokenization(Unigram{model.pieces, scores, model.unknown, model.byte_fallback});
  }
  std::vector<bool> joins;
  for (const PieceType type : model.types) joins.push_back(type == PieceType::kNormal || type == PieceType::kUnused);
  auto merges = MergesFromScores(model.pieces, model.scores, joins, MergeWays::kLongerLeftFirst, *index, where);
  if (!merges) return merges.error();
  return Tokenization(CharacterBpe{model.pieces, std::move(*merges), model.unknown, true, model.byte_fallback, false});
}

void ReplaceSpaceCharacters(std::string& text) {
  for (std::size_t at = text.find(kSpaceCharacter); at != std::string::npos; at = text.find(kSpaceCharacter, at + 1)) {
    text.replace(at, kSpaceCharacter.size(), " ");
  }
}

}  // namespace

Result<TokenizerSpec> SpecFromSentencePiece(std::string_view bytes, std::string_view tokenizer_config_json,
                                            std::string_view where) {
  auto config = ParseTokenizerConfig(tokenizer_config_json, where);
  if (!config) return config.error();
  auto model = ReadSentencePieceModel(bytes, where);
  if (!model) return model.error();
  if (auto status = CheckOptions(*model, where); !status) return status.error();
  auto legacy = FlagOf(*config, "legacy", true, where);
  if (!legacy) return legacy.error();
  TokenizerSpec spec;
  for (std::size_t id = 0; id < model->pieces.size(); ++id) {
    const PieceType type = model->types[id];
    if (type != PieceType::kUnknown && type != PieceType::kControl && type != PieceType::kUserDefined) continue;
    // These are searched in the text as it is, where white space is not escaped.
    if (type == PieceType::kUserDefined) ReplaceSpaceCharacters(model->pieces[id]);
    AddedToken token;
    token.content = model->pieces[id];
    token.id = static_cast<std::int32_t>(id);
    token.special = type != PieceType::kUserDefined;
    spec.added.push_back(std::move(token));
  }
  if (!model->precompiled_charsmap.empty()) spec.normalizer.emplace_back(PrecompiledStep{model->precompiled_charsmap});
  AddPrefixSteps(*model, *legacy, spec);
  if (auto status = KindOf(*model, where).MoveTo(spec.kind); !status) return status.error();
  const auto named = [&](std::int32_t id) {
    return id >= 0 && static_cast<std::size_t>(id) < model->pieces.size() ? id : -1;
  };
  spec.bos = named(model->bos);
  spec.eos = named(model->eos);
  spec.unknown = named(model->unknown);
  spec.padding = named(model->padding);
  spec.adds_bos = spec.bos >= 0;
  if (auto status = ApplyAddedTokensDecoder(*config, where, spec); !status) return status.error();
  if (auto status = ApplyTokenizerConfig(*config, where, spec); !status) return status.error();
  return spec;
}

}  // namespace marlin
