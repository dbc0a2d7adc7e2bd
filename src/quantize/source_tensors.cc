#include "quantize/source_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/half.h"
#include "formats/formats.h"
#include "io/quantized_layout.h"

namespace marlin {
namespace {

// 16 bits for values that have no format of their own.
const FormatRow& FormatFor(std::span<const float> values) {
  const bool fits = std::ranges::all_of(values, [](float value) { return std::abs(value) <= kHalfMax; });
  return *FindFormat(fits ? "fp16" : "bf16");
}

}  // namespace

SourceTensors::SourceTensors(const Checkpoint& checkpoint, const ModelConfig& config, ThreadPool& pool)
    : checkpoint_(&checkpoint), config_(&config), pool_(&pool) {}

void SourceTensors::ListPlaces() {
  const ModelConfig& c = *config_;
  struct Rotations {
    RotatedBy rows, cols;
    std::optional<Norm> norm;
  };
  constexpr Rotations kReads = {RotatedBy::kNone, RotatedBy::kResidual, kAttentionNorm};
  constexpr Rotations kReadsMlp = {RotatedBy::kNone, RotatedBy::kResidual, kMlpNorm};
  constexpr Rotations kRotations[kSlots] = {kReads,                                                     // q
                                            kReads,                                                     // k
                                            {RotatedBy::kHeads, RotatedBy::kResidual, kAttentionNorm},  // v
                                            {RotatedBy::kResidual, RotatedBy::kHeads, std::nullopt},    // o
                                            kReadsMlp,                                                  // gate
                                            kReadsMlp,                                                  // up
                                            {RotatedBy::kResidual, RotatedBy::kNone, std::nullopt}};    // down
  for (std::size_t layer = 0; layer < c.layers; ++layer) {
    for (const Norm norm : {kAttentionNorm, kMlpNorm}) {
      places_[NormName(layer, norm)] = {1, c.hidden_size, RotatedBy::kNone, RotatedBy::kNone, "", true};
    }
    for (std::size_t s = 0; s < kSlots; ++s) {
      const std::string stem = LinearStem(layer, static_cast<Slot>(s));
      const Rotations& rotated = kRotations[s];
      const std::size_t rows = kLinearSlots[s].rows(c);
      places_[WeightName(stem)] = {
          rows, kLinearSlots[s].cols(c), rotated.rows, rotated.cols, rotated.norm ? NormName(layer, *rotated.norm) : "",
          false};
      if (c.HasBias(layer, static_cast<Slot>(s))) places_[stem + ".bias"] = {1, rows, RotatedBy::kNone, rotated.rows};
    }
  }
  places_[WeightName(kEmbeddingStem)] = {c.vocab_size, c.hidden_size, RotatedBy::kNone, RotatedBy::kResidual};
  places_[kFinalNormName] = {1, c.hidden_size, RotatedBy::kNone, RotatedBy::kNone, "", !c.tied_head};
  if (c.tied_head) return;
  places_[WeightName(kHeadStem)] = {c.vocab_size, c.hidden_size, RotatedBy::kNone, RotatedBy::kResidual,
                                    kFinalNormName};
}

Status SourceTensors::CreateRotations(std::uint64_t seed) {
  heads_.emplace(config_->head_dim, seed + 1);
  if (config_->tied_head) {
    const auto norm = Read(kFinalNormName);
    if (!norm) return norm.error();
    const bool constant = std::ranges::all_of(*norm, [&](float value) { return value == norm->front(); });
    if (!constant) return {};
  }
  residual_.emplace(config_->hidden_size, seed);
  return {};
}

Result<SourceTensors> SourceTensors::Create(const Checkpoint& checkpoint, const ModelConfig& config,
                                            std::optional<std::uint64_t> rotation_seed, ThreadPool& pool) {
  SourceTensors source(checkpoint, config, pool);
  source.ListPlaces();
  if (!rotation_seed) return source;
  if (auto status = source.CreateRotations(*rotation_seed); !status) return status.error();
  return source;
}

const Orthogonal* SourceTensors::Find(RotatedBy rotation) const {
  if (rotation == RotatedBy::kHeads && heads_) return &*heads_;
  if (rotation == RotatedBy::kResidual && residual_) return &*residual_;
  return nullptr;
}

bool SourceTensors::Changes(const Place& place) const {
  return Find(place.rows_rotated_by) != nullptr || Find(place.cols_rotated_by) != nullptr ||
         (place.is_moved && residual_);
}

// The 16-bit values of the original, in fp32.
Result<std::vector<float>> SourceTensors::Read(const std::string& name) const {
  const std::string where = checkpoint_->path.string();
  const Tensor* tensor = checkpoint_->Find(name);
  if (tensor == nullptr) return Error{ErrorCode::kInput, fmt::format("{}: tensor {} is missing", where, name)};
  const auto place = places_.find(name);
  if (place != places_.end() && (tensor->rows() != place->second.rows || tensor->cols() != place->second.cols)) {
    return Error{ErrorCode::kInput,
                 fmt::format("{}: tensor {} has shape [{}, {}], the configuration wants [{}, {}]", where, name,
                             tensor->rows(), tensor->cols(), place->second.rows, place->second.cols)};
  }
  const auto plain = EncodePlain(*tensor, Precision::kSixteenBit, *pool_);
  if (!plain) return Error{plain.error().code, where + ": " + plain.error().message};
  std::vector<float> values(plain->rows * plain->cols);
  pool_->Split(plain->rows, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t r = begin; r < end; ++r) {
      DecodeRow(plain->view(), r, std::span(values).subspan(r * plain->cols, plain->cols));
    }
  });
  return values;
}

