#include "study/row_model.h"

#include <fmt/format.h>

#include <set>
#include <system_error>

#include "files/verify_folder.h"
#include "quantize/quantize_model.h"
#include "study/job_list.h"

namespace marlin {
namespace fs = std::filesystem;

fs::path ModelPath(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonRow& row) {
  return row.is_made() ? RowModelPath(options, row) : model.path;
}

Status EnsureModel(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonTools& tools,
                   const ComparisonRow& row, record::Size& size) {
  if (!row.is_made()) return {};
  const fs::path folder = RowModelPath(options, row);
  std::error_code code;
  if (fs::exists(folder, code)) {
    if (const auto whole = VerifyFolder(folder, tools.progress); !whole.ok()) {
      if (whole.error().code == ErrorCode::kInterrupted) return whole.error();
      tools.Say(fmt::format("warning: {}; the row is quantized again", whole.error().message));
      fs::remove_all(folder, code);
    }
  }
  if (!fs::exists(folder, code)) {
    QuantizeOptions quantize;
    quantize.format = row.format;
    const FormatMap formats = row.mixed != nullptr ? row.mixed->formats() : FormatMap();
    if (row.mixed != nullptr) {
      quantize.formats = &formats;
      quantize.plan_sha256 = HashFormats(*row.mixed);
    }
    quantize.method = row.method;
    if (row.calibration) {
      quantize.calibration = &model.calibrations[*row.calibration];
      quantize.backend = &tools.maker;
    }
    quantize.threads = tools.maker.threads();
    quantize.source_sha256 = model.sha256;
    quantize.program = options.program.version + " " + options.program.commit;
    quantize.command = options.command;
    const auto summary = QuantizeModel(model.checkpoint, quantize, folder, tools.progress);
    if (!summary) return summary.error();
    for (const ClippedTensor& clipped : summary->clipped) tools.Say("warning: " + Describe(clipped));
  }
  const auto sizes = MeasureQuantizedFolder(folder);
  if (!sizes) return sizes.error();
  size.model_bytes = sizes->model_bytes;
  size.quantized_parameters = sizes->quantized_parameters;
  size.quantized_tensor_bytes = sizes->quantized_bytes;
  return {};
}

Result<Model> LoadRow(const ComparisonModel& model, const ComparisonOptions& options, const ComparisonTools& tools,
                      const ComparisonRow& row, Backend& backend, record::Size& size) {
  if (auto status = EnsureModel(model, options, tools, row, size); !status) return status.error();
  if (row.is_baseline()) return LoadModel(model.checkpoint, backend, Precision::kSixteenBit, tools.progress);
  if (row.imported) return LoadModel(row.imported->checkpoint, backend, Precision::kSource, tools.progress);
  const auto checkpoint = OpenCheckpoint(RowModelPath(options, row));
  if (!checkpoint) return checkpoint.error();
  return LoadModel(*checkpoint, backend, Precision::kSixteenBit, tools.progress);
}

void DropModel(const ComparisonOptions& options, const ComparisonRow& row) {
  if (options.keep_models || !row.is_made() || !row.is_known()) return;
  std::error_code ignored;
  fs::remove_all(RowModelPath(options, row), ignored);
}

std::string RowLabel(const ComparisonModel& model, const ComparisonRow& row) {
  return fmt::format("{} {}", model.name, row.name());
}

std::vector<std::string> KernelNames(const Model& model) {
  std::set<std::string> names{std::string(model.head().kernel())};
  for (const LoadedParts& block : model.weights.blocks) {
    for (const Linear& linear : block.matrices) names.insert(std::string(linear.weight->kernel()));
  }
  return {names.begin(), names.end()};
}

}  // namespace marlin
