// Writes an opened model as a file or a folder of another program's format: what the commands export and quantize
// share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/console.h"
#include "formats/format.h"
#include "model/open_model.h"

namespace marlin {

struct ExportRequest {
  std::string output;
  std::string to;          // one of ExportNames()
  std::string type;        // one of ExportTypeNames(), or empty
  std::string split_size;  // "2GB", or empty
  bool overwrite = false;
};

struct Exported {
  std::vector<std::string> files;
  std::size_t tensors = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string> notes;
  std::string source_sha256;
};

// "gguf", ...
std::vector<std::string> ExportNames();
// "gguf (a file, for ...), ...": for help texts.
std::string DescribeExports();
// "f16", ...
std::vector<std::string> ExportTypeNames();

// What is said of the name of a program that is no name of a container; empty for other words.
std::string ContainerBehind(const std::string& word);
// What is said of a format whose values need more bits in the container; empty where they do not.
std::string LargerInExport(const std::string& to, const FormatInfo& format);

// What can be said before the model is opened: names, sizes, an output that exists. Errors: kUsage, kInput.
Status CheckExport(const ExportRequest& request);

// The configuration that quantize takes for the container where the user names none.
std::string DefaultConfigOf(const std::string& to);
// Whether the container holds matrices of a format and of rows with so many weights.
bool FitsExport(const std::string& to, const FormatInfo& format, std::size_t cols);
// Errors: kUsage (the container holds no matrix of this format: names those that do).
Status CheckExportedFormat(const std::string& to, const FormatInfo& format);
// Whether the container can hold the model at all, as far as that is known before it is quantized. Errors:
// kUnsupported.
Status CheckExportedModel(const ExportRequest& request, const OpenedModel& opened);

// Errors: as PlanGguf and WriteGguf, PlanFolder and WriteFolder.
Result<Exported> ExportModel(const ExportRequest& request, const OpenedModel& opened, Console& console);

}  // namespace marlin
