// MatrixView: a borrowed row-major matrix in host memory.
#pragma once

#include <cstddef>
#include <span>

namespace marlin {

template <class T>
struct MatrixView {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t stride = 0;  // elements from one row to the next, >= cols

  MatrixView() = default;
  MatrixView(T* d, std::size_t r, std::size_t c) : data(d), rows(r), cols(c), stride(c) {}
  MatrixView(T* d, std::size_t r, std::size_t c, std::size_t s) : data(d), rows(r), cols(c), stride(s) {}
  operator MatrixView<const T>() const { return {data, rows, cols, stride}; }  // NOLINT: view conversion

  std::span<T> Row(std::size_t r) const { return {data + r * stride, cols}; }
  MatrixView Rows(std::size_t begin, std::size_t count) const { return {data + begin * stride, count, cols, stride}; }
};

}  // namespace marlin
