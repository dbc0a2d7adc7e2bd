#include "quantize/device_gptq.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <span>
#include <utility>

#include "base/check.h"
#include "quantize/cholesky.h"
#include "quantize/gptq.h"
#include "quantize/hessian.h"
#include "quantize/mse.h"
#include "quantize/row_descent.h"
#include "quantize/row_pieces.h"
#include "quantize/row_rounder.h"

namespace marlin {
namespace {

// [rows, cols] of a matrix.
DeviceTensor PartOf(const DeviceTensor& matrix, std::size_t row, std::size_t column, std::size_t rows,
                    std::size_t cols) {
  MARLIN_CHECK(row + rows <= matrix.rows && column + cols <= matrix.cols, "a part of a matrix");
  return {matrix.buffer, matrix.offset + row * matrix.stride + column, matrix.type, rows, cols, matrix.stride};
}

DeviceTensor DiagonalOf(const DeviceTensor& square) {
  return {square.buffer, square.offset, square.type, square.rows, 1, square.stride + 1};
}

// Rows that one thread works on at a time.
template <class Work>
struct RowPiece {
  Work work;
  std::size_t begin, end;
  template <class T>
  MatrixView<T> Own(MatrixView<T> of_all_rows) const {
    return {of_all_rows.data + begin, of_all_rows.rows, end - begin, of_all_rows.stride};
  }
};

template <class Work>
std::vector<RowPiece<Work>> CutRows(std::size_t rows, const Work& work, const ThreadPool& pool) {
  const std::size_t length = RowsPerPiece(rows, pool.threads());
  std::vector<RowPiece<Work>> pieces;
  for (std::size_t begin = 0; begin < rows; begin += length) {
    pieces.push_back({work, begin, std::min(begin + length, rows)});
  }
  return pieces;
}

// Calls job(piece) for every piece, each on one of the threads.
template <class Work, class Job>
void ForEachPiece(std::vector<RowPiece<Work>>& pieces, ThreadPool& pool, Job job) {
  std::atomic<std::size_t> next{0};
  pool.Run([&](int) {
    for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < pieces.size();) job(pieces[i]);
  });
}

Result<std::vector<double>> ReadDiagonal(const DeviceGram& gram, const InputStatistics& stats) {
  std::vector<float> diagonal(stats.channels());
  if (auto status = gram.device->Read(DiagonalOf(gram.gram), diagonal); !status) return status.error();
  std::vector<double> elements(diagonal.size());
  for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = GramFactor(stats) * diagonal[i];
  return elements;
}

// Factors a matrix in the memory of a device.
class DeviceCholesky {
 public:
  // factor: whose root is the upper half of the matrix, and which is filled.
  DeviceCholesky(Backend& device, DeviceFactor& factor, ThreadPool& pool)
      : device_(device), factor_(factor), pool_(pool), k_(factor.order.size()) {
    root_ = View(factor.root, k_, k_, ElementType::kF64);
  }

  Status Reserve() {
    return device_.AllocateAll(
        {{&strip_, kGptqBlock * k_, ElementType::kF64}, {&inverse_, kGptqBlock * kGptqBlock, ElementType::kF64}});
  }

  // False where a pivot is not at least `least`.
  Result<bool> Run(double least) {
    later_.reset();
    for (std::size_t low = 0; low < k_; low += kGptqBlock) {
      const std::size_t width = std::min(kGptqBlock, k_ - low);
      square_.resize(width * width);
      if (auto status = device_.Read(PartOf(root_, low, low, width, width), square_); !status) return status.error();
      if (later_) device_.dense_algebra()->MultiplyDense(*std::exchange(later_, std::nullopt));
      const MatrixView<double> square(square_.data(), width, width);
      if (FactorCholesky(square, least, HostIsa(), pool_)) return false;
      Keep(low, square);
      if (low + width < k_) Eliminate(low, square);
    }
    return true;
  }

 private:
  void Keep(std::size_t low, MatrixView<const double> square) {
    for (std::size_t q = 0; q < square.rows; ++q) {
      factor_.pivots[low + q] = square.Row(q)[q];
      for (std::size_t p = q + 1; p < square.rows; ++p) {
        factor_.feedback[(low + p) * kGptqBlock + q] = square.Row(q)[p] / square.Row(q)[q];
      }
    }
  }

