#include "cli/export_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/file.h"
#include "base/open_file.h"
#include "cli/budget.h"
#include "cli/model_options.h"
#include "cli/program_info.h"
#include "files/checkpoint.h"
#include "files/folder_layout.h"
#include "files/ggml_encode.h"
#include "files/gguf_writer.h"
#include "formats/runtimes.h"
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
  const char* config;                  // of quantize, where the user names none
  const char* others;                  // names of programs that users may take for the container's
};
constexpr std::array kExportFormats = {
    ExportFormat{"gguf",
                 ".gguf",
                 {},
                 "a file, for llama.cpp and programs that are built on it",
                 "q4_k",
                 "llama.cpp llamacpp ollama lm-studio lmstudio koboldcpp"},
    ExportFormat{"compressed-tensors", "", FolderLayout::kCompressedTensors, "a folder, for vLLM and transformers",
                 "int4-g128", "vllm sglang transformers"},
    ExportFormat{"mlx", "", FolderLayout::kMlx, "a folder, for mlx-lm", "mlx4-g64", "mlx-lm"}};

struct ExportType {
  std::string_view name;
  DType type;
};
constexpr std::array kExportTypes = {ExportType{"f16", DType::kF16}, ExportType{"bf16", DType::kBF16},
                                     ExportType{"f32", DType::kF32}};

const ExportFormat& FormatOf(std::string_view to) {
  return *std::ranges::find(kExportFormats, to, &ExportFormat::name);  // the option allows no others
}

std::optional<DType> TypeOf(const ExportRequest& given) {
  const auto type = std::ranges::find(kExportTypes, given.type, &ExportType::name);
  return type == kExportTypes.end() ? std::nullopt : std::optional(type->type);
}

// 0 where the user did not say.
Result<std::uint64_t> PartBytesOf(const ExportRequest& given) {
  if (given.split_size.empty()) return std::uint64_t{0};
  const auto bytes = ParseBytes(given.split_size, "--split-size");
  if (bytes && *bytes == 0) return Error{ErrorCode::kUsage, "--split-size is 0, want a size such as 2GB"};
  return bytes;
}

std::string ProgramName() {
  return fmt::format("metal-marlin {} ({})", GetProgramInfo().version, GetProgramInfo().commit);
}

Status CheckArguments(const ExportRequest& given) {
  const ExportFormat& format = FormatOf(given.to);
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

Result<Exported> ExportFile(const ExportRequest& given, const OpenedModel& opened, Console& console) {
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

Result<Exported> ExportFolder(const ExportRequest& given, const OpenedModel& opened, FolderLayout layout,
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

}  // namespace

std::vector<std::string> ExportNames() {
  std::vector<std::string> names;
  for (const ExportFormat& row : kExportFormats) names.emplace_back(row.name);
  return names;
}

std::string DescribeExports() {
  std::vector<std::string> words;
  for (const ExportFormat& row : kExportFormats) words.push_back(fmt::format("{} ({})", row.name, row.programs));
  return fmt::format("{}", fmt::join(words, ", "));
}

std::string ContainerBehind(const std::string& word) {
  for (const ExportFormat& row : kExportFormats) {
    if (fmt::format(" {} ", row.others).find(fmt::format(" {} ", word)) == std::string::npos) continue;
    return fmt::format("{} reads {}: want --to {}", word, row.name, row.name);
  }
  return "";
}

std::string LargerInExport(const std::string& to, const FormatInfo& format) {
  const Runtime& runtime = *std::ranges::find(kRuntimes, to, &Runtime::container);
  const HeldFormat* const stored = FindHeld(runtime, format);
  if (stored == nullptr || stored->bits == 0) return "";
  return fmt::format(
      "{} takes {} bits per weight in {}, more than in a folder of this program: the values are the same", format.name,
      stored->bits, to);
}

std::vector<std::string> ExportTypeNames() {
  std::vector<std::string> names;
  for (const ExportType& row : kExportTypes) names.emplace_back(row.name);
  return names;
}

Status CheckExport(const ExportRequest& request) {
  if (auto status = CheckArguments(request); !status) return status;
  if (const auto bytes = PartBytesOf(request); !bytes) return bytes.error();
  if (FormatOf(request.to).layout) return CheckNewFolder(request.output, request.overwrite);
  if (auto status = CheckReplaced(request.output, request.overwrite); !status) return status;
  return CheckOutputFile(request.output);
}

std::string DefaultConfigOf(const std::string& to) { return FormatOf(to).config; }

bool FitsExport(const std::string& to, const FormatInfo& format, std::size_t cols) {
  const std::optional<FolderLayout> layout = FormatOf(to).layout;
  if (layout) return Holds(*layout, format) && cols % static_cast<std::size_t>(format.group) == 0;
  const auto type = BlockTypeOf(format);
  return type && cols % Info(*type).block_elements == 0;
}

Status CheckExportedFormat(const std::string& to, const FormatInfo& format) {
  const std::optional<FolderLayout> layout = FormatOf(to).layout;
  if (layout ? Holds(*layout, format) : BlockTypeOf(format).has_value()) return {};
  const std::string others = ContainersOf(format);
  return Error{ErrorCode::kUsage, fmt::format("--to {} holds no {} weights without loss ({}); choose one of {}", to,
                                              format.name, others.empty() ? "no container does" : "held by " + others,
                                              layout ? FormatsOf(*layout) : FormatsWithBlockTypes())};
}

Status CheckExportedModel(const ExportRequest& request, const OpenedModel& opened) {
  if (FormatOf(request.to).layout) return {};
  GgufExportOptions options;
  options.type = DType::kF16;
  const auto tokenizer = TokenizerOf(opened.checkpoint);
  if (!tokenizer) return tokenizer.error();
  const auto plan = PlanGguf(opened, PointerTo(*tokenizer), options);
  return plan ? Status() : plan.error();
}

Result<Exported> ExportModel(const ExportRequest& request, const OpenedModel& opened, Console& console) {
  const std::optional<FolderLayout> layout = FormatOf(request.to).layout;
  return layout ? ExportFolder(request, opened, *layout, console) : ExportFile(request, opened, console);
}

}  // namespace marlin
