// export: writes a model as a file or a folder of another program's format. check_export.cc compares it with its
// source.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/budget.h"
#include "cli/model_names.h"
#include "cli/model_options.h"
#include "cli/program_info.h"
#include "cli/verb.h"
#include "files/checkpoint.h"
#include "files/folder_layout.h"
#include "model/export_folder.h"
#include "model/export_gguf.h"

namespace marlin {
namespace {

// The formats of other programs. A row of this table is all that the command knows of one.
struct ExportFormat {
  const char* name;
  const char* ending;                  // of the file; empty: a folder
  std::optional<FolderLayout> layout;  // of the folder
  const char* programs;                // that read it, for the help text
};
constexpr std::array kExportFormats = {
    ExportFormat{"gguf", ".gguf", {}, "a file, for llama.cpp and programs that are built on it"},
    ExportFormat{"compressed-tensors", "", FolderLayout::kCompressedTensors, "a folder, for vLLM and transformers"},
    ExportFormat{"mlx", "", FolderLayout::kMlx, "a folder, for mlx-lm"}};

struct ExportType {
  std::string_view name;
  DType type;
};
constexpr std::array kExportTypes = {ExportType{"f16", DType::kF16}, ExportType{"bf16", DType::kBF16},
                                     ExportType{"f32", DType::kF32}};

struct ExportArguments {
  std::string model;
  std::string output;
  std::string to;
  std::string type;
  std::string split_size;
  std::vector<std::string> accept_unknown;
  bool overwrite = false;
};

std::vector<std::string> ExportTypeNames() {
  std::vector<std::string> names;
  for (const ExportType& row : kExportTypes) names.emplace_back(row.name);
  return names;
}

const ExportFormat& FormatOf(const ExportArguments& given) {
  return *std::ranges::find(kExportFormats, given.to, &ExportFormat::name);  // the option allows no others
}

std::optional<DType> TypeOf(const ExportArguments& given) {
  const auto type = std::ranges::find(kExportTypes, given.type, &ExportType::name);
  return type == kExportTypes.end() ? std::nullopt : std::optional(type->type);
}

// 0 where the user did not say.
Result<std::uint64_t> PartBytesOf(const ExportArguments& given) {
  if (given.split_size.empty()) return std::uint64_t{0};
  const auto bytes = ParseBytes(given.split_size, "--split-size");
  if (bytes && *bytes == 0) return Error{ErrorCode::kUsage, "--split-size is 0, want a size such as 2GB"};
  return bytes;
}

std::string ProgramName() {
  return fmt::format("metal-marlin {} ({})", GetProgramInfo().version, GetProgramInfo().commit);
}

Status CheckArguments(const ExportArguments& given) {
  const ExportFormat& format = FormatOf(given);
  if (!given.output.ends_with(format.ending)) {
    return Error{ErrorCode::kUsage, fmt::format("-o {}: other programs know a file of this format by the ending {}; "
                                                "want {}{}",
                                                given.output, format.ending, given.output, format.ending)};
  }
  if (format.layout == FolderLayout::kCompressedTensors && !given.type.empty()) {
    return Error{ErrorCode::kUsage, fmt::format("--type is for gguf and mlx; {} keeps the types of the folder; leave "
                                                "--type out",
                                                format.name)};
  }
  return {};
}

const Tokenizer* PointerTo(const std::optional<Tokenizer>& tokenizer) { return tokenizer ? &*tokenizer : nullptr; }

std::vector<std::string> NamesOf(const std::vector<std::filesystem::path>& files) {
  std::vector<std::string> names;
  for (const auto& file : files) names.push_back(file.string());
  return names;
}

struct Exported {
  std::vector<std::string> files;
  std::size_t tensors = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string> notes;
  std::string source_sha256;
};

void Print(const ExportArguments& given, const Exported& exported, const OpenedModel& opened, Console& console) {
  for (const std::string& note : exported.notes) console.Warn(note);
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

Result<Exported> ExportFile(const ExportArguments& given, const OpenedModel& opened, Console& console) {
  GgufExportOptions options;
  options.type = TypeOf(given);
  options.overwrite = given.overwrite;
  options.program = ProgramName();
  if (auto status = PartBytesOf(given).MoveTo(options.max_part_bytes); !status) return status.error();
  const auto tokenizer = TokenizerOf(opened.checkpoint);
  if (!tokenizer) return tokenizer.error();
  // A refusal first: the hash of a large model takes a while.
  if (const auto plan = PlanGguf(opened, PointerTo(*tokenizer), options); !plan) return plan.error();
  if (auto status = HashCheckpoint(opened.checkpoint).MoveTo(options.source_sha256); !status) return status.error();
  const auto plan = PlanGguf(opened, PointerTo(*tokenizer), options);
  if (!plan) return plan.error();
  const auto written = WriteGguf(opened, *plan, given.output, options, console.progress());
  console.EndProgress();
  if (!written) return written.error();
  return Exported{NamesOf(written->files), plan->model.tensors.size(), written->bytes, plan->notes,
                  options.source_sha256};
}

Result<Exported> ExportFolder(const ExportArguments& given, const OpenedModel& opened, FolderLayout layout,
                              Console& console) {
  FolderExportOptions options;
  options.layout = layout;
  options.type = TypeOf(given);
  options.program = ProgramName();
  const auto part_bytes = PartBytesOf(given);
  if (!part_bytes) return part_bytes.error();
  auto plan = PlanFolder(opened, options);
  if (!plan) return plan.error();
  const auto hash = HashCheckpoint(opened.checkpoint);
  if (!hash) return hash.error();
  plan->plan.made["exported"]["source_sha256"] = *hash;
  if (*part_bytes != 0) plan->plan.max_shard_bytes = *part_bytes;
  const auto written = WriteFolder(*plan, given.output, given.overwrite, console.progress());
  console.EndProgress();
  if (!written) return written.error();
  return Exported{{given.output}, written->tensors, written->bytes, plan->notes, *hash};
}

Status RunExport(const ExportArguments& given, Invocation& invocation) {
  Console& console = invocation.console;
  if (auto status = CheckArguments(given); !status) return status;
  if (const auto bytes = PartBytesOf(given); !bytes) return bytes.error();
  const std::optional<FolderLayout> layout = FormatOf(given).layout;
  if (auto status = layout ? CheckNewFolder(given.output, given.overwrite) : CheckOutputFile(given.output); !status)
    return status;
  const auto opened = OpenModelOf(given.model, given.accept_unknown, console);
  if (!opened) return opened.error();
  const auto exported = layout ? ExportFolder(given, *opened, *layout, console) : ExportFile(given, *opened, console);
  if (!exported) return exported.error();
  Print(given, *exported, *opened, console);
  return {};
}

}  // namespace

void RegisterExport(Verb parent) {
  auto options = std::make_shared<ExportArguments>();
  options->to = kExportFormats[0].name;
  Verb verb = parent.AddVerb("export", "Write a model as a file or a folder for other programs",
                             "metal-marlin export ./SmolLM2-135M -o SmolLM2-135M.gguf --to gguf");
  verb.Add("model", options->model, kModelWords).Required();
  verb.Add("-o,--output", options->output, "File or folder to write").Required();
  std::vector<std::string> formats, words;
  for (const ExportFormat& row : kExportFormats) {
    formats.emplace_back(row.name);
    words.push_back(fmt::format("{} ({})", row.name, row.programs));
  }
  verb.Add("--to", options->to, fmt::format("Format: {}", fmt::join(words, ", "))).OneOf(formats);
  verb.Add("--type", options->type,
           "f16, bf16 or f32; without it what the model has. gguf: type of the matrices; vectors and norms are always "
           "f32. mlx: type of scales, biases and all that is not quantized")
      .OneOf(ExportTypeNames());
  verb.Add("--split-size", options->split_size,
           "Write several files with at most so many bytes of tensors each, as 2GB: NAME-00001-of-00003.gguf, ...");
  AddAcceptUnknown(verb, options->accept_unknown);
  verb.AddFlag("--overwrite", options->overwrite, "Replace an existing file, or a folder that this program made");
  verb.AddFooter(
      fmt::format("\ncompressed-tensors and mlx take folders made by quantize, and keep their codes, scales and "
                  "zero points.\n"
                  "  compressed-tensors  {}\n"
                  "  mlx                 {}; of INT4, what the type of the scales holds",
                  FormatsOf(FolderLayout::kCompressedTensors), FormatsOf(FolderLayout::kMlx)));
  verb.Runs([options](Invocation& invocation) { return RunExport(*options, invocation); });
}

}  // namespace marlin
