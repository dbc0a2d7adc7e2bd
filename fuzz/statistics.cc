// A file of calibration statistics. Its hashes keep changed bytes from being read; so inputs that fail at one are tried
// once more with the right hashes in their place.
#include <algorithm>
#include <cmath>

#include "base/sha256.h"
#include "files/safetensors.h"
#include "fuzz/files.h"
#include "fuzz/target_list.h"
#include "quantize/model_statistics.h"

namespace marlin {
namespace {

// The input with every recorded hash replaced by the true one, where both have the same length.
std::vector<std::uint8_t> WithTrueHashes(FuzzInput input) {
  std::vector<std::uint8_t> bytes(input.begin(), input.end());
  const auto file = OpenSafetensors(FuzzFile(input));
  if (!file) return bytes;
  for (const Tensor& tensor : file->tensors) {
    const auto recorded = file->metadata.find(HashKey(tensor.name));
    if (recorded == file->metadata.end()) continue;
    const std::string hash = Sha256Hex(tensor.bytes);
    const std::string entry = recorded->first + "\":\"" + recorded->second;
    const auto found = std::search(bytes.begin(), bytes.end(), entry.begin(), entry.end());
    if (found == bytes.end() || recorded->second.size() != hash.size()) continue;
    std::copy(hash.begin(), hash.end(), found + static_cast<std::ptrdiff_t>(entry.size() - hash.size()));
  }
  return bytes;
}

bool Sound(const std::vector<double>& sums) {
  return std::all_of(sums.begin(), sums.end(), [](double x) { return std::isfinite(x) && x >= 0; });
}

void CheckStatistics(const ModelStatistics& statistics) {
  static const FuzzFolder folder;
  for (const BlockStatistics& layer : statistics.blocks) {
    for (const InputStatistics& input : layer) {
      const std::size_t k = input.channels();
      MARLIN_CHECK(k > 0 && input.sum_abs.size() == k && input.max_abs.size() == k, "as many of each");
      MARLIN_CHECK(input.gram.empty() || input.gram.size() == k * k, "a square");
      MARLIN_CHECK(Sound(input.sum_squares) && Sound(input.sum_abs), "sums that can be used");
      for (const float x : input.max_abs) MARLIN_CHECK(std::isfinite(x) && x >= 0, "a largest value that can be used");
      for (const float x : input.gram) MARLIN_CHECK(std::isfinite(x), "a product that can be used");
    }
  }
  const auto path = folder.path() / "again";
  MARLIN_CHECK(WriteStatistics(statistics, path).ok(), "what was read can be written");
  const auto again = ReadStatistics(path);
  MARLIN_CHECK(again.ok() && again->blocks.size() == statistics.blocks.size(), "and read again");
  for (std::size_t i = 0; i < again->blocks.size(); ++i) {
    for (std::size_t j = 0; j < again->blocks[i].size(); ++j) {
      MARLIN_CHECK(again->blocks[i][j].sum_squares == statistics.blocks[i][j].sum_squares &&
                       again->blocks[i][j].gram == statistics.blocks[i][j].gram,
                   "and is the same");
    }
  }
}

}  // namespace

Status FuzzStatistics(FuzzInput input) {
  auto statistics = ReadStatistics(FuzzFile(input));
  const Status status = statistics ? Status() : statistics.error();
  if (!status.ok() && status.error().code == ErrorCode::kCorrupt) {
    statistics = ReadStatistics(FuzzFile(WithTrueHashes(input)));
  }
  if (statistics) CheckStatistics(*statistics);
  return status;
}

}  // namespace marlin
