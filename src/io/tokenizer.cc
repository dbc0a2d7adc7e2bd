#include "io/tokenizer.h"

#include <fmt/format.h>

#include <deque>
#include <unordered_map>
#include <utility>

#include "base/file.h"
#include "base/open_file.h"
#include "io/added_tokens.h"
#include "io/bpe.h"
#include "io/byte_alphabet.h"
#include "io/checkpoint.h"
#include "io/gguf.h"
#include "io/pre_tokenizer.h"
#include "io/tokenizer_gguf.h"
#include "io/tokenizer_json.h"
#include "io/tokenizer_spec.h"
#include "io/unicode.h"

namespace marlin {
namespace {

constexpr std::size_t kLongestTokenizerFile_bytes = std::size_t{1} << 30;
constexpr std::size_t kLongestCachedWord_bytes = 64;
constexpr std::size_t kMostCachedWords = std::size_t{1} << 18;  // about 20 MB

AddedTokenMatcher MatcherOf(const TokenizerSpec& spec, bool normalized) {
  std::vector<AddedToken> tokens;
  for (AddedToken token : spec.added) {
    if (token.normalized != normalized) continue;
    if (normalized && spec.nfc) token.content = NormalizeNfc(token.content);
    if (token.content.size() <= AddedTokenMatcher::kLongest_bytes) tokens.push_back(std::move(token));
  }
  return AddedTokenMatcher(std::move(tokens));
}

Bpe BpeOf(const TokenizerSpec& spec, const VocabularyIndex& index) {
  BpeModel model{ByteIds(index), spec.merges, {}};
  if (spec.ignore_merges) {
    for (std::size_t id = 0; id < spec.vocabulary.size(); ++id) {
      const auto bytes = FromByteAlphabet(spec.vocabulary[id]);
      if (bytes) model.whole_words.emplace(*bytes, static_cast<std::int32_t>(id));
    }
  }
  return Bpe(std::move(model));
}

// The bytes of each id.
std::vector<std::string> PiecesOf(const TokenizerSpec& spec) {
  std::vector<std::string> pieces(spec.size());
  for (std::size_t id = 0; id < spec.vocabulary.size(); ++id) {
    pieces[id] = FromByteAlphabet(spec.vocabulary[id]).value_or(spec.vocabulary[id]);
  }
  for (const AddedToken& token : spec.added) pieces[static_cast<std::size_t>(token.id)] = token.content;
  return pieces;
}

// Encodes one text. The ids of words seen before are copied from the output.
class Encoding {
 public:
  Encoding(const PreTokenizer& pre_tokenizer, const Bpe& bpe) : pre_tokenizer_(pre_tokenizer), bpe_(bpe) {}

  // Keeps a text that later pieces point into.
  std::string_view Keep(std::string text) { return kept_.emplace_back(std::move(text)); }

  Status Add(std::string_view text) {
    if (auto status = pre_tokenizer_.Split(text, regex_, kept_.emplace_back(), words_); !status) return status;
    if (kept_.back().empty()) kept_.pop_back();
    for (const std::string_view word : words_) {
      if (word.size() > Bpe::kLongestWord_bytes) {
        return Error{ErrorCode::kUnsupported, fmt::format("a word of {} bytes; the longest supported has {}",
                                                          word.size(), Bpe::kLongestWord_bytes)};
      }
      AddWord(word);
    }
    return {};
  }

  void AddId(std::int32_t id) { ids_.push_back(id); }
  std::vector<std::int32_t> Take() { return std::move(ids_); }

 private:
  struct Span {
    std::size_t begin;
    std::size_t size;
  };

  void AddWord(std::string_view word) {
    if (word.size() > kLongestCachedWord_bytes) return bpe_.Encode(word, workspace_, ids_);
    if (cache_.size() >= kMostCachedWords) cache_.clear();
    const auto [entry, is_new] = cache_.try_emplace(word, Span{ids_.size(), 0});
    if (is_new) {
      bpe_.Encode(word, workspace_, ids_);
      entry->second.size = ids_.size() - entry->second.begin;
      return;
    }
    for (std::size_t i = 0; i < entry->second.size; ++i) {
      const std::int32_t id = ids_[entry->second.begin + i];
      ids_.push_back(id);
    }
  }

  const PreTokenizer& pre_tokenizer_;
  const Bpe& bpe_;
  Regex::Workspace regex_;
  Bpe::Workspace workspace_;
  std::deque<std::string> kept_;  // stable addresses: words and cache keys point into it
  std::vector<std::string_view> words_;
  std::unordered_map<std::string_view, Span> cache_;
  std::vector<std::int32_t> ids_;
};

}  // namespace

struct Tokenizer::Impl {
  TokenizerSpec spec;
  std::string json_text;  // empty when the tokenizer did not come from Hugging Face's files
  std::string config_text;
  std::string sha256;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  AddedTokenMatcher raw_added;         // matched in the text as given
  AddedTokenMatcher normalized_added;  // matched after normalization
  std::vector<std::string> pieces;

