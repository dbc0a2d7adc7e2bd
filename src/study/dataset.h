// Finds the evaluation text: WikiText-2 test, or any file. A text is never silently replaced by another one.
#pragma once

#include <filesystem>
#include <optional>

#include "base/progress.h"
#include "base/result.h"
#include "study/named_text.h"
#include "text/eval_text.h"

namespace marlin {

struct DatasetOptions : TextSearch {
  std::filesystem::path data;  // --data: this file, or the WikiText-2 file in this folder, and nothing else
};

// `data` if given; else wikitext-2-raw/wiki.test.raw in the data folder, then in the cache; else downloaded into the
// cache. Any text given as `data` is accepted under its own name.
// Errors: kInput (not found: says how to get it; empty, binary or unreadable text; download refused or failed),
// kResource (disk full), kCorrupt (the download is not WikiText-2), kInterrupted.
Result<EvalText> FindWikiText2(const DatasetOptions& options, const ProgressFn& progress);

// The same without the download: nothing when the text would have to be downloaded, whether or not that is allowed.
// Errors: kInput (`data` is not there; empty, binary or unreadable text).
Result<std::optional<EvalText>> FindLocalWikiText2(const DatasetOptions& options);

}  // namespace marlin
