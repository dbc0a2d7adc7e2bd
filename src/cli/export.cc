// export: writes a model as a file or a folder of another program's format. check_export.cc compares it with its
// source.

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/budget.h"
#include "cli/export_model.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/verb.h"
#include "files/checkpoint.h"
#include "files/folder_layout.h"
#include "files/quantized_layout.h"

namespace marlin {
namespace {

struct ExportArguments {
  std::string model;
  ExportRequest request;
  std::vector<std::string> accept_unknown;
};

// Of the quantized matrices of a folder by this program, each once.
std::vector<const FormatRow*> FormatsIn(const Checkpoint& checkpoint) {
  std::vector<const FormatRow*> formats;
  for (const Tensor& tensor : checkpoint.tensors) {
    if (!tensor.name.ends_with(kPackedSuffix)) continue;
    const auto matrix = FindEncoded(checkpoint, *StemOfEncoded(tensor.name));
    if (matrix && std::ranges::find(formats, matrix->format) == formats.end()) formats.push_back(matrix->format);
  }
  return formats;
}

void Print(const ExportArguments& given, const Exported& exported, const OpenedModel& opened, Console& console) {
  for (const std::string& note : exported.notes) console.Warn(note);
  const bool decoded = given.request.to == "gguf" && !given.request.type.empty();
  for (const FormatRow* const format : decoded ? std::vector<const FormatRow*>() : FormatsIn(opened.checkpoint)) {
    if (const std::string text = LargerInExport(given.request.to, format->info); !text.empty()) console.Warn(text);
  }
  console.Result(fmt::format("{}: {} tensors, {}{}", exported.files.front(), exported.tensors,
                             FormatBytes(static_cast<double>(exported.bytes)),
                             exported.files.size() > 1 ? fmt::format(" in {} files", exported.files.size()) : ""));
  console.Say(fmt::format("  compare it with its source: metal-marlin check-export {} {}",
                          QuoteForShell(exported.files.front()), QuoteForShell(given.model)));
  console.Data({{"files", exported.files},
                {"tensors", exported.tensors},
                {"bytes", exported.bytes},
                {"notes", exported.notes},
                {"source_sha256", exported.source_sha256},
                {"accepted_unknown", opened.checkpoint.accepted.found()}});
}

Status RunExport(const ExportArguments& given, Invocation& invocation) {
  Console& console = invocation.console;
  if (auto status = CheckExport(given.request); !status) return status;
  const auto opened = OpenModelOf(given.model, given.accept_unknown, console);
  if (!opened) return opened.error();
  const auto exported = ExportModel(given.request, *opened, console);
  if (!exported) return exported.error();
  Print(given, *exported, *opened, console);
  return {};
}

}  // namespace

void RegisterExport(Verb parent) {
  auto options = std::make_shared<ExportArguments>();
  options->request.to = ExportNames().front();
  Verb verb = parent.AddVerb("export", "Write a model as a file or a folder for other programs",
                             "metal-marlin export ./SmolLM2-135M -o SmolLM2-135M.gguf --to gguf");
  verb.Add("model", options->model, kModelWords).Required();
  verb.Add("-o,--output", options->request.output, "File or folder to write").Required();
  verb.Add("--to", options->request.to, fmt::format("Format: {}", DescribeExports()))
      .Explains(ContainerBehind)
      .OneOf(ExportNames());
  verb.Add("--type", options->request.type,
           "f16, bf16 or f32; without it what the model has. gguf: type of the matrices; vectors and norms are always "
           "f32. mlx: type of scales, biases and all that is not quantized")
      .OneOf(ExportTypeNames());
  verb.Add("--split-size", options->request.split_size,
           "Write several files with at most so many bytes of tensors each, as 2GB: NAME-00001-of-00003.gguf, ...");
  AddAcceptUnknown(verb, options->accept_unknown);
  verb.AddFlag("--overwrite", options->request.overwrite,
               "Replace an existing file, or a folder that this program made");
  verb.AddFooter(
      fmt::format("\ncompressed-tensors and mlx take folders made by quantize, and keep their codes, scales and "
                  "zero points.\n"
                  "  compressed-tensors  {}\n"
                  "  mlx                 {}; of INT4, what the type of the scales holds",
                  FormatsOf(FolderLayout::kCompressedTensors), FormatsOf(FolderLayout::kMlx)));
  verb.Runs([options](Invocation& invocation) { return RunExport(*options, invocation); });
}

}  // namespace marlin
