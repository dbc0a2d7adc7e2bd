// A chat template, a byte 0, the messages as JSON.
#include "text/jinja.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "files/json_text.h"
#include "fuzz/target_list.h"
#include "text/unicode.h"

namespace marlin {

Status FuzzJinja(FuzzInput input) {
  const std::string_view all = FuzzText(input);
  const std::size_t end = std::min(all.find('\0'), all.size());
  const std::string_view messages = all.substr(std::min(end + 1, all.size()));
  const auto parsed = JinjaTemplate::Parse(all.substr(0, end), "chat_template.jinja");
  if (!parsed) return parsed.error();
  if (const auto checked = ParseJson(messages, "messages.json"); !checked) return checked.error();
  nlohmann::ordered_json variables = {{"bos_token", "<s>"}, {"add_generation_prompt", true}};
  variables["messages"] = nlohmann::ordered_json::parse(messages, nullptr, false);
  if (!variables["messages"].is_array()) return Error{ErrorCode::kInput, "the messages are no list"};

  JinjaLimits limits;
  limits.most_steps = 100'000;
  limits.most_bytes = std::size_t{16} << 20;
  limits.most_text_bytes = std::size_t{1} << 20;
  const auto text = parsed->Render(variables, std::tm{}, limits);
  if (!text) return text.error();
  MARLIN_CHECK(text->size() <= limits.most_text_bytes && !FindInvalidUtf8(*text), "a text within the limits");
  const auto again = parsed->Render(variables, std::tm{}, limits);
  MARLIN_CHECK(again.ok() && *again == *text, "the same input gives the same text");
  return {};
}

}  // namespace marlin