  // The rows of a block right of its square, and what they explain of the matrix below: the next block now, the others
  // while the host factors the next block.
  void Eliminate(std::size_t low, MatrixView<const double> square) {
    const std::size_t width = square.rows, high = low + width, rest = k_ - high;
    std::vector<double> inverse(width * width, 0.0);  // V^-T of the square
    for (std::size_t i = 0; i < width; ++i) inverse[i * width + i] = 1;
    const MatrixView<double> columns(inverse.data(), width, width);
    pool_.Split(width, [&](std::size_t begin, std::size_t end, int) {
      SolveTransposed(square, {columns.data + begin, width, end - begin, width});
    });
    const DeviceTensor on_device = View(inverse_, width, width, ElementType::kF64);
    device_.Upload(inverse, on_device);
    const DeviceTensor before = PartOf(root_, low, high, width, rest);
    const DeviceTensor strip = PartOf(View(strip_, kGptqBlock, k_, ElementType::kF64), 0, 0, width, rest);
    device_.dense_algebra()->MultiplyDense({on_device, before, strip});
    device_.Copy(strip, before);
    const std::size_t next = std::min(kGptqBlock, rest), others = rest - next;
    device_.dense_algebra()->MultiplyDense(
        {PartOf(strip, 0, 0, width, next), strip, PartOf(root_, high, high, next, rest), true, true, -1});
    if (others == 0) return;
    const DeviceTensor last = PartOf(strip, 0, next, width, others);
    later_ = {last, last, PartOf(root_, high + next, high + next, others, others), true, true, -1};
  }

  Backend& device_;
  DeviceFactor& factor_;
  ThreadPool& pool_;
  std::size_t k_;
  DeviceTensor root_;                      // [k, k]
  std::unique_ptr<Buffer> strip_;          // fp64 [kGptqBlock, k]
  std::unique_ptr<Buffer> inverse_;        // fp64 [kGptqBlock, kGptqBlock]
  std::vector<double> square_;             // of the block at hand
  std::optional<DenseProductArgs> later_;  // not queued yet
};

// Gives block after block what the errors of the blocks before it add to it.
class DeviceFeedback {
 public:
  DeviceFeedback(Backend& device, const DeviceFactor& factor, std::size_t rows)
      : device_(device), k_(factor.order.size()), rows_(rows) {
    root_ = View(factor.root, k_, k_, ElementType::kF64);
  }

  Status Reserve() {
    return device_.AllocateAll(
        {{&fed_, k_ * rows_, ElementType::kF64}, {&errors_, kGptqBlock * rows_, ElementType::kF64}});
  }

  // fed [width, rows]: the sums, not divided by the pivots, for positions from `low` on. Nothing before Add.
  Status Read(std::size_t low, MatrixView<double> fed) {
    const std::span<double> values(fed.data, fed.rows * rows_);
    if (!adds_) {
      std::ranges::fill(values, 0.0);
      return {};
    }
    const Status status = device_.Read(Fed().Rows(low, fed.rows), values);
    if (later_) device_.dense_algebra()->MultiplyDense(*std::exchange(later_, std::nullopt));
    return status;
  }

  // errors [width, rows] of the positions from low > 0 on: to the block before them now, to the others while the host
  // rounds that.
  void Add(std::size_t low, MatrixView<const double> errors) {
    const std::size_t width = errors.rows, first = low - kGptqBlock;
    const DeviceTensor on_device = View(errors_, width, rows_, ElementType::kF64);
    device_.Upload(std::span(errors.data, width * rows_), on_device);
    const auto product = [&](std::size_t begin, std::size_t count) {
      return DenseProductArgs{PartOf(root_, begin, low, count, width), on_device, Fed().Rows(begin, count), false,
                              adds_};
    };
    device_.dense_algebra()->MultiplyDense(product(first, kGptqBlock));
    if (first > 0) later_ = product(0, first);
    adds_ = true;
  }

 private:
  DeviceTensor Fed() const { return View(fed_, k_, rows_, ElementType::kF64); }

  Backend& device_;
  std::size_t k_, rows_;
  DeviceTensor root_;               // [k, k]
  std::unique_ptr<Buffer> fed_;     // fp64 [k, rows]
  std::unique_ptr<Buffer> errors_;  // fp64 [kGptqBlock, rows]
  bool adds_ = false;               // some errors were added
  std::optional<DenseProductArgs> later_;
};

// H e of block after block of columns, e the errors of all columns.
class DeviceGradient {
 public:
  struct Block {
    std::size_t low = 0, width = 0;
  };

  DeviceGradient(Backend& device, std::size_t k, std::size_t rows, std::size_t block)
      : device_(device), k_(k), rows_(rows), block_(block) {}

