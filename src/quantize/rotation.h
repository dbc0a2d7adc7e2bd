// Rotations that spread large values over many channels before rounding (randomized Hadamard: Ashkboos et al. 2024,
// "QuaRot", arXiv 2404.00456). This file has only the mathematics; source_tensors.cc says which tensor of a model is
// rotated by which matrix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/matrix.h"
#include "base/thread_pool.h"

namespace marlin {

// An orthogonal matrix Q = diag(signs) (A x B) of any size n = 2^a m, m odd: A the Hadamard matrix of 2^a over its
// root, B the Hartley matrix of m, (cos + sin)(2 pi i j / m) / sqrt(m), x the Kronecker product. The signs are random.
// No element is larger than sqrt(2 / n). A product with a vector costs n (a + m).
class Orthogonal {
 public:
  Orthogonal(std::size_t n, std::uint64_t seed);
  std::size_t size() const { return signs_.size(); }

  // x <- x Q, x a row of n.
  void Apply(std::span<double> x) const;

 private:
  std::size_t power_ = 1;  // 2^a
  std::size_t odd_ = 1;    // m
  std::vector<double> signs_;
  std::vector<double> hartley_;  // [m, m]
};

// Every row, cut into pieces of q.size(), becomes row Q. q.size() divides the columns. The same bits for every number
// of threads.
void RotateColumns(const Orthogonal& q, MatrixView<float> weights, ThreadPool& pool);

// Every column, divided into pieces of q.size(), becomes Q^T column: the output of a linear layer is rotated as a row
// is by RotateColumns. q.size() divides the rows.
void RotateRows(const Orthogonal& q, MatrixView<float> weights, ThreadPool& pool);

}  // namespace marlin
