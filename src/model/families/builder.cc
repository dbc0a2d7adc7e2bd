#include "model/families/builder.h"

#include "base/check.h"

namespace marlin {

std::size_t DescriptionBuilder::Tensor(const std::string& name, std::vector<std::size_t> shape) {
  const auto [place, is_new] = tensors_.emplace(name, d_->tensors.size());
  if (is_new) {
    d_->tensors.push_back({name, std::move(shape)});
  } else {
    MARLIN_CHECK(d_->tensors[place->second].shape == shape, "a tensor has one shape");
  }
  return place->second;
}

std::size_t DescriptionBuilder::Linear(Parts& parts, const std::string& stem, std::size_t n, std::size_t k, bool bias) {
  const std::size_t tensor = Tensor(stem + ".weight", {n, k});
  Matrix matrix{stem, n, k, {tensor, AllRows(n), false, {}}, {}, false, false, tensor};
  if (bias) AddBias(matrix);
  parts.matrices.push_back(std::move(matrix));
  return parts.matrices.size() - 1;
}

void DescriptionBuilder::AddBias(Matrix& matrix) {
  matrix.bias = Source{Tensor(matrix.name + ".bias", {matrix.rows}), AllRows(matrix.rows), false, {}};
}

std::size_t DescriptionBuilder::Slices(Parts& parts, const Fused& fused, const std::vector<Slice>& slices) {
  std::vector<std::size_t> shape = {fused.rows, fused.k};
  if (fused.transposed) std::swap(shape[0], shape[1]);
  std::vector<std::size_t> bias_shape = {fused.rows};
  if (fused.experts) {
    shape.insert(shape.begin(), *fused.experts);
    bias_shape.insert(bias_shape.begin(), *fused.experts);
  }
  const std::size_t tensor = Tensor(fused.tensor, shape);
  const std::size_t first = parts.matrices.size();
  for (const Slice& slice : slices) {
    Matrix matrix{fused.stem + slice.name,
                  slice.n,
                  fused.k,
                  {tensor, slice.rows, fused.transposed, fused.expert},
                  {},
                  false,
                  false,
                  tensor};
    if (!fused.bias.empty()) {
      matrix.bias = Source{Tensor(fused.bias, bias_shape), slice.rows, false, fused.expert};
    }
    parts.matrices.push_back(std::move(matrix));
  }
  return first;
}

std::size_t DescriptionBuilder::Values(Parts& parts, const std::string& name, std::vector<std::size_t> shape) {
  std::size_t size = 1;
  for (const std::size_t axis : shape) size *= axis;
  parts.vectors.push_back({size, {Tensor(name, std::move(shape)), AllRows(size), false, {}}});
  return parts.vectors.size() - 1;
}

std::size_t DescriptionBuilder::AddNorm(Parts& parts, const std::string& stem, std::size_t size, const Norm& like) {
  Norm norm = like;
  norm.weight = Values(parts, stem + ".weight", {size});
  if (norm.kind == NormKind::kLayer) norm.bias = Values(parts, stem + ".bias", {size});
  parts.norms.push_back(norm);
  return parts.norms.size() - 1;
}

Absorber OfNorm(std::size_t norm) { return {Absorber::Kind::kNorm, norm, 0, 1, false}; }

Absorber OfRows(std::size_t matrix, std::size_t rows) { return {Absorber::Kind::kMatrix, matrix, rows, 1, false}; }

Absorber OfHeads(std::size_t matrix, std::size_t head_dim, std::size_t repeat) {
  return {Absorber::Kind::kMatrix, matrix, head_dim, repeat, true};
}

}  // namespace marlin