  Status Reserve() {
    return device_.AllocateAll({{&hessian_, k_ * k_}, {&errors_, k_ * rows_}, {&gradient_, block_ * rows_}});
  }
  DeviceTensor hessian() const { return View(hessian_, k_, k_); }
  DeviceTensor errors() const { return View(errors_, k_, rows_); }

  Block At(std::size_t low) const { return {low, std::min(block_, k_ - low)}; }

  // What columns [begin, end) add to the gradient of the block, which nothing was added to before where `first`.
  void Add(Block block, std::size_t begin, std::size_t end, bool first) {
    if (begin == end) return;
    device_.dense_algebra()->MultiplyDense({PartOf(hessian(), block.low, begin, block.width, end - begin),
                                            errors().Rows(begin, end - begin), View(gradient_, block.width, rows_),
                                            false, !first});
  }
  Status Read(Block block, std::span<float> gradient) {
    return device_.Read(View(gradient_, block.width, rows_), gradient);
  }

 private:
  Backend& device_;
  std::size_t k_, rows_, block_;
  std::unique_ptr<Buffer> hessian_;   // [k, k]
  std::unique_ptr<Buffer> errors_;    // [k, rows]
  std::unique_ptr<Buffer> gradient_;  // [block, rows]
};

// Columns of a block: whole groups, enough for a product.
std::size_t DescentBlock(const FormatInfo& info) {
  constexpr std::size_t kLeast = 128;
  const std::size_t group = RowDescent::GroupColumns(info);
  return (kLeast + group - 1) / group * group;
}

// Puts the damped Hessian on the device and gives the squares [width, width] of its blocks.
Result<std::vector<std::vector<float>>> PutHessian(const DeviceGram& gram, const InputStatistics& stats, double damping,
                                                   const DeviceGradient& gradient) {
  const auto elements = ReadDiagonal(gram, stats);
  if (!elements) return elements.error();
  const HessianDiagonal measured = MeasureDiagonal(*elements);
  std::vector<float> diagonal;
  for (const double element : *elements) {
    diagonal.push_back(static_cast<float>(DampedElement(element, measured, damping)));
  }
  const DeviceTensor hessian = gradient.hessian();
  gram.device->dense_algebra()->Symmetrize(gram.gram, {}, GramFactor(stats), hessian);
  gram.device->Upload(diagonal, DiagonalOf(hessian));
  std::vector<std::vector<float>> squares;
  for (std::size_t low = 0; low < hessian.rows;) {
    const auto block = gradient.At(low);
    squares.emplace_back(block.width * block.width);
    gram.device->Download(PartOf(hessian, low, low, block.width, block.width), squares.back());
    low += block.width;
  }
  if (auto status = gram.device->Synchronize(); !status) return status.error();
  return squares;
}

}  // namespace

Result<DeviceFactor> FactorOnDevice(const DeviceGram& gram, const InputStatistics& stats, ThreadPool& pool) {
  if (stats.tokens == 0) return NoTokens();
  const std::size_t k = stats.channels();
  Backend& device = *gram.device;
  const auto elements = ReadDiagonal(gram, stats);
  if (!elements) return elements.error();
  const HessianDiagonal diagonal = MeasureDiagonal(*elements);
  DeviceFactor factor;
  factor.order = OrderColumns(*elements);
  factor.importance = Importance(stats);
  factor.dead_columns = diagonal.dead;
  factor.pivots.resize(k);
  factor.feedback.resize(k * kGptqBlock);
  std::unique_ptr<Buffer> order;
  if (auto status = device.AllocateAll({{&factor.root, k * k, ElementType::kF64}, {&order, k, ElementType::kI32}});
      !status) {
    return status.error();
  }
  const DeviceTensor places = View(order, k, 1, ElementType::kI32);
  device.Upload(factor.order, places);
  DeviceCholesky cholesky(device, factor, pool);
  if (auto status = cholesky.Reserve(); !status) return status.error();
  std::vector<double> damped(k);
  for (factor.damping = kDamping; factor.damping <= kMostDamping; factor.damping *= 4) {
    for (std::size_t p = 0; p < k; ++p) {
      damped[p] = DampedElement((*elements)[factor.order[p]], diagonal, factor.damping);
    }
    const DeviceTensor root = View(factor.root, k, k, ElementType::kF64);
    device.dense_algebra()->Symmetrize(gram.gram, places, GramFactor(stats), root);
    device.Upload(damped, DiagonalOf(root));
    const auto factored = cholesky.Run(LeastPivot(factor.damping, diagonal));
    if (!factored) return factored.error();
    if (*factored) return factor;
  }
  return NotPositiveDefinite(k);
}

