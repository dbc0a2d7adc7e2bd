// Calibration texts. None of them is an evaluation text, and none silently replaces another one.
#pragma once

#include <span>
#include <string>

#include "base/progress.h"
#include "base/result.h"
#include "study/named_text.h"

namespace marlin {

// wikitext2, bartowski-v3, and names for texts that people have beside them.
std::span<const NamedText> CalibrationSources();

struct CalibrationTextOptions : TextSearch {
  std::string data;  // a name of the list, or a file
};

// The text; its name is the source's, or the file's own. A download is kept in the cache. Errors: kInput (unknown name,
// not to be had: says how to get it, not a text), kResource (disk full), kInterrupted.
Result<EvalText> FindCalibrationText(const CalibrationTextOptions& options, const ProgressFn& progress);

}  // namespace marlin
