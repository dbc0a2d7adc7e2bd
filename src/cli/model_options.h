// The option --accept-unknown, and opening a model with it and its tokenizer.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/verb.h"
#include "model/open_model.h"
#include "text/tokenizer.h"

namespace marlin {

void AddAcceptUnknown(Verb& verb, std::vector<std::string>& names);

// Opens a model by its path or its name in the cache, and warns of everything in it that was accepted. Errors: those of
// FindModel and OpenModel.
Result<OpenedModel> OpenModelOf(const std::string& name, const std::vector<std::string>& accept, Console& console);

// Empty where the model has no tokenizer. Errors: those of Tokenizer::FromCheckpoint.
Result<std::optional<Tokenizer>> TokenizerOf(const Checkpoint& checkpoint);

// Warns of what was accepted in a model, and of `accept`ed names that it does not hold.
void WarnOfAccepted(const Checkpoint& checkpoint, const std::vector<std::string>& accept, Console& console);

// Warns where a model is already quantized: what is made of it cannot be better.
void WarnOfQuantizedSource(const Checkpoint& checkpoint, const std::string& name, Console& console);

// The words of a command line that accept these names.
std::vector<std::string> AcceptWords(const std::vector<std::string>& names);

}  // namespace marlin
