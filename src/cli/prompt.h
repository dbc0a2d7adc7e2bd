// The prompt of generate: a text as given, or a chat through the model's template.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/verb.h"

namespace marlin {

struct Checkpoint;

struct PromptOptions {
  std::string text, file;
  bool chat = false;
  std::string system, messages, chat_template;
};

void AddPromptOptions(Verb& verb, PromptOptions& options);

// The text that the model continues. Errors: kUsage (options that do not fit together), kInput, kUnsupported (files,
// the template).
Result<std::string> PromptOf(const PromptOptions& options, const Checkpoint& checkpoint);

}  // namespace marlin
