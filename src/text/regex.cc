#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "base/check.h"
#include "text/unicode.h"

namespace marlin {
namespace {

template <auto kFree>
struct Free {
  void operator()(auto* pointer) const { kFree(pointer); }
};
using CodePtr = std::unique_ptr<pcre2_code, Free<pcre2_code_free>>;
using CompileContextPtr = std::unique_ptr<pcre2_compile_context, Free<pcre2_compile_context_free>>;
using MatchContextPtr = std::unique_ptr<pcre2_match_context, Free<pcre2_match_context_free>>;
using MatchDataPtr = std::unique_ptr<pcre2_match_data, Free<pcre2_match_data_free>>;
using JitStackPtr = std::unique_ptr<pcre2_jit_stack, Free<pcre2_jit_stack_free>>;

constexpr std::size_t kJitStackStart_bytes = 32 << 10;
constexpr std::size_t kJitStackMost_bytes = 8 << 20;
constexpr std::uint32_t kHeapMost_kib = 256 << 10;
// A greedy run that has to be given back costs one step per character, so the limit grows with the text.
constexpr std::uint64_t kStepsAtLeast = 10'000'000;
constexpr std::uint64_t kStepsPerByte = 8;
constexpr std::size_t kLongestExpression_bytes = 1 << 16;

std::string Message(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

PCRE2_SPTR Units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct Regex::Code {
  CodePtr code;
  decltype(&pcre2_match) match;  // with a JIT the function that calls it at once
};

struct Regex::Workspace::State {
  MatchContextPtr context{pcre2_match_context_create(nullptr)};
  JitStackPtr stack{pcre2_jit_stack_create(kJitStackStart_bytes, kJitStackMost_bytes, nullptr)};
  MatchDataPtr data{pcre2_match_data_create(1, nullptr)};  // the whole match is all we ask for
};

Regex::Workspace::Workspace() : state_(std::make_unique<State>()) {
  MARLIN_CHECK(state_->context != nullptr && state_->data != nullptr, "out of memory");
  pcre2_set_heap_limit(state_->context.get(), kHeapMost_kib);
  if (state_->stack != nullptr) pcre2_jit_stack_assign(state_->context.get(), nullptr, state_->stack.get());
}
Regex::Workspace::Workspace(Workspace&&) noexcept = default;
Regex::Workspace& Regex::Workspace::operator=(Workspace&&) noexcept = default;
Regex::Workspace::~Workspace() = default;

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

std::string EscapeRegex(std::string_view literal) {
  std::string escaped;
  for (const char c : literal) {
    if (std::string_view("\\.+*?()|[]{}^$-&").find(c) != std::string_view::npos) escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

Result<Regex> Regex::Compile(std::string_view oniguruma) {
  if (oniguruma.size() > kLongestExpression_bytes) {
    return Error{ErrorCode::kUnsupported, fmt::format("a regular expression of {} bytes; the longest taken has {}",
                                                      oniguruma.size(), kLongestExpression_bytes)};
  }
  auto pattern = TranslateRegex(oniguruma);
  if (!pattern) return pattern.error();
  const CompileContextPtr context(pcre2_compile_context_create(nullptr));
  MARLIN_CHECK(context != nullptr, "out of memory");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int code = 0;
  PCRE2_SIZE offset = 0;
  CodePtr compiled(pcre2_compile(Units(*pattern), pattern->size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code,
                                 &offset, context.get()));
  if (compiled == nullptr) {
    return Error{ErrorCode::kInput,
                 fmt::format("the regular expression '{}' does not compile: {}", oniguruma, Message(code))};
  }
  const bool has_jit = pcre2_jit_compile(compiled.get(), PCRE2_JIT_COMPLETE) == 0;
  return Regex(std::make_unique<Code>(Code{std::move(compiled), has_jit ? pcre2_jit_match : pcre2_match}));
}

Status Regex::FindAll(std::string_view text, Workspace& workspace, std::vector<TextRange>& matches) const {
  Workspace::State& state = *workspace.state_;
  const std::uint64_t steps = std::max(kStepsAtLeast, kStepsPerByte * text.size());
  pcre2_set_match_limit(state.context.get(), static_cast<std::uint32_t>(std::min<std::uint64_t>(steps, UINT32_MAX)));
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(state.data.get());
  std::size_t start = 0;
  std::size_t last_end = static_cast<std::size_t>(-1);
  while (start <= text.size()) {
    const int rc = code_->match(code_->code.get(), Units(text), text.size(), start, PCRE2_NO_UTF_CHECK,
                                state.data.get(), state.context.get());
    if (rc == PCRE2_ERROR_NOMATCH) return {};
    if (rc < 0) {
      return Error{
          ErrorCode::kUnsupported,
          fmt::format("the tokenizer's regular expression gives up on this text after byte {} of a piece of {}: {}",
                      start, text.size(), Message(rc))};
    }
    if (found[0] == found[1] && found[1] == last_end) {
      start = last_end == text.size() ? last_end + 1 : last_end + CodePointAt(text, last_end).bytes;
      continue;
    }
    matches.push_back({found[0], found[1]});
    start = last_end = found[1];
  }
  return {};
}

}  // namespace marlin
