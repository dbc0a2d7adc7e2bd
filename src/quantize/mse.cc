#include "quantize/mse.h"

#include <algorithm>
#include <memory>

#include "base/check.h"

namespace marlin {
namespace {

// [k], all equal where there is none.
std::vector<float> ImportanceOf(std::span<const float> importance, std::size_t k) {
  MARLIN_CHECK(importance.empty() || importance.size() == k, "one importance per column");
  if (importance.empty()) return std::vector<float>(k, 1.0f);
  return {importance.begin(), importance.end()};
}

}  // namespace

std::vector<GroupParams> SearchAllParams(const FormatRow& format, MatrixView<const float> weights,
                                         std::span<const float> importance, ThreadPool& pool) {
  const std::vector<float> counts = ImportanceOf(importance, weights.cols);
  const std::size_t groups = GroupsPerRow(format.info, weights.cols);
  std::vector<GroupParams> params(weights.rows * groups);
  const auto for_groups = [&](auto job) {
    pool.Split(params.size(), [&](std::size_t begin, std::size_t end, int) {
      for (std::size_t i = begin; i < end; ++i) {
        const std::size_t first = i % groups * static_cast<std::size_t>(format.info.group);
        const std::size_t size = std::min(static_cast<std::size_t>(format.info.group), weights.cols - first);
        const auto part = std::span(counts).subspan(first, size);
        params[i] = job(weights.Row(i / groups).subspan(first, size), part, params[i]);
      }
    });
  };
  for_groups([&](auto part, auto own, const GroupParams&) { return format.search(part, own); });
  if (format.info.unit_scope == UnitScope::kNone) return params;
  Settle(format, weights.cols, params);
  for_groups([&](auto part, auto own, const GroupParams& from) { return format.improve(part, own, from); });
  return params;
}

Result<std::vector<GroupParams>> SearchAllParams(const FormatRow& format, const DeviceTensor& weights,
                                                 std::span<const float> importance, const DeviceTensor& params,
                                                 Backend& device) {
  const std::size_t k = weights.cols;
  std::vector<GroupParams> found(weights.rows * GroupsPerRow(format.info, k));
  std::unique_ptr<Buffer> counts;
  if (auto status = device.AllocateAll({{&counts, k}}); !status) return status.error();
  ScaleSearchArgs args{&format, weights, View(counts, 1, k), params};
  device.Upload(ImportanceOf(importance, k), args.importance);
  device.quantizer()->SearchScales(args);
  if (auto status = device.Read(params, found); !status) return status.error();
  if (format.info.unit_scope == UnitScope::kNone) return found;
  Settle(format, k, found);
  device.Upload(found, params);
  args.improves = true;
  device.quantizer()->SearchScales(args);
  if (auto status = device.Read(params, found); !status) return status.error();
  return found;
}

Result<EncodedMatrix> EncodeMseOnDevice(const FormatRow& format, MatrixView<const float> weights,
                                        std::span<const float> importance, Backend& device, ThreadPool& pool) {
  const std::size_t n = weights.rows, k = weights.cols, words = GroupsPerRow(format.info, k) * kParamWords;
  MARLIN_CHECK(weights.stride == k, "no gaps between rows");
  std::unique_ptr<Buffer> copy, params;
  const auto status = device.AllocateAll({{&copy, n * k}, {&params, n * words, ElementType::kI32}});
  if (!status) return status.error();
  device.Upload(std::span(weights.data, n * k), View(copy, n, k));
  const auto found =
      SearchAllParams(format, View(copy, n, k), importance, View(params, n, words, ElementType::kI32), device);
  if (!found) return found.error();
  return EncodeWith(format, weights, *found, pool);
}

EncodedMatrix EncodeMse(const FormatRow& format, MatrixView<const float> weights, std::span<const float> importance,
                        ThreadPool& pool) {
  if (format.info.group == 0) return Encode(format, weights, pool);
  return EncodeWith(format, weights, SearchAllParams(format, weights, importance, pool), pool);
}

}  // namespace marlin
