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

// Whether its weight can move into the matrices behind it.
bool CanMove(const Norm& norm) { return norm.kind == NormKind::kRms && norm.weight && !norm.bias; }

// The size of heads whose values can be rotated, where all blocks agree.
std::optional<std::size_t> RotatableHeads(const Description& description) {
  std::optional<std::size_t> head_dim;
  for (const Block& block : description.blocks) {
    const auto* attention = std::get_if<Attention>(&block.mixer);
    const auto of_values = [](const Input& input) { return input.absorber && input.absorber->is_linear; };
    if (attention == nullptr || !std::ranges::any_of(block.inputs, of_values)) return {};
    if (head_dim && *head_dim != attention->head_dim) return {};
    head_dim = attention->head_dim;
  }
  return head_dim;
}

// Why the residual stream cannot be rotated; empty = it can, as far as the description tells.
std::string WhyNotResidual(const Description& d) {
  if (d.positions) return "learned positions are added to its embedding";
  if (d.token_embedding) return "its tokens have a second embedding";
  if (!CanMove(d.norms[d.final_norm])) return "its last norm is no RMS norm";
  for (const Block& block : d.blocks) {
    if (block.after_mixer || block.after_feed_forward) return "norms stand in front of its residual connections";
    for (const auto& norm : {block.mixer_norm, block.feed_forward_norm}) {
      if (!norm || !CanMove(block.norms[*norm])) return "its blocks do not read the hidden state through RMS norms";
    }
  }
  return "";
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
  const auto list_norm = [&](const Parts& parts, std::size_t norm, bool is_moved) {
    if (!CanMove(parts.norms[norm])) return;
    const float added = parts.AddedTo(*parts.norms[norm].weight);
    places_[name_of(parts, norm)] = {1, d.hidden_size, RotatedBy::kNone, RotatedBy::kNone, "", is_moved, added};
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
        if (CanMove(block.norms[input.absorber->index])) places[m].norm = name_of(block, input.absorber->index);
      }
    }
    for (std::size_t m = 0; m < places.size(); ++m) ListMatrix(block.matrices[m], places[m]);
    for (const auto& norm : {block.mixer_norm, block.feed_forward_norm}) {
      if (norm) list_norm(block, *norm, true);
    }
  }
  ListMatrix(d.matrices[d.embedding], {d.vocab_size, d.hidden_size, RotatedBy::kNone, RotatedBy::kResidual});
  list_norm(d, d.final_norm, !d.tied_head());
  if (d.tied_head()) return;
  const std::string moved = CanMove(d.norms[d.final_norm]) ? name_of(d, d.final_norm) : "";
  ListMatrix(d.matrices[d.head], {d.vocab_size, d.hidden_size, RotatedBy::kNone, RotatedBy::kResidual, moved});
}

// A head that is the embedding cannot absorb the weights of the last norm, unless they are one number.
Result<bool> SourceTensors::IsFinalNormHarmless() const {
  if (!description_->tied_head()) return true;
  const Norm& final_norm = description_->norms[description_->final_norm];
  std::vector<float> norm;
  const auto status = Read(description_->NameOf(description_->vectors[*final_norm.weight].source), norm);
  if (!status) return status.error();
  return std::ranges::all_of(norm, [&](float value) { return value == norm.front(); });
}

