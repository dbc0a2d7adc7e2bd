// Helpers for families: they add tensors and parts to a description and return their indexes.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "model/description.h"

namespace marlin {

// The tensors of a description, by their names.
class TensorList {
 public:
  explicit TensorList(Description& description) : tensors_(&description.tensors) {}

  // The index of the tensor of this name; its shape is the same every time.
  std::size_t Tensor(const std::string& name, std::vector<std::size_t> shape);
  // Gives a matrix that is a whole tensor a bias.
  void AddBias(Matrix& matrix);

 private:
  std::vector<StoredTensor>* tensors_;
  std::map<std::string, std::size_t> indexes_;
};

// Matrices [n, k] that one stored matrix [rows, k] or, transposed, [k, rows] holds, and nothing else.
struct Slice {
  std::string name;  // added to that of all: "qkv_proj" + ".query"
  std::size_t n = 0;
  RowRange rows = {};  // empty: the n rows after those of the slices before
};
struct Fused {
  std::string tensor;  // of the matrix
  std::string bias;    // of its bias [rows]; empty: none
  std::string name;    // of the slices
  std::size_t k = 0;
  bool transposed = false;
  std::optional<std::size_t> experts = {};  // of a stack: how many it holds
  std::optional<std::size_t> expert = {};   // and which is meant
};

// Adds parts whose names begin with a stem.
struct PartsBuilder {
  // The matrix [n, k] that is the tensor name + ".weight"; with a bias also name + ".bias".
  std::size_t Linear(const std::string& name, std::size_t n, std::size_t k, bool bias = false) const;
  // The matrices that the same tensors hold. They share a format. Returns the index of the first; the others follow.
  std::size_t Slices(const std::string& name, const std::vector<Slice>& slices, std::size_t k, bool bias = false,
                     bool transposed = false) const;
  std::size_t Slices(const Fused& fused, const std::vector<Slice>& slices) const;
  // A vector that is a whole tensor.
  std::size_t Values(const std::string& name, std::vector<std::size_t> shape) const;
  // The norm of `size` channels whose weight is name + ".weight", and bias name + ".bias" of a layer norm.
  std::size_t AddNorm(const std::string& name, std::size_t size, const Norm& like) const;

  TensorList& tensors;
  Parts& parts;
  std::string stem;  // "model.layers.3.self_attn"
};

struct BlockBuilder : PartsBuilder {
  BlockBuilder Under(const std::string& name) const { return {{tensors, parts, stem + name}, block, index}; }
  // Makes a matrix the last of a mixer or feed-forward part: its rows are the hidden state's. Adds its input.
  void Output(std::size_t matrix, const std::optional<Absorber>& absorber,
              std::optional<std::size_t> expert = {}) const;

  Block& block;
  std::size_t index = 0;  // of the block
};

// Nothing without a norm.
std::optional<Absorber> OfNorm(const std::optional<std::size_t>& norm);
// Channel j is row j.
Absorber OfRows(std::size_t matrix, std::size_t rows);

}  // namespace marlin