  static Result<std::unique_ptr<Impl>> Make(TokenizerSpec spec, std::string_view where) {
    auto index = IndexVocabulary(spec.vocabulary, where);
    if (!index) return index.error();
    if (auto status = CheckSpec(spec, *index, where); !status) return status.error();
    auto pre_tokenizer = PreTokenizer::Create(spec.steps);
    if (!pre_tokenizer) {
      return Error{pre_tokenizer.error().code, fmt::format("{}: {}", where, pre_tokenizer.error().message)};
    }
    Bpe bpe = BpeOf(spec, *index);
    AddedTokenMatcher raw = MatcherOf(spec, false);
    AddedTokenMatcher normalized = MatcherOf(spec, true);
    std::vector<std::string> pieces = PiecesOf(spec);
    std::string hash = HashOfSpec(spec);
    return std::make_unique<Impl>(Impl{std::move(spec),
                                       {},
                                       {},
                                       std::move(hash),
                                       std::move(*pre_tokenizer),
                                       std::move(bpe),
                                       std::move(raw),
                                       std::move(normalized),
                                       std::move(pieces)});
  }

  Status EncodeNormalized(std::string_view text, bool parse_special, Encoding& encoding) const {
    for (const auto& piece : normalized_added.Split(text, parse_special)) {
      if (piece.id >= 0) {
        encoding.AddId(piece.id);
      } else if (auto status = encoding.Add(piece.text); !status) {
        return status;
      }
    }
    return {};
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::FromHuggingFace(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                                             std::string_view where) {
  auto spec = SpecFromTokenizerJson(tokenizer_json, tokenizer_config_json, where);
  if (!spec) return spec.error();
  auto impl = Impl::Make(std::move(*spec), where);
  if (!impl) return impl.error();
  (*impl)->json_text = tokenizer_json;
  (*impl)->config_text = tokenizer_config_json;
  return Tokenizer(std::move(*impl));
}

Result<Tokenizer> Tokenizer::FromGguf(const std::filesystem::path& path) {
  auto file = GgufFile::Open(path);
  if (!file) return file.error();
  auto spec = SpecFromGguf(*file, path.string());
  if (!spec) return spec.error();
  auto impl = Impl::Make(std::move(*spec), path.string());
  if (!impl) return impl.error();
  return Tokenizer(std::move(*impl));
}

Result<Tokenizer> Tokenizer::FromCheckpoint(const Checkpoint& checkpoint) {
  if (checkpoint.container == Container::kGguf) return FromGguf(checkpoint.path);
  const std::filesystem::path json_path = checkpoint.path / "tokenizer.json";
  const std::filesystem::path config_path = checkpoint.path / "tokenizer_config.json";
  if (!IsListed(json_path)) {
    return Error{ErrorCode::kInput, fmt::format("{} has no tokenizer.json; the older vocab.json, merges.txt and "
                                                "tokenizer.model are not read. Download tokenizer.json into the folder",
                                                checkpoint.path.string())};
  }
  auto json_text = ReadFile(json_path, kLongestTokenizerFile_bytes);
  if (!json_text) return json_text.error();
  std::string config_text;
  if (IsListed(config_path)) {
    auto read = ReadFile(config_path, kLongestTokenizerFile_bytes);
    if (!read) return read.error();
    config_text = std::move(*read);
  }
  return FromHuggingFace(*json_text, config_text, json_path.string());
}

Result<std::vector<std::int32_t>> Tokenizer::Encode(std::string_view text, bool parse_special) const {
  if (const auto bad = FindInvalidUtf8(text)) {
    return Error{ErrorCode::kInput, fmt::format("the text is not UTF-8 at byte {}; convert it to UTF-8", *bad)};
  }
  Encoding encoding(impl_->pre_tokenizer, impl_->bpe);
  for (const auto& piece : impl_->raw_added.Split(text, parse_special)) {
    if (piece.id >= 0) {
      encoding.AddId(piece.id);
      continue;
    }
    const std::string_view normalized = impl_->spec.nfc ? encoding.Keep(NormalizeNfc(piece.text)) : piece.text;
    if (auto status = impl_->EncodeNormalized(normalized, parse_special, encoding); !status) return status.error();
  }
  return encoding.Take();
}

std::string Tokenizer::Decode(std::span<const std::int32_t> ids) const {
  std::string text;
  for (const std::int32_t id : ids) {
    if (id >= 0 && static_cast<std::size_t>(id) < impl_->pieces.size())
      text += impl_->pieces[static_cast<std::size_t>(id)];
  }
  return text;
}

std::size_t Tokenizer::vocab_size() const { return impl_->pieces.size(); }
bool Tokenizer::adds_bos() const { return impl_->spec.adds_bos; }
std::int32_t Tokenizer::bos() const { return impl_->spec.bos; }
std::int32_t Tokenizer::eos() const { return impl_->spec.eos; }
const std::string& Tokenizer::sha256() const { return impl_->sha256; }

std::string Tokenizer::ToHuggingFaceJson() const {
  return impl_->json_text.empty() ? WriteTokenizerJson(impl_->spec) : impl_->json_text;
}

std::string Tokenizer::ToHuggingFaceConfigJson() const {
  return impl_->json_text.empty() ? WriteTokenizerConfigJson(impl_->spec) : impl_->config_text;
}

}  // namespace marlin
