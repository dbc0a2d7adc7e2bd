// Tokenizers, from Hugging Face's tokenizer.json, Mistral's tekken.json, SentencePiece's tokenizer.model or GGUF
// metadata. tokenizer_spec.h lists their kinds.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace marlin {

struct Checkpoint;
struct GgufFile;
struct TokenizerSpec;

class Tokenizer {
 public:
  // From the text of a tokenizer.json and, if there is one, of a tokenizer_config.json (add_bos_token, bos_token);
  // `where` names the file in messages.
  // Errors: kInput (broken), kUnsupported (another kind of tokenizer, a step that is not known; named).
  static Result<Tokenizer> FromHuggingFace(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                                           std::string_view where);
  // From the text of a tekken.json or the bytes of a tokenizer.model, likewise.
  static Result<Tokenizer> FromTekken(std::string_view tekken_json, std::string_view tokenizer_config_json,
                                      std::string_view where);
  static Result<Tokenizer> FromSentencePiece(std::string_view model, std::string_view tokenizer_config_json,
                                             std::string_view where);
  // From the metadata of a GGUF file.
  static Result<Tokenizer> FromGguf(const std::filesystem::path& path);
  static Result<Tokenizer> FromGguf(const GgufFile& file);
  // The tokenizer that belongs to a checkpoint; of a folder tokenizer.json, else tekken.json, else tokenizer.model.
  static Result<Tokenizer> FromCheckpoint(const Checkpoint& checkpoint);
  // Whether a checkpoint has a tokenizer at all, broken or not.
  static bool IsThere(const Checkpoint& checkpoint);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Text (UTF-8) to ids, without BOS. With parse_special, special tokens written in the text become their ids;
  // without, they are text like any other.
  // Errors: kInput for text that is not UTF-8 (says at which byte).
  Result<std::vector<std::int32_t>> Encode(std::string_view text, bool parse_special = false) const;

  // Ids to bytes; a lone token may be a part of a UTF-8 sequence. Ids out of range become nothing.
  std::string Decode(std::span<const std::int32_t> ids) const;

  std::string_view kind() const;  // for people: "byte-level BPE", "SentencePiece-style BPE", "unigram"
  std::size_t vocab_size() const;
  bool adds_bos() const;                     // BOS policy of the model, as in methodology.md
  std::int32_t bos() const;                  // -1 = none
  std::vector<std::int32_t> prefix() const;  // what is put in front of a text: nothing, BOS, or BOS behind others
  std::int32_t eos() const;                  // -1 = none
  const std::string& sha256() const;         // of everything that decides Encode: equal hash, equal ids

  const TokenizerSpec& spec() const;

  // tokenizer.json and tokenizer_config.json that Hugging Face tokenizers load to the same behaviour; the original text
  // when it came from there.
  std::string ToHuggingFaceJson() const;
  std::string ToHuggingFaceConfigJson() const;

 private:
  struct Impl;
  static Result<Tokenizer> FromSpec(Result<TokenizerSpec> spec, std::string_view where);
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace marlin
