// Memory of this process as the operating system counts it, and loading a model without keeping temporary memory.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/console.h"
#include "files/quantized_layout.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "model/open_model.h"
#include "text/tokenizer.h"

namespace marlin {

// Starts a new peak: what was freed before does not count.
void ResetPeakMemory();

// Peak resident bytes since ResetPeakMemory (Linux; elsewhere since the start of the process).
std::size_t PeakMemoryBytes();

struct LoadedModel {
  Model model;
  Tokenizer tokenizer;
  std::optional<MadeBy> made_by;              // of a folder made by quantize
  std::vector<std::string> accepted_unknown;  // keys and tensors that its numbers leave out
};

// The two steps of LoadModelAndTokenizer, for what else needs the model's files.
Result<OpenedModel> OpenVerified(const std::string& name, const std::vector<std::string>& accept, bool verify,
                                 Console& console);
Result<LoadedModel> LoadOpened(const OpenedModel& opened, Backend& backend, Console& console);

// name: a path, or a name in the cache. accept: of --accept-unknown. The model's files are unmapped before this
// returns. Errors: those of OpenModelOf, LoadModel and Tokenizer; kCorrupt with verify.
Result<LoadedModel> LoadModelAndTokenizer(const std::string& name, const std::vector<std::string>& accept, bool verify,
                                          Backend& backend, Console& console);

}  // namespace marlin
