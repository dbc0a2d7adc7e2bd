#include "kernels/product.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/tile.h"
#include "kernels/kernel.h"

namespace marlin {
namespace {

// Side of a block of c, made by one thread at a time: a multiple of every tile's shape (4, 6 and 8 .. 64). The packed
// operands of a chunk take 2 KiB x side, which fits an L2 cache of 1 MiB; small blocks keep all threads busy.
std::size_t BlockSide(std::size_t rows, std::size_t cols) { return std::min(rows, cols) < 1024 ? 192 : 384; }
constexpr std::size_t kLargestTile = 8 * 64;

template <class T>
const ProductKernel<T>& KernelFor(IsaSet isa) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return OpsFor(isa).product;
  } else {
    return OpsFor(isa).double_product;
  }
}

// One panel [length][kWidth] of `length` rows. A length known to the compiler is a few vector moves; copying 6 floats
// at a time through a call took a quarter of the whole product.
template <class T, std::size_t kWidth>
void PackPanel(const T* from, std::size_t stride, std::size_t length, T* to) {
  for (std::size_t l = 0; l < length; ++l, from += stride, to += kWidth) std::memcpy(to, from, kWidth * sizeof(T));
}

template <class T>
using PackFn = void (*)(const T* from, std::size_t stride, std::size_t length, T* to);

// Null for a width that no tile has.
template <class T>
PackFn<T> PackerOf(std::size_t width) {
  switch (width) {
    case 4:
      return PackPanel<T, 4>;
    case 6:
      return PackPanel<T, 6>;
    case 8:
      return PackPanel<T, 8>;
    case 16:
      return PackPanel<T, 16>;
    case 32:
      return PackPanel<T, 32>;
    case 64:
      return PackPanel<T, 64>;
    default:
      return nullptr;
  }
}

// Columns [begin, end) of `length` rows from `first` on, in panels [length][width]; missing columns are zeros.
template <class T>
void PackPanels(MatrixView<const T> from, std::size_t first, std::size_t length, std::size_t begin, std::size_t end,
                std::size_t width, T* to) {
  const PackFn<T> pack = PackerOf<T>(width);
  for (std::size_t column = begin; column < end; column += width, to += length * width) {
    const std::size_t count = std::min(width, end - column);
    const T* row = from.data + first * from.stride + column;
    if (count == width && pack != nullptr) {
      pack(row, from.stride, length, to);
      continue;
    }
    for (std::size_t l = 0; l < length; ++l, row += from.stride) {
      std::copy_n(row, count, to + l * width);
      std::fill(to + l * width + count, to + (l + 1) * width, T{0});
    }
  }
}

