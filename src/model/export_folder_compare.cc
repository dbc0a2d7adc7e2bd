// CompareFolders of export_folder.h.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <set>
#include <utility>

#include "files/folder_layout.h"
#include "files/quantized_layout.h"
#include "model/export_folder.h"
#include "model/folder_parts.h"

namespace marlin {
namespace {

Error Differs(const OpenedModel& written, const std::string& what) {
  return {ErrorCode::kCorrupt, fmt::format("{}: {}", written.checkpoint.path.string(), what)};
}

bool SameParams(const GroupParams& a, const GroupParams& b) {
  const bool empty = a.scale == 0 && b.scale == 0 && a.bias == b.bias;  // no code counts
  return empty || (a.scale == b.scale && a.bias == b.bias && a.zero_point == b.zero_point);
}

Status CompareMatrices(const OpenedModel& written, const std::string& name, const EncodedMatrixView& want,
                       const EncodedMatrixView& got) {
  if (got.format != want.format || got.rows != want.rows || got.cols != want.cols) {
    return Differs(written, fmt::format("{} is {} [{}, {}], want {} [{}, {}]", name, got.format->info.name, got.rows,
                                        got.cols, want.format->info.name, want.rows, want.cols));
  }
  const std::size_t row_bytes = CodeBytesPerRow(want.format->info, want.cols);
  if (const auto at = std::ranges::mismatch(want.codes, got.codes); at.in1 != want.codes.end()) {
    const auto place = static_cast<std::size_t>(at.in1 - want.codes.begin());
    return Differs(written, fmt::format("{}, row {}: byte {} of its codes: got {}, want {}", name, place / row_bytes,
                                        place % row_bytes, *at.in2, *at.in1));
  }
  for (std::size_t row = 0; row < want.rows; ++row) {
    if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted while comparing the models"};
    for (std::size_t group = 0; group < want.groups(); ++group) {
      const GroupParams wanted = GetParams(want, row, group), found = GetParams(got, row, group);
      if (SameParams(wanted, found)) continue;
      return Differs(written, fmt::format("{}, row {}, group {}: got scale {}, bias {} and zero point {}, want {}, {} "
                                          "and {}",
                                          name, row, group, found.scale, found.bias, found.zero_point, wanted.scale,
                                          wanted.bias, wanted.zero_point));
    }
  }
  return {};
}

Status ComparePlain(const OpenedModel& written, const Tensor& want, const Tensor& got, FolderComparison& out) {
  if (got.shape != want.shape) {
    return Differs(written, fmt::format("tensor {} has shape [{}], want [{}]", want.name, fmt::join(got.shape, ", "),
                                        fmt::join(want.shape, ", ")));
  }
  const std::size_t cols = want.cols();
  std::vector<float> other;
  const Status status = ForRows(want, [&](std::size_t row, std::span<const float> values) -> Status {
    other.resize(values.size());
    if (auto read = DecodeRows(got, row, MatrixView<float>(other.data(), values.size() / cols, cols)); !read)
      return read;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float wanted = RoundedTo(got.dtype, values[i]);
      out.rounded += wanted != values[i] ? 1 : 0;
      if (std::bit_cast<std::uint32_t>(wanted) == std::bit_cast<std::uint32_t>(other[i])) continue;
      return Differs(written, fmt::format("tensor {}, row {}, column {}: got {}, want {}", want.name, row + i / cols,
                                          i % cols, other[i], wanted));
    }
    return {};
  });
  if (status) out.weights += want.elements();
  return status;
}

// One tensor of the source, or a matrix under its stem.
Status CompareOne(const OpenedModel& source, const OpenedModel& written, const NamedPart& own, FolderComparison& out) {
  const Checkpoint& other = written.checkpoint;
  if (own.part.plain != nullptr) {
    const Tensor* const got = other.Find(own.name);
    if (got == nullptr) return Differs(written, fmt::format("tensor {} is missing", own.name));
    const Status status = ComparePlain(written, *own.part.plain, *got, out);
    source.checkpoint.Forget(*own.part.plain);
    other.Forget(*got);
    return status;
  }
  if (other.Find(own.name + std::string(kPackedSuffix)) == nullptr) {
    return Differs(written, fmt::format("{} is not quantized", own.name));
  }
  const auto got = FindEncoded(other, own.name);
  if (!got) return got.error();
  out.weights += got->rows * got->cols;
  return CompareMatrices(written, own.name, *own.part.encoded, *got);
}

}  // namespace

Result<FolderComparison> CompareFolders(const OpenedModel& source, const OpenedModel& written,
                                        const ProgressFn& progress) {
  FolderComparison out;
  std::set<std::string> known;
  for (const Tensor& tensor : source.checkpoint.tensors) {
    known.insert(tensor.name);
    const auto own = PartOf(source.checkpoint, tensor);
    if (!own) return own.error();
    if (!*own) continue;
    if (auto status = CompareOne(source, written, **own, out); !status) return status.error();
    ++out.tensors;
    if (progress) progress({"comparing", known.size(), source.checkpoint.tensors.size(), "tensors", tensor.name});
  }
  for (const Tensor& tensor : written.checkpoint.tensors) {
    if (!known.contains(tensor.name))
      return Differs(written, fmt::format("tensor {} is not one of the source", tensor.name));
  }
  return out;
}

}  // namespace marlin
