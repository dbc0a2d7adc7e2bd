// A verb that does not exist: named, with the verbs there are and the one that was probably meant.
#pragma once

#include <span>
#include <string>

#include "cli/verb.h"

namespace marlin {

// The first words of a command line, which name a verb and, for some, a verb below it. Errors: kUsage. What is no word
// but an option, and a verb that is missing, are left to the parser.
Status CheckVerbs(const CLI::App& app, std::span<const std::string> words);

}  // namespace marlin