// One block of c, [row, row_end) x [column, column_end).
template <class T>
class BlockMaker {
 public:
  BlockMaker(const DenseProduct<T>& product, const ProductKernel<T>& kernel)
      : p_(product),
        kernel_(kernel),
        side_(BlockSide(product.c.rows, product.c.cols)),
        memory_(2 * side_ * kChunk + 64 / sizeof(T)) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    a_ = memory_.data() + (64 - address % 64) % 64 / sizeof(T);
    b_ = a_ + side_ * kChunk;
  }

  void Make(std::size_t row, std::size_t column) {
    const std::size_t row_end = std::min(row + side_, p_.c.rows);
    const std::size_t column_end = std::min(column + side_, p_.c.cols);
    for (std::size_t l = 0; l < p_.a.rows; l += kChunk) {
      const std::size_t length = std::min(kChunk, p_.a.rows - l);
      PackPanels(p_.a, l, length, row, row_end, kernel_.rows, a_);
      PackPanels(p_.b, l, length, column, column_end, kernel_.cols, b_);
      for (std::size_t j = column; j < column_end; j += kernel_.cols) {
        for (std::size_t i = row; i < row_end; i += kernel_.rows) {
          MakeTile(i, j, row_end, column_end, a_ + (i - row) * length, b_ + (j - column) * length, length);
        }
      }
    }
  }

 private:
  static constexpr std::size_t kChunk = kProductChunkBytes / sizeof(T);

  void MakeTile(std::size_t i, std::size_t j, std::size_t row_end, std::size_t column_end, const T* a, const T* b,
                std::size_t length) {
    const std::size_t rows = std::min(kernel_.rows, row_end - i);
    const std::size_t cols = std::min(kernel_.cols, column_end - j);
    if (p_.upper && j + cols <= i) return;
    T* const c = p_.c.data + i * p_.c.stride + j;
    const bool whole = rows == kernel_.rows && cols == kernel_.cols && (!p_.upper || j + 1 >= i + rows);
    if (whole) return kernel_.tile(a, b, length, p_.factor, c, p_.c.stride);
    T tile[kLargestTile] = {};  // the part of c that the product may touch
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t skip = Skipped(i + r, j, cols);
      std::copy(c + r * p_.c.stride + skip, c + r * p_.c.stride + cols, tile + r * kernel_.cols + skip);
    }
    kernel_.tile(a, b, length, p_.factor, tile, kernel_.cols);
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t skip = Skipped(i + r, j, cols);
      std::copy(tile + r * kernel_.cols + skip, tile + r * kernel_.cols + cols, c + r * p_.c.stride + skip);
    }
  }

  // Columns from j on that lie below the diagonal.
  std::size_t Skipped(std::size_t row, std::size_t j, std::size_t cols) const {
    return p_.upper && row > j ? std::min(row - j, cols) : 0;
  }

  const DenseProduct<T>& p_;
  const ProductKernel<T>& kernel_;
  std::size_t side_;
  std::vector<T> memory_;
  T* a_ = nullptr;  // [panels][length][kernel rows]
  T* b_ = nullptr;  // [panels][length][kernel cols]
};

template <class T>
void CheckShapes(const DenseProduct<T>& p) {
  MARLIN_CHECK(p.a.rows == p.b.rows && p.a.cols == p.c.rows && p.b.cols == p.c.cols, "shapes of a dense product");
  MARLIN_CHECK(!p.upper || p.c.rows == p.c.cols, "only a square matrix has an upper half");
}

// Calls block(row, column) with the corners of the blocks of c that there are to make.
template <class T, class Visitor>
void ForEachBlock(const DenseProduct<T>& p, Visitor block) {
  const std::size_t side = BlockSide(p.c.rows, p.c.cols);
  for (std::size_t row = 0; row < p.c.rows; row += side) {
    for (std::size_t column = p.upper ? row : 0; column < p.c.cols; column += side) block(row, column);
  }
}

}  // namespace

template <class T>
void Multiply(const DenseProduct<T>& product, IsaSet isa, ThreadPool& pool) {
  CheckShapes(product);
  struct Corner {
    std::size_t row;
    std::size_t column;
  };
  std::vector<Corner> corners;
  ForEachBlock(product, [&](std::size_t row, std::size_t column) { corners.push_back({row, column}); });
  std::atomic<std::size_t> next{0};
  pool.Run([&](int) {
    BlockMaker<T> maker(product, KernelFor<T>(isa));
    for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < corners.size();) {
      maker.Make(corners[i].row, corners[i].column);
    }
  });
}

template <class T>
void Multiply(const DenseProduct<T>& product, IsaSet isa) {
  CheckShapes(product);
  BlockMaker<T> maker(product, KernelFor<T>(isa));
  ForEachBlock(product, [&](std::size_t row, std::size_t column) { maker.Make(row, column); });
}

template void Multiply(const DenseProduct<float>&, IsaSet, ThreadPool&);
template void Multiply(const DenseProduct<double>&, IsaSet, ThreadPool&);
template void Multiply(const DenseProduct<float>&, IsaSet);
template void Multiply(const DenseProduct<double>&, IsaSet);

}  // namespace marlin
