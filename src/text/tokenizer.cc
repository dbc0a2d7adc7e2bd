#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <utility>
#include <variant>

#include "base/file.h"
#include "base/open_file.h"
#include "files/checkpoint.h"
#include "files/gguf.h"
#include "text/added_tokens.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_model.h"
#include "text/tokenizer_spec.h"
#include "text/tokenizer_tekken.h"
#include "text/unicode.h"
#include "text/word_cache.h"

namespace marlin {
namespace {

constexpr std::size_t kLongestTokenizerFile_bytes = std::size_t{1} << 30;

// The files of a tokenizer in a folder, the best first.
constexpr std::array kTokenizerNames = {"tokenizer.json", "tekken.json", "tokenizer.model"};

// One for each kind of tokenization.
using Encoder = std::variant<ByteLevelBpeEncoder, CharacterBpeEncoder, UnigramEncoder>;

// The steps before the model.
struct Preparation {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
};

Result<Preparation> PreparationOf(const TokenizerSpec& spec, std::string_view where) {
  const auto located = [&](const Error& error) {
    return Error{error.code, fmt::format("{}: {}", where, error.message)};
  };
  auto normalizer = Normalizer::Create(spec.normalizer);
  if (!normalizer) return located(normalizer.error());
  const auto bytes = std::visit([](const auto& kind) { return kind.kBytes; }, spec.kind);
  auto pre_tokenizer = PreTokenizer::Create(spec.pre_tokenizer, bytes);
  if (!pre_tokenizer) return located(pre_tokenizer.error());
  return Preparation{std::move(*normalizer), std::move(*pre_tokenizer)};
}

Result<AddedTokenMatcher> MatcherOf(const TokenizerSpec& spec, bool normalized, const Normalizer& normalizer) {
  std::vector<AddedToken> tokens;
  Regex::Workspace workspace;
  for (AddedToken token : spec.added) {
    if (token.normalized != normalized) continue;
    if (normalized) {
      auto content = normalizer.Apply(token.content, workspace);
      if (!content) return content.error();
      if (*content) token.content = std::move(**content);
    }
    const std::size_t size = token.content.size();
    if (size > 0 && size <= AddedTokenMatcher::kLongest_bytes) tokens.push_back(std::move(token));
  }
  return AddedTokenMatcher(std::move(tokens));
}

// The bytes of each id.
std::vector<std::string> PiecesOf(const TokenizerSpec& spec) {
  std::vector<std::string> pieces(spec.size());
  std::visit(
      [&](const auto& kind) {
        for (std::size_t id = 0; id < kind.vocabulary.size(); ++id) pieces[id] = BytesOf(kind, spec.decoder, id);
      },
      spec.kind);
  for (const AddedToken& token : spec.added) pieces[static_cast<std::size_t>(token.id)] = token.content;
  return pieces;
}

// Encodes the words of one text. The ids of words seen before are copied.
template <class KindEncoder>
class WordEncoding {
 public:
  // Both outlive this object. Others may append to `ids` too.
  WordEncoding(const KindEncoder& encoder, std::vector<std::int32_t>& ids)
      : encoder_(encoder), ids_(ids), cache_(ids) {}

  // Appends the ids of words, which outlive this object.
  Status Add(std::vector<std::string_view>& words) {
    encoder_.Divide(words);
    for (const std::string_view word : words) {
      if (auto status = AddWord(word); !status) return status;
    }
    return {};
  }

 private:
  Status AddWord(std::string_view word) {
    if (word.size() > WordCache::kLongest_bytes) return encoder_.Encode(word, workspace_, ids_);
    if (cache_.Append(word)) return {};
    const std::size_t place = ids_.size();
    if (auto status = encoder_.Encode(word, workspace_, ids_); !status) return status;
    cache_.Add(word, place);
    return {};
  }

  const KindEncoder& encoder_;
  std::vector<std::int32_t>& ids_;
  typename KindEncoder::Workspace workspace_;
  WordCache cache_;
};

}  // namespace

struct Tokenizer::Impl {
  TokenizerSpec spec;
  std::string json_text;  // empty when the tokenizer did not come from Hugging Face's files
  std::string config_text;
  std::string sha256;
  Preparation preparation;
  Encoder encoder;
  AddedTokenMatcher raw_added;         // matched in the text as given
  AddedTokenMatcher normalized_added;  // matched after normalization
  std::vector<std::string> pieces;

