#include "model/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "base/thread_pool.h"
#include "formats/formats.h"
#include "model/device_memory.h"
#include "model/model_tensors.h"

namespace marlin {
namespace {

// What a plain tensor would lose in 16 bits; scanned once over all values.
struct Scan {
  bool finite = true;
  bool exact_in_bf16 = true;
  bool fits_fp16 = true;
  std::size_t bad_row = 0;  // first row with a NaN or an infinity
};

Scan ScanRow(std::span<const float> row) {
  Scan scan;
  for (const float value : row) {
    scan.finite &= std::isfinite(value);
    scan.exact_in_bf16 &= Bf16ToFloat(FloatToBf16(value)) == value;
    scan.fits_fp16 &= std::abs(value) <= kHalfMax;
  }
  return scan;
}

constexpr std::size_t kRowsPerStep = 16;  // rows decoded at once per thread; a step is one poll for interruption

// Calls visit(begin, rows [count, cols]) for the whole tensor, in parallel, each thread with its own buffer.
Status ForEachRows(const Tensor& tensor, ThreadPool& pool,
                   const std::function<void(std::size_t begin, MatrixView<const float> rows)>& visit) {
  const std::size_t rows = tensor.rows();
  const std::size_t steps = (rows + kRowsPerStep - 1) / kRowsPerStep;
  std::vector<Status> failures(static_cast<std::size_t>(pool.threads()));
  pool.Split(steps, [&](std::size_t first, std::size_t last, int thread) {
    std::vector<float> buffer(kRowsPerStep * tensor.cols());
    Status& failure = failures[static_cast<std::size_t>(thread)];
    for (std::size_t step = first; step < last && failure.ok(); ++step) {
      if (Interrupted()) {
        failure = Error{ErrorCode::kInterrupted, "interrupted"};
        return;
      }
      const std::size_t begin = step * kRowsPerStep;
      const MatrixView<float> part(buffer.data(), std::min(kRowsPerStep, rows - begin), tensor.cols());
      failure = DecodeRows(tensor, begin, part);
      if (failure.ok()) visit(begin, part);
    }
  });
  for (const Status& failure : failures) {
    if (!failure) return failure.error();
  }
  return {};
}

Result<Scan> ScanTensor(const Tensor& tensor, ThreadPool& pool) {
  std::vector<Scan> scans(tensor.rows());
  auto status = ForEachRows(tensor, pool, [&](std::size_t begin, MatrixView<const float> rows) {
    for (std::size_t r = 0; r < rows.rows; ++r) scans[begin + r] = ScanRow(rows.Row(r));
  });
  if (!status) return status.error();
  Scan all;
  for (std::size_t r = 0; r < scans.size(); ++r) {
    if (all.finite && !scans[r].finite) all.bad_row = r;
    all.finite &= scans[r].finite;
    all.exact_in_bf16 &= scans[r].exact_in_bf16;
    all.fits_fp16 &= scans[r].fits_fp16;
  }
  return all;
}

// To nearest, from the values that the matrix holds.
EncodedMatrix RoundTo(const FormatRow& format, const EncodedMatrixView& matrix, ThreadPool& pool) {
  const auto read = [&](std::size_t row, std::span<float> out) { DecodeRow(matrix, row, out); };
  return Encode(FormatForRows(format, matrix.cols), matrix.rows, matrix.cols, read, pool);
}

// Loads tensor after tensor; keeps only its position.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, Backend& backend, Precision precision, const ProgressFn& progress,
         std::size_t total, FormatMap rounded = {})
      : checkpoint_(checkpoint),
        backend_(backend),
        precision_(precision),
        progress_(progress),
        pool_(backend.threads()),
        total_(total),
        rounded_(std::move(rounded)) {}

  // The weight of a linear layer, of the embedding or of the head.
  Result<std::unique_ptr<Weight>> LoadMatrix(const Matrix& wanted) {
    Report(wanted.name);
    const auto stored = FindMatrix(checkpoint_, wanted);
    if (!stored) return stored.error();
    const auto format = rounded_.find(wanted.name);
    if (stored->encoded && format != rounded_.end()) {
      return Error{ErrorCode::kInput,
                   fmt::format("{}: tensor {}.weight is already quantized ({}), {} wants 16 bits", Where(), wanted.name,
                               stored->encoded->format->info.name, format->second->info.name)};
    }
    if (stored->encoded) return backend_.Pack(*stored->encoded);
    auto matrix = EncodePlain(*stored->tensor, precision_, pool_);
    if (!matrix) return Located(matrix.error());
    if (format != rounded_.end()) *matrix = RoundTo(*format->second, matrix->view(), pool_);
    return backend_.Pack(matrix->view());
  }

