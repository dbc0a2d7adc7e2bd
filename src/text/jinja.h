// A Jinja template and its rendering: the subset that chat templates use (docs/chat_templates.md lists it), with the
// settings of Hugging Face transformers. Anything else is an error. A template is foreign code: every rendering has
// limits, reaches no files, and ends.
#pragma once

#include <cstddef>
#include <ctime>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace marlin {

struct JinjaLimits {
  std::size_t most_steps = 4'000'000;                   // expressions, statements, kilobytes read: some seconds
  std::size_t most_bytes = std::size_t{256} << 20;      // of all values ever made
  std::size_t most_text_bytes = std::size_t{16} << 20;  // of one text, and of what is rendered
  int deepest = 200;                                    // expressions, statements and macros in each other
};

class JinjaTemplate {
 public:
  // `where` names the template in messages. Errors: kInput (not a Jinja template), kUnsupported (a construct that this
  // program does not know; the message names it). Both say line and column.
  static Result<JinjaTemplate> Parse(std::string_view source, std::string_view where);

  JinjaTemplate(JinjaTemplate&&) noexcept;
  JinjaTemplate& operator=(JinjaTemplate&&) noexcept;
  ~JinjaTemplate();

  // variables: an object. now: what strftime_now shows. Errors: kInput (the template refuses its variables, or computes
  // what Jinja refuses, too), kUnsupported (a filter, test, method or value that this program does not know, a limit).
  Result<std::string> Render(const nlohmann::ordered_json& variables, const std::tm& now,
                             const JinjaLimits& limits = {}) const;

 private:
  struct Impl;
  explicit JinjaTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace marlin
