#include "cli/prompt.h"

#include <ctime>

#include "base/file.h"
#include "files/checkpoint.h"
#include "text/chat_template.h"

namespace marlin {
namespace {
using nlohmann::ordered_json;

constexpr std::size_t kLongestPrompt_bytes = std::size_t{64} << 20;

std::tm LocalTime() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  return local;
}

Result<std::string> TextOfUser(const PromptOptions& options) {
  return options.file.empty() ? Result<std::string>(options.text) : ReadFile(options.file, kLongestPrompt_bytes);
}

Result<ordered_json> MessagesOf(const PromptOptions& options) {
  if (!options.messages.empty()) return ReadMessages(options.messages);
  const auto text = TextOfUser(options);
  if (!text) return text.error();
  ordered_json messages = ordered_json::array();
  if (!options.system.empty()) messages.push_back({{"role", "system"}, {"content", options.system}});
  messages.push_back({{"role", "user"}, {"content", *text}});
  return messages;
}

}  // namespace

void AddPromptOptions(Verb& verb, PromptOptions& options) {
  const Option text =
      verb.Add("-p,--prompt", options.text,
               "Text to continue, or with --chat the user's message; special tokens in it are recognized");
  const Option file = verb.Add("--prompt-file", options.file, "The same, from a file").Excludes(text);
  const Option chat = verb.AddFlag("--chat", options.chat, "Answer a message, through the model's chat template");
  const Option messages = verb.Add("--messages", options.messages,
                                   "JSON file with the messages of a chat: a list of {\"role\", \"content\"}")
                              .Needs(chat)
                              .Excludes(text)
                              .Excludes(file);
  verb.Add("--system", options.system, "System message of the chat").Needs(chat).Excludes(messages);
  verb.Add("--chat-template", options.chat_template, "File with a chat template, instead of the model's").Needs(chat);
}

Result<std::string> PromptOf(const PromptOptions& options, const Checkpoint& checkpoint) {
  if (options.text.empty() && options.file.empty() && options.messages.empty()) {
    return Error{ErrorCode::kUsage,
                 "the prompt is missing; give some text with --prompt or --prompt-file, or with "
                 "--chat a file of messages with --messages"};
  }
  if (!options.chat) return TextOfUser(options);
  const auto messages = MessagesOf(options);
  if (!messages) return messages.error();
  const auto chat = FindChatTemplate(checkpoint, options.chat_template);
  if (!chat) return chat.error();
  return RenderChat(*chat, *messages, LocalTime(), options.messages);
}

}  // namespace marlin
