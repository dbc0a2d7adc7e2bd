#include "text/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/file.h"
#include "base/open_file.h"
#include "files/checkpoint.h"
#include "files/gguf.h"
#include "files/json_text.h"
#include "files/known_keys.h"

namespace marlin {
namespace fs = std::filesystem;
namespace {
using nlohmann::ordered_json;

constexpr std::size_t kLongestCompanion_bytes = std::size_t{16} << 20;

struct Source {
  std::string text, where;
};

// A file that a folder may have, with the order of its keys; null where it is missing.
Result<ordered_json> ReadOrdered(const fs::path& path) {
  if (!IsListed(path)) return ordered_json();
  const auto text = ReadFile(path, kLongestCompanion_bytes);
  if (!text) return text.error();
  if (const auto checked = ParseJson(*text, path.string()); !checked) return checked.error();
  return ordered_json::parse(*text, nullptr, false);
}

// "chat_template": a text, or a list of {"name", "template"}.
Result<std::optional<Source>> SourceIn(const ordered_json& file, const fs::path& path) {
  if (!file.is_object() || !file.contains("chat_template") || file["chat_template"].is_null())
    return std::optional<Source>();
  const ordered_json& value = file["chat_template"];
  if (value.is_string()) return std::optional(Source{value.get<std::string>(), path.string()});
  std::string names;
  for (const ordered_json& row : value.is_array() ? value : ordered_json::array()) {
    const bool named = row.is_object() && row.contains("name") && row["name"].is_string() && row.contains("template") &&
                       row["template"].is_string();
    if (!named) break;
    if (row["name"] == "default") return std::optional(Source{row["template"].get<std::string>(), path.string()});
    names += (names.empty() ? "" : ", ") + row["name"].get<std::string>();
  }
  return Error{
      ErrorCode::kInput,
      fmt::format("{}: chat_template is {}; name a file with --chat-template", path.string(),
                  names.empty() ? "no text and no list of named templates" : "a list without \"default\": " + names)};
}

Error NoTemplate(const fs::path& path, std::string_view searched) {
  return Error{ErrorCode::kInput, fmt::format("{} has no chat template ({}); it may be a model that was not trained to "
                                              "chat. Name a file with --chat-template, or leave --chat out",
                                              path.string(), searched)};
}

Result<Source> SourceOfFolder(const fs::path& folder) {
  const fs::path jinja = folder / "chat_template.jinja";
  if (IsListed(jinja)) {
    auto text = ReadFile(jinja, kLongestCompanion_bytes);
    if (!text) return text.error();
    return Source{std::move(*text), jinja.string()};
  }
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const auto file = ReadOrdered(folder / name);
    if (!file) return file.error();
    auto source = SourceIn(*file, folder / name);
    if (!source) return source.error();
    if (*source) return std::move(**source);
  }
  return NoTemplate(folder, "chat_template.jinja, chat_template.json, tokenizer_config.json");
}

// "bos_token": "<s>" or {"content": "<s>"}; the first file that names a token decides.
Result<ordered_json> TokensOfFolder(const fs::path& folder) {
  constexpr std::array kNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                                 "pad_token", "cls_token", "mask_token"};
  ordered_json tokens = ordered_json::object();
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const auto file = ReadOrdered(folder / name);
    if (!file) return file.error();
    for (const char* key : kNames) {
      if (!file->is_object() || !file->contains(key) || tokens.contains(key)) continue;
      const ordered_json& value = (*file)[key];
      const bool inside = value.is_object() && value.contains("content");
      if (const ordered_json& text = inside ? value["content"] : value; text.is_string()) tokens[key] = text;
    }
  }
  return tokens;
}

Result<Source> SourceOfGguf(const GgufFile& gguf, const fs::path& path) {
  const auto text = gguf.Find<std::string_view>("tokenizer.chat_template");
  if (!text) return text.error();
  if (*text == nullptr) return NoTemplate(path, "tokenizer.chat_template");
  return Source{std::string(**text), path.string() + ": tokenizer.chat_template"};
}

Result<ordered_json> TokensOfGguf(const GgufFile& gguf) {
  constexpr std::array<std::pair<const char*, const char*>, 4> kKeys = {
      {{"bos_token", "tokenizer.ggml.bos_token_id"},
       {"eos_token", "tokenizer.ggml.eos_token_id"},
       {"unk_token", "tokenizer.ggml.unknown_token_id"},
       {"pad_token", "tokenizer.ggml.padding_token_id"}}};
  const auto words = gguf.Find<GgufStrings>("tokenizer.ggml.tokens");
  if (!words) return words.error();
  ordered_json tokens = ordered_json::object();
  for (const auto& [name, key] : kKeys) {
    const auto id = gguf.Find<std::int64_t>(key);
    if (!id) return id.error();
    const bool known =
        *words != nullptr && *id != nullptr && **id >= 0 && static_cast<std::size_t>(**id) < (*words)->size();
    if (known) tokens[name] = (**words)[static_cast<std::size_t>(**id)];
  }
  return tokens;
}

// "FIELD is GOT, want WANT" of a field that a message should have.
std::string Wanted(const ordered_json& object, const char* field, std::string_view want) {
  const bool found = object.contains(field);
  return fmt::format("\"{}\" is {}, want {}", field, found ? ShortValue(object[field]) : "missing", want);
}

