#include "model/device_memory.h"

#include <fmt/format.h>

#include "formats/formats.h"
#include "model/model_tensors.h"

namespace marlin {
namespace {

// In the size of the format that ChoosePlainFormat will give, which looks at the values too.
const FormatRow& PlainFormatOfSize(const Tensor& tensor, Precision precision) {
  const bool sixteen_bits = tensor.dtype == DType::kBF16 || tensor.dtype == DType::kF16;
  return *FindFormat(sixteen_bits || precision == Precision::kSixteenBit ? "fp16" : "fp32");
}

Result<std::size_t> BytesOfMatrix(const Checkpoint& checkpoint, const Matrix& matrix, const Backend& backend,
                                  Precision precision, const FormatMap& rounded) {
  const auto stored = FindMatrix(checkpoint, matrix);
  if (!stored) return stored.error();
  const auto wanted = rounded.find(matrix.name);
  const FormatRow& format = stored->encoded           ? *stored->encoded->format
                            : wanted != rounded.end() ? FormatForRows(*wanted->second, matrix.cols)
                                                      : PlainFormatOfSize(*stored->tensor, precision);
  const std::size_t bias = matrix.bias ? matrix.rows * sizeof(float) : 0;
  return backend.BytesToPack(format.info, matrix.rows, matrix.cols) + bias;
}

}  // namespace

Result<std::size_t> DeviceBytes(const Checkpoint& checkpoint, const Description& description, const Backend& backend,
                                Precision precision, const FormatMap& rounded) {
  std::size_t all = 0;
  for (const Parts* parts : AllParts(description)) {
    for (const Vector& vector : parts->vectors) all += vector.size * sizeof(float);
    for (const Matrix& matrix : parts->matrices) {
      const auto bytes = BytesOfMatrix(checkpoint, matrix, backend, precision, rounded);
      if (!bytes) return bytes.error();
      all += *bytes;
    }
  }
  return all;
}

Status CheckDeviceMemory(const Checkpoint& checkpoint, const Description& description, const Backend& backend,
                         Precision precision, const FormatMap& rounded) {
  const auto free = backend.free_bytes();
  if (!free) return {};
  const auto needed = DeviceBytes(checkpoint, description, backend, precision, rounded);
  if (!needed) return needed.error();
  if (*needed <= *free) return {};
  return Error{ErrorCode::kResource,
               fmt::format("{}: the weights need {} bytes of the memory of device {}, {} are free; choose a smaller "
                           "model or format, or another --device",
                           checkpoint.path.string(), *needed, backend.name(), *free)};
}

}  // namespace marlin