  // A norm or a bias as fp32, rounded to 16 bits first like everything else, and with `added`: [size].
  Result<std::unique_ptr<Buffer>> LoadVector(const std::string& name, std::size_t size, float added) {
    Report(name);
    const auto tensor = FindVector(checkpoint_, name, size);
    if (!tensor) return tensor.error();
    const auto matrix = EncodePlain(**tensor, precision_, pool_);
    if (!matrix) return Located(matrix.error());
    return UploadVector(matrix->view(), added, backend_);
  }

 private:
  std::string Where() const { return checkpoint_.path.string(); }
  Error Located(const Error& error) const { return {error.code, Where() + ": " + error.message}; }
  void Report(const std::string& name) {
    if (progress_) progress_({"load", done_++, total_, "tensors", name});
  }

  const Checkpoint& checkpoint_;
  Backend& backend_;
  Precision precision_;
  ProgressFn progress_;
  ThreadPool pool_;
  std::size_t done_ = 0;
  std::size_t total_ = 0;
  FormatMap rounded_;
};

Status LoadOne(Loader& loader, const Description& description, const Parts& parts, std::size_t vector,
               std::unique_ptr<Buffer>& to) {
  const Vector& wanted = parts.vectors[vector];
  return loader.LoadVector(description.NameOf(wanted.source), wanted.size, parts.AddedTo(vector)).MoveTo(to);
}

Status LoadOne(Loader& loader, const Description& description, const Matrix& matrix, Linear& to) {
  if (auto status = loader.LoadMatrix(matrix).MoveTo(to.weight); !status) return status;
  if (!matrix.bias) return {};
  return loader.LoadVector(description.NameOf(*matrix.bias), matrix.rows, 0).MoveTo(to.bias);
}

Result<LoadedParts> LoadParts(Loader& loader, const Description& description, const Parts& parts) {
  LoadedParts loaded;
  for (std::size_t v = 0; v < parts.vectors.size(); ++v) {
    if (auto status = LoadOne(loader, description, parts, v, loaded.vectors.emplace_back()); !status)
      return status.error();
  }
  for (const Matrix& matrix : parts.matrices) {
    if (auto status = LoadOne(loader, description, matrix, loaded.matrices.emplace_back()); !status)
      return status.error();
  }
  return loaded;
}

Result<LoadedParts> LoadBlockWith(Loader& loader, const Description& description, Backend& backend,
                                  const Block& block) {
  auto loaded = LoadParts(loader, description, block);
  if (!loaded) return loaded;
  if (auto status = ReadScalar(block, backend, *loaded); !status) return status.error();
  return loaded;
}

}  // namespace

Result<const FormatRow*> ChoosePlainFormat(const Tensor& tensor, Precision precision, ThreadPool& pool) {
  const auto scan = ScanTensor(tensor, pool);
  if (!scan) return scan.error();
  if (!scan->finite) {
    return Error{ErrorCode::kNumerical,
                 fmt::format("tensor {}: row {} holds a NaN or an infinity", tensor.name, scan->bad_row)};
  }
  if (tensor.dtype == DType::kBF16) return FindFormat("bf16");
  if (tensor.dtype == DType::kF16) return FindFormat("fp16");
  if (precision == Precision::kSource) return FindFormat("fp32");
  return FindFormat(scan->exact_in_bf16 || !scan->fits_fp16 ? "bf16" : "fp16");
}

Result<EncodedMatrix> EncodePlain(const Tensor& tensor, Precision precision, ThreadPool& pool) {
  auto format = ChoosePlainFormat(tensor, precision, pool);
  if (!format) return format.error();
  return EncodePlainAs(tensor, **format, pool);
}

Result<EncodedMatrix> EncodePlainAs(const Tensor& tensor, const FormatRow& format, ThreadPool& pool) {
  EncodedMatrix matrix(format, tensor.rows(), tensor.cols());
  auto status = ForEachRows(tensor, pool, [&](std::size_t begin, MatrixView<const float> rows) {
    for (std::size_t r = 0; r < rows.rows; ++r) EncodeRow(matrix, begin + r, rows.Row(r));
  });
  if (!status) return status.error();
  return matrix;
}

