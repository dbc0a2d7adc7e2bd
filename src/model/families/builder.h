// Helpers for families: they add tensors and parts to a description and return their indexes.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "model/description.h"

namespace marlin {

class DescriptionBuilder {
 public:
  explicit DescriptionBuilder(Description& description) : d_(&description) {}

  // The index of the tensor of this name; its shape is the same every time.
  std::size_t Tensor(const std::string& name, std::vector<std::size_t> shape);

  // The matrix [n, k] that is the tensor stem + ".weight"; with a bias also stem + ".bias".
  std::size_t Linear(Parts& parts, const std::string& stem, std::size_t n, std::size_t k, bool bias = false);
  // Gives a matrix that is a whole tensor a bias.
  void AddBias(Matrix& matrix);

  // Parts of one stored matrix [rows, k] or, transposed, [k, rows], in the order of their names: each takes `run` rows
  // of every `stride` from `first` on. They share a format. Returns the index of the first; the others follow.
  struct Slice {
    std::string name;  // added to the stem: "qkv_proj" + ".q"
    std::size_t n = 0;
    RowRange rows;
  };
  struct Fused {
    std::string tensor;  // of the matrix
    std::string bias;    // of its bias [rows]; empty: none
    std::string stem;    // of the names
    std::size_t rows = 0, k = 0;
    bool transposed = false;
    std::optional<std::size_t> experts = {};  // of a stack: how many it holds
    std::optional<std::size_t> expert = {};   // and which is meant
  };
  std::size_t Slices(Parts& parts, const Fused& fused, const std::vector<Slice>& slices);

  // A vector that is a whole tensor.
  std::size_t Values(Parts& parts, const std::string& name, std::vector<std::size_t> shape);

  // The norm of `size` channels whose weight is stem + ".weight", and bias stem + ".bias" of a layer norm.
  std::size_t AddNorm(Parts& parts, const std::string& stem, std::size_t size, const Norm& like);

 private:
  Description* d_;
  std::map<std::string, std::size_t> tensors_;
};

// All rows of a matrix of n.
inline RowRange AllRows(std::size_t n) { return {0, n, n}; }

Absorber OfNorm(std::size_t norm);
// Channel j is row j.
Absorber OfRows(std::size_t matrix, std::size_t rows);
// Each of the matrix's heads of `head_dim` rows serves `repeat` heads.
Absorber OfHeads(std::size_t matrix, std::size_t head_dim, std::size_t repeat);

}  // namespace marlin