Status SourceTensors::CreateRotations(std::uint64_t seed) {
  const auto head_dim = RotatableHeads(*description_);
  if (head_dim) heads_.emplace(*head_dim, seed + 1);
  why_not_residual_ = WhyNotResidual(*description_);
  if (why_not_residual_.empty()) {
    const auto harmless = IsFinalNormHarmless();
    if (!harmless) return harmless.error();
    if (*harmless) {
      residual_.emplace(description_->hidden_size, seed);
    } else {
      why_not_residual_ =
          "the output head of this model is its embedding and cannot absorb the weights of the last norm";
    }
  }
  if (rotated()) return {};
  return Error{
      ErrorCode::kUnsupported,
      fmt::format("{}: this model cannot be rotated: {}, and its values are normed or its heads differ in size; "
                  "choose a method without a rotation",
                  checkpoint_->path.string(), why_not_residual_)};
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
Status SourceTensors::Read(const std::string& name, std::vector<float>& values) const {
  const std::string where = checkpoint_->path.string();
  const auto tensor = checkpoint_->Get(name);
  if (!tensor) return tensor.error();
  const auto place = places_.find(name);
  if (place != places_.end() && ((*tensor)->rows() != place->second.rows || (*tensor)->cols() != place->second.cols)) {
    return Error{ErrorCode::kInput,
                 fmt::format("{}: tensor {} has shape [{}, {}], the configuration wants [{}, {}]", where, name,
                             (*tensor)->rows(), (*tensor)->cols(), place->second.rows, place->second.cols)};
  }
  const auto status = ReadPlain(**tensor, Precision::kSixteenBit, *pool_, values);
  return status ? status : Error{status.error().code, where + ": " + status.error().message};
}

Result<std::vector<float>> SourceTensors::Values(const std::string& name) const {
  std::vector<float> values;
  if (auto status = ReadValues(name, values); !status) return status.error();
  return values;
}

Status SourceTensors::ReadValues(const std::string& name, std::vector<float>& values) const {
  if (auto status = Read(name, values); !status) return status;
  const auto found = places_.find(name);
  if (found == places_.end() || !Changes(found->second)) return {};
  const Place& place = found->second;
  if (place.is_moved) {
    std::ranges::fill(values, 1 - place.added);
    return {};
  }
  const MatrixView<float> matrix(values.data(), place.rows, place.cols);
  if (residual_ && !place.norm.empty()) {
    std::vector<float> norm;
    if (auto status = Read(place.norm, norm); !status) return status;
    const float added = places_.at(place.norm).added;
    pool_->Split(place.rows, [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t r = begin; r < end; ++r) {
        for (std::size_t j = 0; j < place.cols; ++j) matrix.Row(r)[j] *= norm[j] + added;
      }
    });
  }
  if (const Orthogonal* q = Find(place.cols_rotated_by)) RotateColumns(*q, matrix, *pool_);
  if (const Orthogonal* q = Find(place.rows_rotated_by)) RotateRows(*q, matrix, *pool_);
  if (std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) return {};
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

Result<std::unique_ptr<Buffer>> SourceTensors::LoadVector(const std::string& name, float added,
                                                          Backend& backend) const {
  const auto format = PlainFormat(name);
  if (!format) return format.error();
  const auto plain = Plain(name, **format);
  if (!plain) return plain.error();
  return UploadVector(plain->view(), added, backend);
}

Result<LoadedParts> SourceTensors::LoadBlock(Backend& backend, std::size_t index) const {
  if (!rotated()) return marlin::LoadBlock(*checkpoint_, *description_, backend, Precision::kSixteenBit, index);
  const Block& block = description_->blocks[index];
  LoadedParts loaded;
  for (std::size_t v = 0; v < block.vectors.size(); ++v) {
    auto buffer = LoadVector(description_->NameOf(block.vectors[v].source), block.AddedTo(v), backend);
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
    if (auto status = LoadVector(description_->NameOf(*matrix.bias), 0, backend).MoveTo(linear.bias); !status)
      return status.error();
  }
  if (auto status = ReadScalar(block, backend, loaded); !status) return status.error();
  return loaded;
}

Result<LoadedParts> SourceTensors::LoadEmbedding(Backend& backend) const {
  if (!residual_rotated()) {
    return marlin::LoadEmbedding(*checkpoint_, *description_, backend, Precision::kSixteenBit);
  }
  // A model whose residual stream can be rotated embeds tokens by this matrix alone (WhyNotResidual).
  LoadedParts loaded;
  loaded.matrices.resize(description_->matrices.size());
  const Matrix& embedding = description_->matrices[description_->embedding];
  const auto values = Values(description_->NameOf(embedding.source));
  if (!values) return values.error();
  auto weight =
      backend.Pack(Encode(FormatFor(*values), {values->data(), embedding.rows, embedding.cols}, *pool_).view());
  if (!weight) return weight.error();
  loaded.matrices[description_->embedding].weight = std::move(*weight);
  return loaded;
}

}  // namespace marlin
