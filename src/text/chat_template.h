// The chat template of a model, and the prompt that it makes of messages.
#pragma once

#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "text/jinja.h"

namespace marlin {

struct Checkpoint;

struct ChatTemplate {
  JinjaTemplate parsed;
  nlohmann::ordered_json tokens;  // "bos_token", "eos_token", ... as the model's files write them
};

// The template of the model: chat_template.jinja, chat_template.json or tokenizer_config.json of the folder, or
// tokenizer.chat_template of a GGUF; `file` replaces it where it is not empty. Of several named templates the one named
// "default". Errors: kInput (there is none, or files are broken), kUnsupported (see JinjaTemplate::Parse).
Result<ChatTemplate> FindChatTemplate(const Checkpoint& checkpoint, const std::filesystem::path& file);

// The text of that template as the model's files hold it; empty where they hold none that FindChatTemplate would take.
std::string ChatTemplateText(const Checkpoint& checkpoint);

// A list of objects with a text "role" and, if they hold nothing else, a "content": a text or a list of parts. Errors:
// kInput (file, number of the message, field, got, want).
Result<nlohmann::ordered_json> ReadMessages(const std::filesystem::path& path);

// The text in front of the model's answer. As in transformers, fields that are null are left out, and the names of a
// message's reasoning (reasoning_content, thinking, reasoning) stand for each other. `where` names the messages.
// Errors: those of JinjaTemplate::Render, kInput (contents that are lists, and a template that wants texts).
Result<std::string> RenderChat(const ChatTemplate& chat, const nlohmann::ordered_json& messages, const std::tm& now,
                               std::string_view where);

}  // namespace marlin
