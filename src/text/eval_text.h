// Evaluation and calibration texts: a file, or the built-in sample. The name and hash of a text identify it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"

namespace marlin {

inline constexpr std::string_view kWikiText2Name = "WikiText-2 test";
inline constexpr std::string_view kWikiText2FileName = "wiki.test.raw";
inline constexpr std::string_view kBuiltInSampleName = "built-in sample";
inline constexpr std::uint64_t kWikiText2Bytes = 1'290'590;
inline constexpr std::string_view kWikiText2Sha256 = "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08";

struct EvalText {
  std::string name;                   // in reports: kWikiText2Name, kBuiltInSampleName, or the file's own name
  std::string_view text;              // valid UTF-8, not empty; lies in `file` or in the program
  std::uint64_t absent_bytes = 0;     // AbsentWikiText2 alone: the size of what `text` would be, which is empty
  std::string sha256;                 // of `text`
  bool is_standard = false;           // the WikiText-2 test file, bit for bit
  std::filesystem::path path;         // where it was found; empty = built in
  std::vector<std::string> warnings;  // sentences that the user should see
  std::optional<MappedFile> file;
};

// Name, hash and size of WikiText-2 when the text is not available. For estimates only.
EvalText AbsentWikiText2();

// One text file under its own name, or as WikiText-2 if it is that. Errors: kInput.
Result<EvalText> OpenEvalText(const std::filesystem::path& path);

// The text in data/sample, compiled into the program.
EvalText BuiltInSample();

}  // namespace marlin
