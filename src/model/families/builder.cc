#include "model/families/builder.h"

#include "base/check.h"

namespace marlin {

std::size_t TensorList::Tensor(const std::string& name, std::vector<std::size_t> shape) {
  const auto [place, is_new] = indexes_.emplace(name, tensors_->size());
  if (is_new) {
    tensors_->push_back({name, std::move(shape)});
  } else {
    MARLIN_CHECK((*tensors_)[place->second].shape == shape, "a tensor has one shape");
  }
  return place->second;
}

void TensorList::AddBias(Matrix& matrix) {
  matrix.bias = Source{Tensor(matrix.name + ".bias", {matrix.rows}), matrix.source.rows, false, {}};
}

std::size_t PartsBuilder::Linear(const std::string& name, std::size_t n, std::size_t k, bool bias) const {
  return Slices(name, {{"", n}}, k, bias);
}

std::size_t PartsBuilder::Slices(const std::string& name, const std::vector<Slice>& slices, std::size_t k, bool bias,
                                 bool transposed) const {
  return Slices({name + ".weight", bias ? name + ".bias" : "", name, k, transposed}, slices);
}

std::size_t PartsBuilder::Slices(const Fused& fused, const std::vector<Slice>& slices) const {
  std::size_t all_rows = 0;
  for (const Slice& slice : slices) all_rows += slice.n;
  std::vector<std::size_t> shape = {all_rows, fused.k};
  if (fused.transposed) std::swap(shape[0], shape[1]);
  std::vector<std::size_t> bias_shape = {all_rows};
  if (fused.experts) {
    shape.insert(shape.begin(), *fused.experts);
    bias_shape.insert(bias_shape.begin(), *fused.experts);
  }
  const std::size_t tensor = tensors.Tensor(stem + fused.tensor, shape);
  std::size_t before = 0;
  for (const auto& [name, n, given] : slices) {
    const RowRange rows = given.run == 0 ? RowRange{before, n, n} : given;
    before += n;
    const Source source{tensor, rows, fused.transposed, fused.expert};
    Matrix matrix{stem + fused.name + name, n, fused.k, source, {}, false, false, tensor};
    if (!fused.bias.empty()) {
      matrix.bias = Source{tensors.Tensor(stem + fused.bias, bias_shape), rows, false, fused.expert};
    }
    parts.matrices.push_back(std::move(matrix));
  }
  return parts.matrices.size() - slices.size();
}

std::size_t PartsBuilder::Values(const std::string& name, std::vector<std::size_t> shape) const {
  std::size_t size = 1;
  for (const std::size_t axis : shape) size *= axis;
  parts.vectors.push_back({size, {tensors.Tensor(stem + name, std::move(shape)), {0, size, size}, false, {}}});
  return parts.vectors.size() - 1;
}

std::size_t PartsBuilder::AddNorm(const std::string& name, std::size_t size, const Norm& like) const {
  Norm norm = like;
  norm.weight = Values(name + ".weight", {size});
  if (norm.kind == NormKind::kLayer) norm.bias = Values(name + ".bias", {size});
  parts.norms.push_back(norm);
  return parts.norms.size() - 1;
}

void BlockBuilder::Output(std::size_t matrix, const std::optional<Absorber>& absorber,
                          std::optional<std::size_t> expert) const {
  block.matrices[matrix].adds_to_hidden = true;
  block.inputs.push_back({{matrix}, absorber, expert});
}

std::optional<Absorber> OfNorm(const std::optional<std::size_t>& norm) {
  if (!norm) return {};
  return Absorber{Absorber::Kind::kNorm, *norm, 0, 1, false};
}

Absorber OfRows(std::size_t matrix, std::size_t rows) { return {Absorber::Kind::kMatrix, matrix, rows, 1, false}; }

}  // namespace marlin