// Templates differ in what else they take as a part: {"image"} without a type, a bare text.
std::string WrongWithPart(const ordered_json& part) {
  if (part.is_string()) return "";
  if (!part.is_object()) {
    return fmt::format("is {}, want an object such as {{\"type\": \"text\", \"text\": \"Hello\"}}", ShortValue(part));
  }
  for (const char* field : {"type", "text"}) {
    if (part.contains(field) && !part[field].is_string()) return "is wrong: " + Wanted(part, field, "a text");
  }
  return "";
}

// Empty if it is a message. One that calls tools or holds more than a role needs no content.
std::string WrongWith(const ordered_json& message) {
  if (!message.is_object()) {
    return fmt::format("it is {}, want an object such as {{\"role\": \"user\", \"content\": \"Hello\"}}",
                       ShortValue(message));
  }
  if (!message.contains("role") || !message["role"].is_string())
    return Wanted(message, "role", "a text such as \"user\"");
  const bool none = !message.contains("content") || message["content"].is_null();
  const auto says = [](const ordered_json& value) { return !value.is_null(); };
  if (none && std::count_if(message.begin(), message.end(), says) > 1) return "";
  const ordered_json content = none ? ordered_json() : message["content"];
  if (content.is_string()) return "";
  if (!content.is_array()) return Wanted(message, "content", "a text, or a list of parts");
  for (std::size_t i = 0; i < content.size(); ++i) {
    if (const std::string wrong = WrongWithPart(content[i]); !wrong.empty()) {
      return fmt::format("part {} of \"content\" {}", i + 1, wrong);
    }
  }
  return "";
}

// Null fields are left out; the first name of the reasoning that a message has fills the others.
ordered_json Normalized(const ordered_json& message) {
  ordered_json plain = ordered_json::object();
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null()) plain[key] = value;
  }
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    if (!plain.contains(name)) continue;
    const ordered_json reasoning = plain[name];
    ordered_json aliased = {{"thinking", reasoning}};
    for (const auto& [key, value] : plain.items()) aliased[key] = value;
    aliased["reasoning_content"] = reasoning;
    return aliased;
  }
  return plain;
}

bool HasParts(const ordered_json& message) { return message.contains("content") && message["content"].is_array(); }

}  // namespace

Result<ChatTemplate> FindChatTemplate(const Checkpoint& checkpoint, const fs::path& file) {
  Source source;
  ordered_json tokens;
  if (checkpoint.container == Container::kGguf) {
    const auto gguf = GgufFile::Open(checkpoint.path);
    if (!gguf) return gguf.error();
    if (auto status = TokensOfGguf(*gguf).MoveTo(tokens); !status) return status.error();
    if (file.empty()) {
      if (auto status = SourceOfGguf(*gguf, checkpoint.path).MoveTo(source); !status) return status.error();
    }
  } else {
    if (auto status = TokensOfFolder(checkpoint.path).MoveTo(tokens); !status) return status.error();
    if (file.empty()) {
      if (auto status = SourceOfFolder(checkpoint.path).MoveTo(source); !status) return status.error();
    }
  }
  if (!file.empty()) {
    source.where = file.string();
    if (auto status = ReadFile(file, kLongestCompanion_bytes).MoveTo(source.text); !status) return status.error();
  }
  auto parsed = JinjaTemplate::Parse(source.text, source.where);
  if (!parsed) return parsed.error();
  return ChatTemplate{std::move(*parsed), std::move(tokens)};
}

std::string ChatTemplateText(const Checkpoint& checkpoint) {
  if (checkpoint.container != Container::kGguf) {
    const auto source = SourceOfFolder(checkpoint.path);
    return source ? source->text : "";
  }
  const auto gguf = GgufFile::Open(checkpoint.path);
  if (!gguf) return "";
  const auto source = SourceOfGguf(*gguf, checkpoint.path);
  return source ? source->text : "";
}

Result<ordered_json> ReadMessages(const fs::path& path) {
  const auto text = ReadFile(path, kLongestCompanion_bytes);
  if (!text) return text.error();
  if (const auto checked = ParseJson(*text, path.string()); !checked) return checked.error();
  ordered_json messages = ordered_json::parse(*text, nullptr, false);
  if (!messages.is_array() || messages.empty()) {
    return Error{ErrorCode::kInput, path.string() +
                                        ": no list of messages, or an empty one, want a list such as "
                                        "[{\"role\": \"user\", \"content\": \"Hello\"}]"};
  }
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (const std::string wrong = WrongWith(messages[i]); !wrong.empty()) {
      return Error{ErrorCode::kInput, fmt::format("{}: message {}: {}", path.string(), i + 1, wrong)};
    }
  }
  return messages;
}

Result<std::string> RenderChat(const ChatTemplate& chat, const ordered_json& messages, const std::tm& now,
                               std::string_view where) {
  ordered_json variables = chat.tokens;
  variables["messages"] = ordered_json::array();
  for (const ordered_json& message : messages) variables["messages"].push_back(Normalized(message));
  variables["tools"] = nullptr;
  variables["documents"] = nullptr;
  variables["add_generation_prompt"] = true;
  auto prompt = chat.parsed.Render(variables, now);
  const auto listed = std::ranges::find_if(variables["messages"], HasParts);
  if (prompt || listed == variables["messages"].end()) return prompt;
  const auto number = listed - variables["messages"].begin() + 1;
  for (ordered_json& message : variables["messages"]) {
    if (HasParts(message)) message["content"] = "";
  }
  if (!chat.parsed.Render(variables, now)) return prompt;
  return Error{ErrorCode::kInput, fmt::format("{}: message {}: \"content\" is a list of parts, which the chat template "
                                              "does not take; want a text ({})",
                                              where, number, prompt.error().message)};
}

}  // namespace marlin
