// The file tokenizer.model of SentencePiece: a message of protocol buffers. Only the fields that decide tokens are
// kept.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace marlin {

struct SentencePieceModel {
  enum class PieceType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  enum class ModelType { kUnigram = 1, kBpe = 2, kWord = 3, kCharacter = 4 };

  // By id.
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<PieceType> types;

  // Of the trainer. Negative ids name no piece.
  ModelType model_type = ModelType::kUnigram;
  bool split_by_whitespace = true;
  bool treat_whitespace_as_suffix = false;
  bool byte_fallback = false;
  std::int32_t unknown = 0;
  std::int32_t bos = 1;
  std::int32_t eos = 2;
  std::int32_t padding = -1;

  // Of the normalizer.
  std::string precompiled_charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

// `bytes` of the file that `where` names. Errors: kInput (cut short, not such a message, pieces that are not UTF-8,
// scores that are not finite).
Result<SentencePieceModel> ReadSentencePieceModel(std::string_view bytes, std::string_view where);

}  // namespace marlin
