#include "quantize/source_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/half.h"
#include "files/quantized_layout.h"
#include "formats/formats.h"

namespace marlin {
namespace {

// 16 bits for values that have no format of their own.
const FormatRow& FormatFor(std::span<const float> values) {
  const bool fits = std::ranges::all_of(values, [](float value) { return std::abs(value) <= kHalfMax; });
  return *FindFormat(fits ? "fp16" : "bf16");
}

}  // namespace

SourceTensors::SourceTensors(const Checkpoint& checkpoint, const Description& description, ThreadPool& pool)
    : checkpoint_(&checkpoint), description_(&description), pool_(&pool) {}

void SourceTensors::ListMatrix(const Matrix& matrix, const Place& place) {
  places_[description_->NameOf(matrix.source)] = place;
  if (!matrix.bias) return;
  places_[description_->NameOf(*matrix.bias)] = {1, matrix.rows, RotatedBy::kNone, place.rows_rotated_by};
}

void SourceTensors::ListPlaces() {
  const Description& d = *description_;
  const auto name_of = [&](const Parts& parts, std::size_t norm) {
    return d.NameOf(parts.vectors[*parts.norms[norm].weight].source);
  };
  for (const Block& block : d.blocks) {
    std::vector<Place> places;
    for (const Matrix& matrix : block.matrices) {
      places.push_back({matrix.rows, matrix.cols, matrix.adds_to_hidden ? RotatedBy::kResidual : RotatedBy::kNone});
    }
    for (const Input& input : block.inputs) {
      const bool of_heads = input.absorber && input.absorber->is_linear;
      if (of_heads) places[input.absorber->index].rows_rotated_by = RotatedBy::kHeads;
      for (const std::size_t m : input.matrices) {
        if (of_heads) places[m].cols_rotated_by = RotatedBy::kHeads;
        if (!block.ReadsHidden(input)) continue;
        places[m].cols_rotated_by = RotatedBy::kResidual;
        places[m].norm = name_of(block, input.absorber->index);
      }
    }
    for (std::size_t m = 0; m < places.size(); ++m) ListMatrix(block.matrices[m], places[m]);
    for (const std::size_t norm : {block.mixer_norm, block.feed_forward_norm}) {
      places_[name_of(block, norm)] = {1, d.hidden_size, RotatedBy::kNone, RotatedBy::kNone, "", true};
    }
  }
  const std::string final_norm = name_of(d, d.final_norm);
  ListMatrix(d.matrices[d.embedding], {d.vocab_size, d.hidden_size, RotatedBy::kNone, RotatedBy::kResidual});
  places_[final_norm] = {1, d.hidden_size, RotatedBy::kNone, RotatedBy::kNone, "", !d.tied_head()};
  if (d.tied_head()) return;
  ListMatrix(d.matrices[d.head], {d.vocab_size, d.hidden_size, RotatedBy::kNone, RotatedBy::kResidual, final_norm});
}

Status SourceTensors::CreateRotations(std::uint64_t seed) {
  heads_.emplace(DimensionsOf(*description_).head_dim, seed + 1);
  if (description_->tied_head()) {
    const Norm& final_norm = description_->norms[description_->final_norm];
    const auto norm = Read(description_->NameOf(description_->vectors[*final_norm.weight].source));
    if (!norm) return norm.error();
    const bool constant = std::ranges::all_of(*norm, [&](float value) { return value == norm->front(); });
    if (!constant) return {};
  }
  residual_.emplace(description_->hidden_size, seed);
  return {};
}

Result<SourceTensors> SourceTensors::Create(const Checkpoint& checkpoint, const Description& description,
                                            std::optional<std::uint64_t> rotation_seed, ThreadPool& pool) {
  SourceTensors source(checkpoint, description, pool);
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
  const auto tensor = checkpoint_->Get(name);
  if (!tensor) return tensor.error();
  const auto place = places_.find(name);
  if (place != places_.end() && ((*tensor)->rows() != place->second.rows || (*tensor)->cols() != place->second.cols)) {
    return Error{ErrorCode::kInput,
                 fmt::format("{}: tensor {} has shape [{}, {}], the configuration wants [{}, {}]", where, name,
                             (*tensor)->rows(), (*tensor)->cols(), place->second.rows, place->second.cols)};
  }
  const auto plain = EncodePlain(**tensor, Precision::kSixteenBit, *pool_);
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
  const auto tensor = checkpoint_->Get(name);
  if (!tensor) return tensor.error();
  const auto format = ChoosePlainFormat(**tensor, Precision::kSixteenBit, *pool_);
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
  return UploadVector(plain->view(), backend);
}

Result<LoadedParts> SourceTensors::LoadBlock(Backend& backend, std::size_t index) const {
  if (!rotated()) return marlin::LoadBlock(*checkpoint_, *description_, backend, Precision::kSixteenBit, index);
  const Block& block = description_->blocks[index];
  LoadedParts loaded;
  for (const Vector& vector : block.vectors) {
    auto buffer = LoadVector(description_->NameOf(vector.source), backend);
    if (!buffer) return buffer.error();
    loaded.vectors.push_back(std::move(*buffer));
  }
  for (const Matrix& matrix : block.matrices) {
    Linear& linear = loaded.matrices.emplace_back();
    const auto values = Values(description_->NameOf(matrix.source));
    if (!values) return values.error();
    auto weight = backend.Pack(Encode(*FindFormat("fp32"), {values->data(), matrix.rows, matrix.cols}, *pool_).view());
    if (!weight) return weight.error();
    linear.weight = std::move(*weight);
    if (!matrix.bias) continue;
    if (auto status = LoadVector(description_->NameOf(*matrix.bias), backend).MoveTo(linear.bias); !status)
      return status.error();
  }
  return loaded;
}

Result<std::unique_ptr<Weight>> SourceTensors::LoadEmbedding(Backend& backend) const {
  const Matrix& embedding = description_->matrices[description_->embedding];
  if (!rotated()) return LoadMatrix(*checkpoint_, embedding, backend, Precision::kSixteenBit);
  const auto values = Values(description_->NameOf(embedding.source));
  if (!values) return values.error();
  return backend.Pack(Encode(FormatFor(*values), {values->data(), embedding.rows, embedding.cols}, *pool_).view());
}

}  // namespace marlin
