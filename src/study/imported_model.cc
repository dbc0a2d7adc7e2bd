#include "study/imported_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "files/quantized_layout.h"
#include "model/open_model.h"

namespace marlin {
namespace {

// Text whose tokens are compared: enough to meet every habit of a tokenizer, little enough to cost nothing.
constexpr std::size_t kComparedBytes = std::size_t{64} << 10;
// 16-bit types round a norm by at most 2^-9 of itself, and twice when it went through both.
constexpr double kNormTolerance = 1.0 / 128;
// Two bits per weight still leave a cosine above 0.9, and so do scaled channels; weights of another model have about 0.
constexpr double kLeastLikeness = 0.5;
constexpr std::size_t kComparedRows = 64;

Error Differs(const ImportRequest& request, const std::string& where) {
  return {ErrorCode::kInput,
          fmt::format("{} was not made from this model: {}; import a file that was quantized from the same base",
                      request.file.string(), where)};
}

// The sizes that an import shares with its base, by name.
std::vector<std::pair<const char*, std::size_t>> SizesOf(const Description& d) {
  const Dimensions dimensions = DimensionsOf(d);
  return {{"vocabulary", d.vocab_size},
          {"hidden size", d.hidden_size},
          {"layers", d.blocks.size()},
          {"heads", dimensions.heads},
          {"key-value heads", dimensions.kv_heads},
          {"head dimension", dimensions.head_dim},
          {"intermediate size", dimensions.intermediate_size}};
}

Status CompareShapes(const ImportRequest& request, const Description& got, const Description& want) {
  const auto got_sizes = SizesOf(got);
  const auto want_sizes = SizesOf(want);
  for (std::size_t i = 0; i < got_sizes.size(); ++i) {
    if (got_sizes[i] == want_sizes[i]) continue;
    return Differs(request,
                   fmt::format("{} {}, want {}", got_sizes[i].first, got_sizes[i].second, want_sizes[i].second));
  }
  if (got.architecture == want.architecture) return {};
  return Differs(request, fmt::format("architecture {}, want {}", got.architecture, want.architecture));
}

// Whole characters only.
std::string_view Start(std::string_view text) {
  if (text.size() <= kComparedBytes) return text;
  std::size_t end = kComparedBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

Status CompareTokens(const ImportRequest& request, const Checkpoint& imported, const Tokenizer& want,
                     std::string_view text) {
  if (text.empty()) return {};
  const auto tokenizer = Tokenizer::FromCheckpoint(imported);
  if (!tokenizer) return tokenizer.error();
  const auto a = MakeTokenStream(*tokenizer, Start(text));
  const auto b = MakeTokenStream(want, Start(text));
  if (!a) return a.error();
  if (!b) return b.error();
  const auto [x, y] = std::ranges::mismatch(a->tokens, b->tokens);
  if (x == a->tokens.end() && y == b->tokens.end()) return {};
  return Differs(request, fmt::format("its tokenizer splits the evaluation text differently from token {} on",
                                      x - a->tokens.begin()));
}

Result<std::vector<float>> ValuesOf(const Checkpoint& checkpoint, const std::string& name) {
  const Tensor* tensor = checkpoint.Find(name);
  if (tensor == nullptr) {
    return Error{ErrorCode::kInput, fmt::format("{}: tensor {} is missing", checkpoint.path.string(), name)};
  }
  std::vector<float> values(tensor->rows() * tensor->cols());
  if (auto status = DecodeRows(*tensor, 0, {values.data(), tensor->rows(), tensor->cols()}); !status) {
    return status.error();
  }
  return values;
}

// The weight of the final norm.
Status CompareNorms(const ImportRequest& request, const Checkpoint& imported, const Checkpoint& base,
                    const Description& d) {
  const std::string& name = d.NameOf(d.vectors[*d.norms[d.final_norm].weight].source);
  const auto got = ValuesOf(imported, name);
  if (!got) return got.error();
  const auto want = ValuesOf(base, name);
  if (!want) return want.error();
  for (std::size_t i = 0; i < std::min(got->size(), want->size()); ++i) {
    const double difference = std::abs(double{(*got)[i]} - (*want)[i]);
    if (difference <= kNormTolerance * std::abs((*want)[i]) + 1e-6) continue;
    return Differs(request, fmt::format("{} at {} is {}, want {}", name, i, (*got)[i], (*want)[i]));
  }
  return {};
}

// Cosine of the angle between the first rows of two tensors.
Result<double> Likeness(const Tensor& a, const Tensor& b) {
  const std::size_t rows = std::min(a.rows(), kComparedRows);
  std::vector<float> x(rows * a.cols());
  std::vector<float> y(x.size());
  if (auto status = DecodeRows(a, 0, {x.data(), rows, a.cols()}); !status) return status.error();
  if (auto status = DecodeRows(b, 0, {y.data(), rows, a.cols()}); !status) return status.error();
  double xy = 0;
  double xx = 0;
  double yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += double{x[i]} * y[i];
    xx += double{x[i]} * x[i];
    yy += double{y[i]} * y[i];
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0.0;
}

// The embedding, and the last matrix of the first block: one that no file permutes.
Status CompareWeights(const ImportRequest& request, const Checkpoint& imported, const Checkpoint& base,
                      const Description& d) {
  for (const std::string& stem : {d.matrices[d.embedding].name, d.blocks[0].matrices.back().name}) {
    const Tensor* got = imported.Find(WeightName(stem));
    const Tensor* want = base.Find(WeightName(stem));
    if (got == nullptr || want == nullptr || got->shape != want->shape) continue;
    const auto likeness = Likeness(*got, *want);
    if (!likeness) return likeness.error();
    if (*likeness >= kLeastLikeness) continue;
    return Differs(request, fmt::format("{}.weight differs in direction (cosine {:.2f}, want at least {})", stem,
                                        *likeness, kLeastLikeness));
  }
  return {};
}

bool IsPlain(DType type) { return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16; }

void Measure(ImportedModel& model, const Description& d) {
  for (const Tensor& tensor : model.checkpoint.tensors) {
    model.model_bytes += tensor.byte_size();
    if (IsPlain(tensor.dtype)) continue;
    model.quantized_bytes += tensor.byte_size();
    model.quantized_parameters += tensor.rows() * tensor.cols();
    model.quantized_embeddings |= tensor.name == d.NameOf(d.matrices[d.embedding].source);
    model.quantized_head |= !d.tied_head() && tensor.name == d.NameOf(d.matrices[d.head].source);
  }
}

}  // namespace

Result<ImportedModel> OpenImport(const ImportRequest& request, const Checkpoint& base, const Description& description,
                                 const Tokenizer& tokenizer, std::string_view text) {
  auto opened = OpenModel(request.file, AcceptedNames(request.accept_unknown));
  if (!opened) return opened.error();
  Checkpoint* const checkpoint = &opened->checkpoint;
  if (checkpoint->container != Container::kGguf) {
    return Error{ErrorCode::kInput,
                 fmt::format("{} is not a GGUF file; only GGUF files can be imported", request.file.string())};
  }
  if (auto status = CompareShapes(request, opened->description, description); !status) return status.error();
  if (auto status = CompareTokens(request, *checkpoint, tokenizer, text); !status) return status.error();
  if (auto status = CompareNorms(request, *checkpoint, base, description); !status) return status.error();
  if (auto status = CompareWeights(request, *checkpoint, base, description); !status) return status.error();
  auto sha256 = HashCheckpoint(*checkpoint);
  if (!sha256) return sha256.error();
  ImportedModel model;
  model.path = request.file;
  model.name = request.name.empty() ? request.file.stem().string() : request.name;
  model.source_type = SourceType(*checkpoint);
  model.sha256 = std::move(*sha256);
  model.checkpoint = std::move(*checkpoint);
  Measure(model, description);
  if (model.quantized_parameters == 0) {
    return Error{ErrorCode::kInput, fmt::format("{} holds no quantized tensor", request.file.string())};
  }
  return model;
}

}  // namespace marlin