Status ReadPlain(const Tensor& tensor, Precision precision, ThreadPool& pool, std::vector<float>& values) {
  const auto format = ChoosePlainFormat(tensor, precision, pool);
  if (!format) return format.error();
  const std::size_t cols = tensor.cols();
  values.resize(tensor.rows() * cols);
  return ForEachRows(tensor, pool, [&](std::size_t begin, MatrixView<const float> rows) {
    std::vector<std::uint32_t> codes(cols);
    for (std::size_t r = 0; r < rows.rows; ++r) {
      (*format)->round(rows.Row(r), {}, codes);
      (*format)->decode(codes, {}, std::span(values).subspan((begin + r) * cols, cols));
    }
  });
}

Status ReadScalar(const Block& block, Backend& backend, LoadedParts& loaded) {
  if (!block.scalar) return {};
  return backend.Read(View(loaded.vectors[*block.scalar], 1, 1), std::span(&loaded.scalar, 1));
}

EmbeddingParts EmbeddingPartsOf(const Description& description) {
  EmbeddingParts parts{{description.embedding}, {}};
  for (const auto& matrix : {description.positions, description.token_embedding, description.token_projection}) {
    if (matrix) parts.matrices.push_back(*matrix);
  }
  if (description.token_norm) parts.vectors.push_back(*description.norms[*description.token_norm].weight);
  return parts;
}

Result<std::unique_ptr<Buffer>> UploadVector(const EncodedMatrixView& vector, float added, Backend& backend) {
  std::vector<float> values(vector.cols);
  DecodeRow(vector, 0, values);
  for (float& value : values) value += added;
  auto buffer = backend.Allocate(values.size());
  if (buffer) backend.Upload(values, View(*buffer, 1, values.size()));
  return buffer;
}

std::size_t LoadedParts::resident_bytes() const {
  std::size_t bytes = 0;
  for (const auto& vector : vectors) bytes += vector->bytes();
  for (const Linear& linear : matrices) {
    bytes += linear.weight->resident_bytes() + (linear.bias ? linear.bias->bytes() : 0);
  }
  return bytes;
}

std::size_t Weights::resident_bytes() const {
  std::size_t bytes = around.resident_bytes();
  for (const LoadedParts& block : blocks) bytes += block.resident_bytes();
  return bytes;
}

Result<Weights> LoadWeights(const Checkpoint& checkpoint, const Description& description, Backend& backend,
                            Precision precision, const ProgressFn& progress, const FormatMap& rounded) {
  if (auto status = CheckDeviceMemory(checkpoint, description, backend, precision, rounded); !status) {
    return status.error();
  }
  Loader loader(checkpoint, backend, precision, progress, description.tensors.size(), rounded);
  Weights weights;
  if (auto status = LoadParts(loader, description, description).MoveTo(weights.around); !status) return status.error();
  for (const Block& block : description.blocks) {
    auto loaded = LoadBlockWith(loader, description, backend, block);
    if (!loaded) return loaded.error();
    weights.blocks.push_back(std::move(*loaded));
  }
  return weights;
}

Result<std::unique_ptr<Weight>> LoadMatrix(const Checkpoint& checkpoint, const Matrix& matrix, Backend& backend,
                                           Precision precision) {
  return Loader(checkpoint, backend, precision, {}, 0).LoadMatrix(matrix);
}

Result<LoadedParts> LoadEmbedding(const Checkpoint& checkpoint, const Description& description, Backend& backend,
                                  Precision precision) {
  Loader loader(checkpoint, backend, precision, {}, 0);
  const EmbeddingParts parts = EmbeddingPartsOf(description);
  LoadedParts loaded;
  loaded.vectors.resize(description.vectors.size());
  loaded.matrices.resize(description.matrices.size());
  for (const std::size_t v : parts.vectors) {
    if (auto status = LoadOne(loader, description, description, v, loaded.vectors[v]); !status) return status.error();
  }
  for (const std::size_t m : parts.matrices) {
    if (auto status = LoadOne(loader, description, description.matrices[m], loaded.matrices[m]); !status)
      return status.error();
  }
  return loaded;
}

Result<LoadedParts> LoadBlock(const Checkpoint& checkpoint, const Description& description, Backend& backend,
                              Precision precision, std::size_t index) {
  Loader loader(checkpoint, backend, precision, {}, 0);
  return LoadBlockWith(loader, description, backend, description.blocks[index]);
}

}  // namespace marlin
