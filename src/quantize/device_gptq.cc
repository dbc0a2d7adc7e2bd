#include "quantize/device_gptq.h"

#include <algorithm>
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

// Rounds block after block, and gives each what the errors of the blocks before it add to it.
class DeviceRounding {
 public:
  DeviceRounding(Backend& device, const DeviceFactor& factor, const CodedTensors& matrix)
      : device_(device), factor_(factor), matrix_(matrix), k_(matrix.weights.rows), n_(matrix.weights.cols) {
    root_ = View(factor.root, k_, k_, ElementType::kF64);
  }

  Status Run() {
    const auto status = device_.AllocateAll({{&order_, k_, ElementType::kI32},
                                             {&pivots_, k_, ElementType::kF64},
                                             {&feedback_, k_ * kGptqBlock, ElementType::kF64},
                                             {&fed_, k_ * n_, ElementType::kF64},
                                             {&errors_, kGptqBlock * n_, ElementType::kF64}});
    if (!status) return status;
    device_.Upload(factor_.order, View(order_, k_, 1, ElementType::kI32));
    device_.Upload(factor_.pivots, View(pivots_, k_, 1, ElementType::kF64));
    device_.Upload(factor_.feedback, View(feedback_, k_, kGptqBlock, ElementType::kF64));
    device_.Clear(Fed());
    for (std::size_t high = k_; high > 0;) {
      const std::size_t low = (high - 1) / kGptqBlock * kGptqBlock, width = high - low;
      const DeviceTensor errors = View(errors_, width, n_, ElementType::kF64);
      device_.quantizer()->RoundBlock({matrix_, View(order_, k_, 1, ElementType::kI32).Rows(low, width),
                                       View(pivots_, k_, 1, ElementType::kF64).Rows(low, width),
                                       View(feedback_, k_, kGptqBlock, ElementType::kF64).Rows(low, width),
                                       Fed().Rows(low, width), errors});
      if (low > 0) {
        device_.dense_algebra()->MultiplyDense(
            {PartOf(root_, 0, low, low, width), errors, Fed().Rows(0, low), false, true});
      }
      high = low;
    }
    return device_.Synchronize();
  }

 private:
  DeviceTensor Fed() const { return View(fed_, k_, n_, ElementType::kF64); }

  Backend& device_;
  const DeviceFactor& factor_;
  const CodedTensors& matrix_;
  std::size_t k_, n_;
  DeviceTensor root_;                       // [k, k]
  std::unique_ptr<Buffer> order_, pivots_;  // [k]
  std::unique_ptr<Buffer> feedback_;        // fp64 [k, kGptqBlock]
  std::unique_ptr<Buffer> fed_, errors_;    // fp64 [k, n], [kGptqBlock, n]
};

// Columns of a block: whole groups, enough for a product.
std::size_t DescentBlock(const FormatInfo& info) {
  constexpr std::size_t kLeast = 128;
  const std::size_t group = RowDescent::GroupColumns(info);
  return (kLeast + group - 1) / group * group;
}

