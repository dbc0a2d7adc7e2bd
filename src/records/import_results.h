// Results of other programs as external records. Two programs are known: llama-bench (`-o json`, `-o jsonl`) and
// lm-evaluation-harness from version 0.4 on (`results_*.json`). Which one wrote a text is seen from the text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "records/external.h"

namespace marlin {

// A file of results without the answers to single questions has less than a megabyte.
inline constexpr std::size_t kLargestImportBytes = std::size_t{16} << 20;

// The records of one file, at least one: one for each model, build and machine that llama-bench ran, one for a file of
// lm-evaluation-harness. `where` names the file in messages, `file` is its name without a path, `command` imports it.
// The same text gives the same ids. Unknown fields are ignored.
// Errors: kInput, naming the entry and the field, with what it holds and what was wanted: not JSON or cut off (NaN and
// infinity are no JSON), of neither program, a field missing, of a wrong type or out of range, numbers that contradict
// each other, a text of more than 1,024 bytes, more than kMostExternalMeasurements numbers.
Result<std::vector<ExternalRecord>> ImportResults(std::string_view text, std::string_view where, std::string_view file,
                                                  std::string_view command);

}  // namespace marlin
