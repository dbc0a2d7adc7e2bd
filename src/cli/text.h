// Options that choose the evaluation text.
#pragma once

#include <string>

#include "cli/verb.h"
#include "study/dataset.h"

namespace marlin {

struct TextOptions {
  std::string data;
  bool offline = false;
};

void AddTextOptions(Verb& verb, TextOptions& options);

// Prints the text's warnings. Errors: those of FindWikiText2.
Result<EvalText> FindText(const TextOptions& options, Console& console);

// The same for a dry run: never downloads, but returns AbsentWikiText2 and says in one line what would happen. Errors:
// those of FindLocalWikiText2.
Result<EvalText> FindTextWithoutNetwork(const TextOptions& options, Console& console);

}  // namespace marlin
