#include "cli/compare_export.h"

#include <fmt/format.h>

#include "cli/model_options.h"
#include "model/export_folder.h"
#include "model/export_gguf.h"
#include "model/same_description.h"

namespace marlin {
namespace {

Status CompareSettings(const OpenedModel& source, const OpenedModel& written, const std::string& name) {
  const auto difference = FirstDifference(source.description, written.description);
  if (!difference) return {};
  return ExportDiffers(name,
                       fmt::format("{} is {}, want {}", difference->setting, difference->second, difference->first));
}

Status CompareNumbers(const OpenedModel& source, const OpenedModel& written, const ProgressFn& progress,
                      ComparedExport& out) {
  const auto take = [&](const auto& compared) -> Status {
    if (!compared) return compared.error();
    out.tensors = compared->tensors;
    out.weights = compared->weights;
    out.rounded = compared->rounded;
    return {};
  };
  return written.checkpoint.container == Container::kGguf
             ? take(CompareTensors(source, written.checkpoint.path, progress))
             : take(CompareFolders(source, written, progress));
}

// Whether both have one, which gives the same tokens.
Result<bool> CompareTokens(const OpenedModel& source, const OpenedModel& written, const std::string& name) {
  const auto own = TokenizerOf(source.checkpoint);
  if (!own) return own.error();
  const auto other = TokenizerOf(written.checkpoint);
  if (!other) return other.error();
  if (own->has_value() != other->has_value()) {
    return ExportDiffers(name, "only one of it and its source has a tokenizer");
  }
  if (!own->has_value()) return false;
  if (auto status = CompareTokenizers(**own, **other, name, ErrorCode::kCorrupt); !status) return status.error();
  return true;
}

}  // namespace

std::string ComparedExport::DescribeTensors() const {
  return fmt::format("{}, {} weights, each bit for bit{}", tensors, weights,
                     rounded == 0 ? "" : fmt::format("; {} are rounded to its type", rounded));
}

Error ExportDiffers(const std::string& name, const std::string& what) {
  return {ErrorCode::kCorrupt, fmt::format("{}: {}", name, what)};
}

Result<ComparedExport> CompareExport(const OpenedModel& source, const OpenedModel& written, const std::string& name,
                                     const ProgressFn& progress) {
  ComparedExport out;
  if (auto status = CompareSettings(source, written, name); !status) return status.error();
  if (auto status = CompareNumbers(source, written, progress, out); !status) return status.error();
  if (auto status = CompareTokens(source, written, name).MoveTo(out.tokenizer); !status) return status.error();
  return out;
}

}  // namespace marlin