  static Result<std::unique_ptr<Impl>> Make(TokenizerSpec spec, std::string_view where) {
    auto index = IndexVocabulary(spec.vocabulary(), where);
    if (!index) return index.error();
    if (auto status = CheckSpec(spec, *index, where); !status) return status.error();
    auto preparation = PreparationOf(spec, where);
    if (!preparation) return preparation.error();
    auto raw = MatcherOf(spec, false, preparation->normalizer);
    if (!raw) return raw.error();
    auto normalized = MatcherOf(spec, true, preparation->normalizer);
    if (!normalized) return normalized.error();
    Encoder encoder = std::visit([&](const auto& kind) { return Encoder(EncoderOf(kind, *index)); }, spec.kind);
    std::vector<std::string> pieces = PiecesOf(spec);
    std::string hash = HashOfSpec(spec);
    return std::make_unique<Impl>(Impl{std::move(spec),
                                       {},
                                       {},
                                       std::move(hash),
                                       std::move(*preparation),
                                       std::move(encoder),
                                       std::move(*raw),
                                       std::move(*normalized),
                                       std::move(pieces)});
  }

  // Appends the ids of a text. KindEncoder is an alternative of Encoder.
  template <class KindEncoder>
  Status Encode(const KindEncoder& by, std::string_view text, bool parse_special,
                std::vector<std::int32_t>& ids) const {
    std::deque<std::string> kept;  // stable addresses: the encoding points into it
    std::vector<std::string_view> words;
    Regex::Workspace workspace;
    WordEncoding<KindEncoder> encoding(by, ids);
    for (const auto& piece : raw_added.Split(text, parse_special)) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
        continue;
      }
      auto changed = preparation.normalizer.Apply(piece.text, workspace);
      if (!changed) return changed.error();
      const std::string_view normalized = *changed ? kept.emplace_back(std::move(**changed)) : piece.text;
      for (const auto& part : normalized_added.Split(normalized, parse_special)) {
        if (part.id >= 0) {
          ids.push_back(part.id);
          continue;
        }
        const bool at_start = piece.text.data() == text.data() && part.text.data() == normalized.data();
        auto status = preparation.pre_tokenizer.Split(part.text, at_start, workspace, kept, words);
        if (status) status = encoding.Add(words);
        if (!status) return status;
      }
    }
    return {};
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::FromSpec(Result<TokenizerSpec> spec, std::string_view where) {
  if (!spec) return spec.error();
  auto impl = Impl::Make(std::move(*spec), where);
  if (!impl) return impl.error();
  return Tokenizer(std::move(*impl));
}

Result<Tokenizer> Tokenizer::FromHuggingFace(std::string_view tokenizer_json, std::string_view tokenizer_config_json,
                                             std::string_view where) {
  auto tokenizer = FromSpec(SpecFromTokenizerJson(tokenizer_json, tokenizer_config_json, where), where);
  if (!tokenizer) return tokenizer;
  tokenizer->impl_->json_text = tokenizer_json;
  tokenizer->impl_->config_text = tokenizer_config_json;
  return tokenizer;
}

Result<Tokenizer> Tokenizer::FromTekken(std::string_view tekken_json, std::string_view tokenizer_config_json,
                                        std::string_view where) {
  return FromSpec(SpecFromTekken(tekken_json, tokenizer_config_json, where), where);
}

Result<Tokenizer> Tokenizer::FromSentencePiece(std::string_view model, std::string_view tokenizer_config_json,
                                               std::string_view where) {
  return FromSpec(SpecFromSentencePiece(model, tokenizer_config_json, where), where);
}

Result<Tokenizer> Tokenizer::FromGguf(const std::filesystem::path& path) {
  auto file = GgufFile::Open(path);
  if (!file) return file.error();
  return FromGguf(*file);
}

Result<Tokenizer> Tokenizer::FromGguf(const GgufFile& file) {
  const std::string where = file.file.path().string();
  return FromSpec(SpecFromGguf(file, where), where);
}

Result<Tokenizer> Tokenizer::FromCheckpoint(const Checkpoint& checkpoint) {
  if (checkpoint.container == Container::kGguf) return FromGguf(checkpoint.path);
  using Reader = Result<Tokenizer> (*)(std::string_view, std::string_view, std::string_view);
  constexpr std::array<Reader, kTokenizerNames.size()> kReaders = {&FromHuggingFace, &FromTekken, &FromSentencePiece};
  const std::filesystem::path config_path = checkpoint.path / "tokenizer_config.json";
  for (std::size_t i = 0; i < kReaders.size(); ++i) {
    const std::filesystem::path path = checkpoint.path / kTokenizerNames[i];
    if (!IsListed(path)) continue;
    auto bytes = ReadFile(path, kLongestTokenizerFile_bytes);
    if (!bytes) return bytes.error();
    std::string config_text;
    if (IsListed(config_path)) {
      if (auto status = ReadFile(config_path, kLongestTokenizerFile_bytes).MoveTo(config_text); !status)
        return status.error();
    }
    return kReaders[i](*bytes, config_text, path.string());
  }
  return Error{ErrorCode::kInput,
               fmt::format("{} has no tokenizer.json, tekken.json or tokenizer.model; download one of "
                           "them into the folder (the older vocab.json and merges.txt are not read)",
                           checkpoint.path.string())};
}

bool Tokenizer::IsThere(const Checkpoint& checkpoint) {
  if (checkpoint.container != Container::kGguf) {
    return std::ranges::any_of(kTokenizerNames, [&](const char* name) { return IsListed(checkpoint.path / name); });
  }
  const auto file = GgufFile::Open(checkpoint.path);
  if (!file) return false;
  const auto model = file->Find<std::string_view>("tokenizer.ggml.model");
  return !model || (*model != nullptr && **model != kNoGgufTokenizer);
}

Result<std::vector<std::int32_t>> Tokenizer::Encode(std::string_view text, bool parse_special) const {
  if (const auto bad = FindInvalidUtf8(text)) {
    return Error{ErrorCode::kInput, fmt::format("the text is not UTF-8 at byte {}; convert it to UTF-8", *bad)};
  }
  std::vector<std::int32_t> ids;
  const Status status =
      std::visit([&](const auto& by) { return impl_->Encode(by, text, parse_special, ids); }, impl_->encoder);
  if (!status) return status.error();
  return ids;
}

std::string Tokenizer::Decode(std::span<const std::int32_t> ids) const {
  std::string text;
  for (const std::int32_t id : ids) {
    if (id >= 0 && static_cast<std::size_t>(id) < impl_->pieces.size())
      text += impl_->pieces[static_cast<std::size_t>(id)];
  }
  return text;
}

std::string_view Tokenizer::kind() const {
  return std::visit([](const auto& kind) { return kind.kName; }, impl_->spec.kind);
}
std::size_t Tokenizer::vocab_size() const { return impl_->pieces.size(); }
bool Tokenizer::adds_bos() const { return impl_->spec.adds_bos; }
std::int32_t Tokenizer::bos() const { return impl_->spec.bos; }
std::vector<std::int32_t> Tokenizer::prefix() const {
  if (!adds_bos()) return {};
  std::vector<std::int32_t> ids = impl_->spec.before_bos;
  ids.push_back(bos());
  return ids;
}
std::int32_t Tokenizer::eos() const { return impl_->spec.eos; }
const TokenizerSpec& Tokenizer::spec() const { return impl_->spec; }
const std::string& Tokenizer::sha256() const { return impl_->sha256; }

std::string Tokenizer::ToHuggingFaceJson() const {
  return impl_->json_text.empty() ? WriteTokenizerJson(impl_->spec) : impl_->json_text;
}

std::string Tokenizer::ToHuggingFaceConfigJson() const {
  return impl_->json_text.empty() ? WriteTokenizerConfigJson(impl_->spec) : impl_->config_text;
}

}  // namespace marlin