Result<EncodedMatrix> EncodeGptqOnDevice(const FormatRow& format, MatrixView<const float> weights,
                                         const DeviceFactor& factor, Backend& device, ThreadPool& pool) {
  const std::size_t n = weights.rows, k = weights.cols;
  MARLIN_CHECK(factor.order.size() == k, "the factor of another input");
  DeviceFeedback feedback(device, factor, n);
  if (auto status = feedback.Reserve(); !status) return status.error();
  const std::vector<GroupParams> params = SearchAllParams(format, weights, factor.importance, pool);
  EncodedMatrix matrix(format, n, k);
  auto pieces = CutRows(n, RowRounder(format, weights, factor.order, params, matrix), pool);
  ForEachPiece(pieces, pool, [](auto& piece) { piece.work.Start(piece.begin, piece.end); });
  std::vector<double> fed_memory(kGptqBlock * n), error_memory(kGptqBlock * n);
  const auto fast = device.PinForDownloads(std::as_writable_bytes(std::span(fed_memory)));
  for (std::size_t high = k; high > 0;) {
    const std::size_t low = (high - 1) / kGptqBlock * kGptqBlock, width = high - low;
    const MatrixView<double> fed(fed_memory.data(), width, n), errors(error_memory.data(), width, n);
    if (auto status = feedback.Read(low, fed); !status) return status.error();
    const MatrixView<const double> inside(factor.feedback.data() + low * kGptqBlock, width, width, kGptqBlock);
    ForEachPiece(pieces, pool, [&](auto& piece) {
      const MatrixView<double> own = piece.Own(fed);
      for (std::size_t q = 0; q < width; ++q) {
        for (double& sum : own.Row(q)) sum /= factor.pivots[low + q];
      }
      piece.work.RoundBlock(low, inside, own, piece.Own(errors));
    });
    if (low > 0) feedback.Add(low, errors);
    high = low;
  }
  ForEachPiece(pieces, pool, [](auto& piece) { piece.work.Store(); });
  return matrix;
}

Status DescendOnDevice(const DeviceGram& gram, const InputStatistics& stats, double damping,
                       MatrixView<const float> weights, int sweeps, EncodedMatrix& matrix, ThreadPool& pool) {
  Backend& device = *gram.device;
  const std::size_t n = weights.rows, k = weights.cols;
  DeviceGradient gradient(device, k, n, DescentBlock(matrix.format->info));
  if (auto status = gradient.Reserve(); !status) return status;
  const auto squares = PutHessian(gram, stats, damping, gradient);
  if (!squares) return squares.error();
  const auto error_memory = std::make_unique_for_overwrite<float[]>(k * n);  // the threads touch it first
  const MatrixView<float> errors(error_memory.get(), k, n);
  std::vector<float> gradient_memory(gradient.At(0).width * n);
  const auto fast = device.PinForDownloads(std::as_writable_bytes(std::span(gradient_memory)));
  auto pieces = CutRows(n, RowDescent(weights, matrix), pool);
  ForEachPiece(pieces, pool, [&](auto& piece) { piece.work.Start(piece.begin, piece.end, piece.Own(errors)); });
  device.Upload(std::span(errors.data, k * n), gradient.errors());
  gradient.Add(gradient.At(0), 0, k, true);
  std::atomic<bool> changed{true};
  for (int sweep = 0; changed && sweep < sweeps; ++sweep) {
    changed = false;
    std::size_t low = 0;
    for (const std::vector<float>& curvature : *squares) {
      const auto block = gradient.At(low);
      const MatrixView<float> of_block(gradient_memory.data(), block.width, n);
      if (auto status = gradient.Read(block, {of_block.data, block.width * n}); !status) return status;
      const std::size_t high = low + block.width;
      // While the host improves this block, the device takes all others for the next one.
      const auto next = gradient.At(high < k ? high : 0);
      gradient.Add(next, 0, low, true);
      gradient.Add(next, high, k, low == 0);
      ForEachPiece(pieces, pool, [&](auto& piece) {
        const MatrixView<const float> square(curvature.data(), block.width, block.width);
        if (piece.work.Improve(low, square, piece.Own(of_block))) changed.store(true, std::memory_order_relaxed);
      });
      device.Upload(std::span(errors.Row(low).data(), block.width * n), gradient.errors().Rows(low, block.width));
      gradient.Add(next, low, high, block.width == k);
      low = high;
    }
  }
  // What is queued is not needed any more, but an error belongs here.
  if (auto status = device.Synchronize(); !status) return status;
  ForEachPiece(pieces, pool, [](auto& piece) { piece.work.Store(); });
  return {};
}

}  // namespace marlin