// Puts the damped Hessian on the device: hessian [k, k].
Status PutHessian(const DeviceGram& gram, const InputStatistics& stats, double damping, const DeviceTensor& hessian) {
  const auto elements = ReadDiagonal(gram, stats);
  if (!elements) return elements.error();
  const HessianDiagonal measured = MeasureDiagonal(*elements);
  std::vector<float> diagonal;
  for (const double element : *elements) {
    diagonal.push_back(static_cast<float>(DampedElement(element, measured, damping)));
  }
  gram.device->dense_algebra()->Symmetrize(gram.gram, {}, GramFactor(stats), hessian);
  gram.device->Upload(diagonal, DiagonalOf(hessian));
  return {};
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

Result<DeviceMatrix> DeviceMatrix::Create(const FormatRow& format, MatrixView<const float> weights,
                                          std::span<const float> importance, Backend& device) {
  MARLIN_CHECK(HasGroups(format.info) && weights.stride == weights.cols, "groups, and no gaps between rows");
  const std::size_t n = weights.rows, k = weights.cols, words = GroupsPerRow(format.info, k) * kParamWords;
  DeviceMatrix matrix(device);
  std::unique_ptr<Buffer> rows;
  const auto status = device.AllocateAll({{&rows, n * k},
                                          {&matrix.weights_, n * k},
                                          {&matrix.codes_, n * k, ElementType::kI32},
                                          {&matrix.params_, n * words, ElementType::kI32}});
  if (!status) return status.error();
  matrix.tensors_ = {&format, View(matrix.weights_, k, n), View(matrix.codes_, k, n, ElementType::kI32),
                     View(matrix.params_, n, words, ElementType::kI32)};
  const DeviceTensor as_given = View(rows, n, k);
  device.Upload(std::span(weights.data, n * k), as_given);
  device.quantizer()->Transpose(as_given, matrix.tensors_.weights);
  const auto params = SearchAllParams(format, as_given, importance, matrix.tensors_.params, device);
  if (!params) return params.error();
  return matrix;
}

Result<EncodedMatrix> DeviceMatrix::Read(ThreadPool& pool) const {
  const FormatRow& format = *tensors_.format;
  const std::size_t n = tensors_.weights.cols, k = tensors_.weights.rows;
  const std::size_t groups = GroupsPerRow(format.info, k), words = WordsOfCodes(k);
  std::unique_ptr<Buffer> packed;
  if (auto status = device_->AllocateAll({{&packed, n * words, ElementType::kI32}}); !status) return status.error();
  const DeviceTensor bytes = View(packed, n, words, ElementType::kI32);
  device_->quantizer()->PackCodes(tensors_, bytes);
  const std::size_t pitch = words * sizeof(std::int32_t);
  const auto codes = std::make_unique_for_overwrite<std::uint8_t[]>(n * pitch);
  std::vector<GroupParams> params(n * groups);
  device_->Download(bytes, std::span(codes.get(), n * pitch));
  if (auto status = device_->Read(tensors_.params, params); !status) return status.error();
  EncodedMatrix matrix(format, n, k);
  ForPieces(n, pool, [&] {
    return [&, row = std::vector<std::uint32_t>(k)](std::size_t begin, std::size_t end) mutable {
      for (std::size_t r = begin; r < end; ++r) {
        std::copy_n(codes.get() + r * pitch, k, row.begin());
        for (std::size_t g = 0; g < groups; ++g) SetParams(matrix, r, g, params[r * groups + g]);
        SetCodes(matrix, r, 0, row);
      }
    };
  });
  return matrix;
}

Status RoundOnDevice(const DeviceFactor& factor, DeviceMatrix& matrix) {
  MARLIN_CHECK(factor.order.size() == matrix.tensors().weights.rows, "the factor of another input");
  return DeviceRounding(matrix.device(), factor, matrix.tensors()).Run();
}

Status DescendOnDevice(const DeviceGram& gram, const InputStatistics& stats, double damping, int sweeps,
                       DeviceMatrix& matrix) {
  Backend& device = matrix.device();
  const CodedTensors& tensors = matrix.tensors();
  const std::size_t k = tensors.weights.rows, n = tensors.weights.cols;
  const std::size_t longest = std::min(DescentBlock(tensors.format->info), k);
  std::unique_ptr<Buffer> hessian_memory, error_memory, gradient_memory, block_memory, change_memory, changed_memory;
  const auto status = device.AllocateAll({{&hessian_memory, k * k},
                                          {&error_memory, k * n},
                                          {&gradient_memory, k * n},
                                          {&block_memory, longest * n},
                                          {&change_memory, longest * n},
                                          {&changed_memory, 1, ElementType::kI32}});
  if (!status) return status;
  const DeviceTensor hessian = View(hessian_memory, k, k), errors = View(error_memory, k, n);
  const DeviceTensor gradient = View(gradient_memory, k, n), changed = View(changed_memory, 1, 1, ElementType::kI32);
  if (auto put = PutHessian(gram, stats, damping, hessian); !put) return put;
  device.quantizer()->FindErrors(tensors, errors);
  device.dense_algebra()->MultiplyDense({hessian, errors, gradient});
  std::vector<std::int32_t> any = {1};
  for (int sweep = 0; any[0] != 0 && sweep < sweeps; ++sweep) {
    device.Clear(changed);
    for (std::size_t low = 0; low < k; low += longest) {
      const std::size_t width = std::min(longest, k - low);
      const DeviceTensor block = View(block_memory, width, n), change = View(change_memory, width, n);
      device.Copy(gradient.Rows(low, width), block);
      device.Copy(errors.Rows(low, width), change);
      device.quantizer()->DescendBlock({tensors, low, PartOf(hessian, low, low, width, width), block, errors, changed});
      // What the block changed reaches the gradient of all columns.
      device.Add(change, errors.Rows(low, width), -1);
      device.dense_algebra()->MultiplyDense({PartOf(hessian, 0, low, k, width), change, gradient, false, true, -1});
    }
    if (auto read = device.Read(changed, any); !read) return read;
  }
  return {};
}

}  // namespace marlin
