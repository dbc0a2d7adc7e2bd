#include "study/row_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "records/record_json.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

constexpr const char* kTiming = "timing";

std::vector<std::string> WorkDone(const fs::path& work, const ComparisonRow& row) {
  std::vector<std::string> done;
  std::error_code code;
  if (row.is_made() && fs::exists(RowModelPath(work, row), code)) done.emplace_back(kQuantizedStage);
  const std::optional<Record> state = LoadRowState(work, row);
  if (!state) return done;
  if (state->perplexity) done.emplace_back("perplexity");
  if (state->divergence) done.emplace_back("KL");
  if (state->noise_floor) done.emplace_back("noise floor");
  if (state->size.peak_rss_decode_bytes) done.emplace_back("memory");
  if (state->throughput) done.emplace_back(kTiming);
  if (state->kernels) done.emplace_back("kernels");
  return done;
}

}  // namespace

fs::path RowStatePath(const fs::path& work, const ComparisonRow& row) { return work / (row.key + ".json"); }

fs::path RowModelPath(const fs::path& work, const ComparisonRow& row) {
  return work / fmt::format("{}-{}", row.config_id, row.key.substr(0, 12));
}

std::optional<Record> LoadRowState(const fs::path& work, const ComparisonRow& row) {
  const fs::path path = RowStatePath(work, row);
  const auto text = ReadFile(path);
  if (!text) return std::nullopt;
  auto state = FromJson(*text, path.string());
  if (!state || state->record.key != row.key) return std::nullopt;
  return std::move(state->record);
}

void FindWorkDone(const fs::path& work, std::vector<ComparisonRow>& rows) {
  bool all_timed = true;
  for (ComparisonRow& row : rows) {
    if (row.finished) continue;
    row.done = WorkDone(work, row);
    all_timed = all_timed && (row.imported || std::ranges::find(row.done, kTiming) != row.done.end());
  }
  if (all_timed) return;
  for (ComparisonRow& row : rows) std::erase(row.done, kTiming);
}

}  // namespace marlin