Result<std::vector<float>> SourceTensors::Values(const std::string& name) const {
  auto values = Read(name);
  const auto found = places_.find(name);
  if (!values || found == places_.end() || !Changes(found->second)) return values;
  const Place& place = found->second;
  if (place.is_moved) {
    std::ranges::fill(*values, 1.0f);
    return values;
  }
  const MatrixView<float> matrix(values->data(), place.rows, place.cols);
  if (residual_ && !place.norm.empty()) {
    const auto norm = Read(place.norm);
    if (!norm) return norm.error();
    pool_->Split(place.rows, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t r = begin; r < end; ++r) {
        for (std::size_t j = 0; j < place.cols; ++j) matrix.Row(r)[j] *= (*norm)[j];
      }
    });
  }
  if (const Orthogonal* q = Find(place.cols_rotated_by)) RotateColumns(*q, matrix, *pool_);
  if (const Orthogonal* q = Find(place.rows_rotated_by)) RotateRows(*q, matrix, *pool_);
  if (std::ranges::all_of(*values, [](float value) { return std::isfinite(value); })) return values;
  return Error{ErrorCode::kNumerical,
               fmt::format("{}: tensor {} exceeds the range of fp32 when it is rotated; quantize it without a rotation",
                           checkpoint_->path.string(), name)};
}

Result<const FormatRow*> SourceTensors::PlainFormat(const std::string& name) const {
  const auto place = places_.find(name);
  if (place != places_.end() && Changes(place->second) && !place->second.is_moved) {
    const auto values = Values(name);
    if (!values) return values.error();
    return &FormatFor(*values);
  }
  const Tensor* tensor = checkpoint_->Find(name);
  if (tensor == nullptr) {
    return Error{ErrorCode::kInput, fmt::format("{}: tensor {} is missing", checkpoint_->path.string(), name)};
  }
  const auto format = ChoosePlainFormat(*tensor, Precision::kSixteenBit, *pool_);
  if (!format) return Error{format.error().code, checkpoint_->path.string() + ": " + format.error().message};
  return format;
}

Result<EncodedMatrix> SourceTensors::Plain(const std::string& name, const FormatRow& format) const {
  const auto place = places_.find(name);
  const Tensor* tensor = checkpoint_->Find(name);
  if (tensor != nullptr && (place == places_.end() || !Changes(place->second))) {
    auto plain = EncodePlainAs(*tensor, format, *pool_);
    if (!plain) return Error{plain.error().code, checkpoint_->path.string() + ": " + plain.error().message};
    return plain;
  }
  const auto values = Values(name);
  if (!values) return values.error();
  return Encode(format, {values->data(), tensor->rows(), tensor->cols()}, *pool_);
}

Result<std::unique_ptr<Buffer>> SourceTensors::LoadVector(const std::string& name, Backend& backend) const {
  const auto format = PlainFormat(name);
  if (!format) return format.error();
  const auto plain = Plain(name, **format);
  if (!plain) return plain.error();
  std::vector<float> values(plain->cols);
  DecodeRow(plain->view(), 0, values);
  auto buffer = backend.Allocate(values.size());
  if (buffer) backend.Upload(values, (*buffer)->data());
  return buffer;
}

Result<Layer> SourceTensors::LoadLayer(Backend& backend, std::size_t index) const {
  if (!rotated()) return marlin::LoadLayer(*checkpoint_, *config_, backend, Precision::kSixteenBit, index);
  Layer layer;
  for (auto [norm, buffer] : {std::pair{kAttentionNorm, &layer.attention_norm}, std::pair{kMlpNorm, &layer.mlp_norm}}) {
    auto loaded = LoadVector(NormName(index, norm), backend);
    if (!loaded) return loaded.error();
    *buffer = std::move(*loaded);
  }
  for (std::size_t s = 0; s < kSlots; ++s) {
    const std::string stem = LinearStem(index, static_cast<Slot>(s));
    const auto values = Values(WeightName(stem));
    if (!values) return values.error();
    const Place& place = places_.at(WeightName(stem));
    auto weight = backend.Pack(Encode(*FindFormat("fp32"), {values->data(), place.rows, place.cols}, *pool_).view());
    if (!weight) return weight.error();
    layer.linear[s].weight = std::move(*weight);
    if (!config_->HasBias(index, static_cast<Slot>(s))) continue;
    auto bias = LoadVector(stem + ".bias", backend);
    if (!bias) return bias.error();
    layer.linear[s].bias = std::move(*bias);
  }
  return layer;
}

Result<std::unique_ptr<Weight>> SourceTensors::LoadEmbedding(Backend& backend) const {
  if (!rotated()) return marlin::LoadEmbedding(*checkpoint_, *config_, backend, Precision::kSixteenBit);
  const auto values = Values(WeightName(kEmbeddingStem));
  if (!values) return values.error();
  return backend.Pack(
      Encode(FormatFor(*values), {values->data(), config_->vocab_size, config_->hidden_size}, *pool_).view());
}

}  // namespace marlin
