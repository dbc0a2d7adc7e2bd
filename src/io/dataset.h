// Evaluation texts: WikiText-2 test, any file, or the built-in sample. A text is never silently replaced by another
// one; its name and hash identify it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/progress.h"
#include "base/result.h"

namespace marlin {

inline constexpr std::string_view kWikiText2Name = "WikiText-2 test";
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

// Empty fields are filled from the environment.
struct DatasetOptions {
  std::filesystem::path data;         // --data: this file, or the WikiText-2 file in this folder, and nothing else
  std::filesystem::path data_folder;  // empty = $METAL_MARLIN_DATA
  std::filesystem::path cache_dir;    // empty = CacheDir()
  std::string endpoint;               // empty = $HF_ENDPOINT, else https://huggingface.co
  bool offline = false;               // never touches the network
};

// `data` if given; else wikitext-2-raw/wiki.test.raw in the data folder, then in the cache; else downloaded into the
// cache. Any text given as `data` is accepted under its own name.
// Errors: kInput (not found: says how to get it; empty, binary or unreadable text; download refused or failed),
// kResource (disk full), kCorrupt (the download is not WikiText-2), kInterrupted.
Result<EvalText> FindWikiText2(const DatasetOptions& options, const ProgressFn& progress);

// The same without the download: nothing when the text would have to be downloaded, whether or not that is allowed.
// Errors: kInput (`data` is not there; empty, binary or unreadable text).
Result<std::optional<EvalText>> FindLocalWikiText2(const DatasetOptions& options);

// Name, hash and size of WikiText-2 when the text is not available. For estimates only.
EvalText AbsentWikiText2();

// One text file under its own name, or as WikiText-2 if it is that. Errors: kInput.
Result<EvalText> OpenEvalText(const std::filesystem::path& path);

// The text in data/sample, compiled into the program.
EvalText BuiltInSample();

}  // namespace marlin
