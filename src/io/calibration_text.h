// Calibration texts. None of them is an evaluation text, and none silently replaces another one.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/progress.h"
#include "base/result.h"
#include "io/dataset.h"

namespace marlin {

// A text with a name. Where it is looked for, in this order: `place` in the data folder, `place` in the cache, the
// network.
struct CalibrationSource {
  std::string_view name;
  std::string_view description;
  std::string_view place;     // file inside a data folder or the cache
  std::string_view endpoint;  // of the server; empty = this text is not downloaded
  std::string_view url_path;
  std::string_view member;  // file inside the archive that is sent; empty = the text itself is sent
};

// wikitext2, bartowski-v3, and names for texts that people have beside them.
std::span<const CalibrationSource> CalibrationSources();

struct CalibrationTextOptions {
  std::string data;                   // a name of the list, or a file
  std::filesystem::path data_folder;  // empty = $METAL_MARLIN_DATA
  std::filesystem::path cache_dir;    // empty = CacheDir()
  std::string endpoint;               // empty = the source's own, or $HF_ENDPOINT where that is Hugging Face's
  bool offline = false;
};

// The text; its name is the source's, or the file's own. A download is kept in the cache. Errors: kInput (unknown name,
// not to be had: says how to get it, not a text), kResource (disk full), kInterrupted.
Result<EvalText> FindCalibrationText(const CalibrationTextOptions& options, const ProgressFn& progress);

}  // namespace marlin
