#include "text/tokenizer_json_steps.h"

#include <fmt/format.h>

#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "text/base64.h"
#include "text/regex.h"
#include "text/tokenizer_json_members.h"
#include "text/vocabulary.h"

namespace marlin {
namespace {
using nlohmann::json;

constexpr std::array<std::pair<std::string_view, UnicodeForm>, 4> kUnicodeForms = {{
    {"NFC", UnicodeForm::kNfc},
    {"NFD", UnicodeForm::kNfd},
    {"NFKC", UnicodeForm::kNfkc},
    {"NFKD", UnicodeForm::kNfkd},
}};

constexpr int kMostStripped = 1 << 20;

// A kind of step: its name, its members beside "type", how to read it, given a list to append to.
template <class Step>
struct StepReader {
  std::string_view type;
  std::vector<KnownKey> members;
  std::function<Status(const json& step, std::string_view where, std::vector<Step>& steps)> read;
};

// A step, a Sequence of steps, or null.
template <class Step>
Status ReadSteps(std::span<const StepReader<Step>> readers, const char* list_key, std::string_view part,
                 const json& step, std::string_view where, std::vector<Step>& steps) {
  if (step.is_null()) return {};
  auto type = TextOf(step, "type", where);
  if (!type) return type.error();
  const std::string what = fmt::format("the {}", part);
  if (*type == "Sequence") {
    const std::array members = {KnownKey{"type"}, KnownKey{list_key}};
    if (auto status = CheckMembers(step, members, what, where); !status) return status;
    auto list = ArrayOf(step, list_key, where);
    if (!list) return list.error();
    for (const json& member : **list) {
      if (auto status = ReadSteps(readers, list_key, part, member, where, steps); !status) return status;
    }
    return {};
  }
  for (const StepReader<Step>& reader : readers) {
    if (reader.type != *type) continue;
    std::vector<KnownKey> members = reader.members;
    members.push_back(KnownKey{"type"});
    if (auto status = CheckMembers(step, members, what, where); !status) return status;
    return reader.read(step, where, steps);
  }
  return UnsupportedPart(where, fmt::format("the {} \"{}\"", part, *type));
}

template <class Step>
Result<std::vector<Step>> ReadPart(std::span<const StepReader<Step>> readers, const char* list_key,
                                   std::string_view part, const json& step, std::string_view where) {
  std::vector<Step> steps;
  if (auto status = ReadSteps(readers, list_key, part, step, where, steps); !status) return status.error();
  return steps;
}

struct Pattern {
  std::string text;
  bool is_regex = false;
};

// {"String": "a"} or {"Regex": "a+"}.
Result<Pattern> PatternOf(const json& step, std::string_view where) {
  const json* pattern = MemberOf(step, "pattern");
  if (pattern == nullptr) return BrokenTokenizer(where, "a step without \"pattern\"");
  const bool literal = MemberOf(*pattern, "String") != nullptr;
  auto text = TextOf(*pattern, literal ? "String" : "Regex", where);
  if (!text) return text.error();
  return Pattern{std::move(*text), !literal};
}

template <class Value, std::size_t n>
Result<Value> NamedValue(const json& step, const char* key, std::string_view absent,
                         const std::array<std::pair<std::string_view, Value>, n>& names, std::string_view where) {
  std::string name(absent);
  if (MemberOf(step, key) != nullptr || absent.empty()) {
    if (auto status = TextOf(step, key, where).MoveTo(name); !status) return status.error();
  }
  for (const auto& [spelling, value] : names) {
    if (spelling == name) return value;
  }
  return BrokenTokenizer(where, fmt::format("a step with the unknown {} \"{}\"", key, name));
}

template <class Value, std::size_t n>
std::string_view NameOf(Value wanted, const std::array<std::pair<std::string_view, Value>, n>& names) {
  for (const auto& [name, value] : names) {
    if (value == wanted) return name;
  }
  return {};
}

// "prepend_scheme", or "add_prefix_space" in older files.
Result<MetaspaceStep> ReadMetaspace(const json& step, std::string_view where) {
  MetaspaceStep metaspace;
  if (MemberOf(step, "replacement") != nullptr) {
    if (auto status = TextOf(step, "replacement", where).MoveTo(metaspace.replacement); !status) return status.error();
  }
  if (metaspace.replacement.empty() || CodePointAt(metaspace.replacement, 0).bytes != metaspace.replacement.size()) {
    return BrokenTokenizer(where, "the \"replacement\" of Metaspace is not one character");
  }
  auto prefix = FlagOf(step, "add_prefix_space", true, where);
  if (!prefix) return prefix.error();
  auto scheme = NamedValue(step, "prepend_scheme", *prefix ? "always" : "never", kPrependSchemeNames, where);
  if (!scheme) return scheme.error();
  metaspace.prepend = *scheme;
  auto split = FlagOf(step, "split", true, where);
  if (!split) return split.error();
  metaspace.split = *split;
  return metaspace;
}

const std::vector<KnownKey>& MetaspaceMembers() {
  static const std::vector<KnownKey> members = {KnownKey{"replacement"}, KnownKey{"prepend_scheme"}, KnownKey{"split"},
                                                KnownKey{"add_prefix_space"}, KnownKey{"str_rep"}};
  return members;
}

std::vector<StepReader<NormalizerStep>> NormalizerReaders() {
  std::vector<StepReader<NormalizerStep>> readers = {
      {"Prepend",
       {KnownKey{"prepend"}},
       [](const json& step, std::string_view where, auto& steps) -> Status {
         auto text = TextOf(step, "prepend", where);
         if (!text) return text.error();
         steps.emplace_back(PrependStep{std::move(*text)});
         return {};
       }},
      {"Replace",
       {KnownKey{"pattern"}, KnownKey{"content"}},
       [](const json& step, std::string_view where, auto& steps) -> Status {
         auto pattern = PatternOf(step, where);
         if (!pattern) return pattern.error();
         auto content = TextOf(step, "content", where);
         if (!content) return content.error();
         steps.emplace_back(ReplaceStep{std::move(pattern->text), pattern->is_regex, std::move(*content)});
         return {};
       }},
      {"Strip",
       {KnownKey{"strip_left"}, KnownKey{"strip_right"}},
       [](const json& step, std::string_view where, auto& steps) -> Status {
         auto left = FlagOf(step, "strip_left", true, where);
         if (!left) return left.error();
         auto right = FlagOf(step, "strip_right", true, where);
         if (!right) return right.error();
         steps.emplace_back(StripStep{*left, *right});
         return {};
       }},
      {"Lowercase",
       {},
       [](const json&, std::string_view, auto& steps) -> Status {
         steps.emplace_back(LowercaseStep{});
         return {};
       }},
      {"Precompiled",
       {KnownKey{"precompiled_charsmap"}},
       [](const json& step, std::string_view where, auto& steps) -> Status {
         auto text = TextOf(step, "precompiled_charsmap", where);
         if (!text) return text.error();
         auto bytes = DecodeBase64(*text);
         if (!bytes) return BrokenTokenizer(where, "\"precompiled_charsmap\" is not base64");
         if (!bytes->empty()) steps.emplace_back(PrecompiledStep{std::move(*bytes)});
         return {};
       }},
  };
  for (const auto& [name, form] : kUnicodeForms) {
    readers.push_back({name, {}, [form = form](const json&, std::string_view, auto& steps) -> Status {
                         steps.emplace_back(UnicodeFormStep{form});
                         return {};
                       }});
  }
  return readers;
}

std::vector<StepReader<PreTokenizerStep>> PreTokenizerReaders() {
  return {
      {"ByteLevel",
       {KnownKey{"add_prefix_space"}, KnownKey{"use_regex"}, KnownKey{"trim_offsets"}},  // offsets are not kept
       [](const json& step, std::string_view where, auto& steps) -> Status {
         auto prefix = FlagOf(step, "add_prefix_space", true, where);
         if (!prefix) return prefix.error();
         auto use_regex = FlagOf(step, "use_regex", true, where);
         if (!use_regex) return use_regex.error();
         steps.emplace_back(ByteLevelStep{*prefix, *use_regex});
         return {};
       }},
      {"Digits",
       {KnownKey{"individual_digits"}},
       [](const json& step, std::string_view where, auto& steps) -> Status {
         auto individual = FlagOf(step, "individual_digits", false, where);
         if (!individual) return individual.error();
         steps.emplace_back(DigitsStep{*individual});
         return {};
       }},
      {"Split",
       {KnownKey{"pattern"}, KnownKey{"behavior"}, KnownKey{"invert"}},
       [](const json& step, std::string_view where, auto& steps) -> Status {
         auto pattern = PatternOf(step, where);
         if (!pattern) return pattern.error();
         auto invert = FlagOf(step, "invert", false, where);
         if (!invert) return invert.error();
         auto behavior = NamedValue(step, "behavior", "", kSplitBehaviorNames, where);
         if (!behavior) return behavior.error();
         steps.emplace_back(
             SplitStep{pattern->is_regex ? pattern->text : EscapeRegex(pattern->text), *behavior, *invert});
         return {};
       }},
      {"Metaspace", MetaspaceMembers(),
       [](const json& step, std::string_view where, auto& steps) -> Status {
         auto metaspace = ReadMetaspace(step, where);
         if (!metaspace) return metaspace.error();
         steps.emplace_back(std::move(*metaspace));
         return {};
       }},
      {"Punctuation",
       {KnownKey{"behavior"}},
       [](const json& step, std::string_view where, auto& steps) -> Status {
         auto behavior = NamedValue(step, "behavior", "Isolated", kSplitBehaviorNames, where);
         if (!behavior) return behavior.error();
         steps.emplace_back(PunctuationStep{*behavior});
         return {};
       }},
      {"Whitespace",
       {},
       [](const json&, std::string_view, auto& steps) -> Status {
         steps.emplace_back(WhitespaceStep{});
         return {};
       }},
      {"WhitespaceSplit",
       {},
       [](const json&, std::string_view, auto& steps) -> Status {
         steps.emplace_back(WhitespaceSplitStep{});
         return {};
       }},
  };
}

template <class Step>
StepReader<DecoderStep> PlainDecoder(std::string_view type) {
  return {type, {}, [](const json&, std::string_view, auto& steps) -> Status {
            steps.emplace_back(Step{});
            return {};
          }};
}

std::vector<StepReader<DecoderStep>> DecoderReaders() {
  return {
      PlainDecoder<ByteFallbackStep>("ByteFallback"),
      PlainDecoder<FuseStep>("Fuse"),
      {"ByteLevel",
       {KnownKey{"add_prefix_space"}, KnownKey{"use_regex"}, KnownKey{"trim_offsets"}},
       [](const json&, std::string_view, auto& steps) -> Status {
         steps.emplace_back(DecodeByteLevelStep{});
         return {};
       }},
      {"Replace",
       {KnownKey{"pattern"}, KnownKey{"content"}},
       [](const json& step, std::string_view where, auto& steps) -> Status {
         auto pattern = PatternOf(step, where);
         if (!pattern) return pattern.error();
         if (pattern->is_regex) return UnsupportedPart(where, "a decoder that replaces a regular expression");
         auto content = TextOf(step, "content", where);
         if (!content) return content.error();
         steps.emplace_back(DecodeReplaceStep{std::move(pattern->text), std::move(*content)});
         return {};
       }},
      {"Strip",
       {KnownKey{"content"}, KnownKey{"start"}, KnownKey{"stop"}},
       [](const json& step, std::string_view where, auto& steps) -> Status {
         auto content = TextOf(step, "content", where);
         if (!content) return content.error();
         auto start = CountOf(step, "start", 0, kMostStripped, where);
         if (!start) return start.error();
         auto stop = CountOf(step, "stop", 0, kMostStripped, where);
         if (!stop) return stop.error();
         steps.emplace_back(DecodeStripStep{std::move(*content), *start, *stop});
         return {};
       }},
      {"Metaspace", MetaspaceMembers(),
       [](const json& step, std::string_view where, auto& steps) -> Status {
         auto metaspace = ReadMetaspace(step, where);
         if (!metaspace) return metaspace.error();
         steps.emplace_back(DecodeMetaspaceStep{std::move(*metaspace)});
         return {};
       }},
  };
}

json MetaspaceJson(const MetaspaceStep& step) {
  return {{"type", "Metaspace"},
          {"replacement", step.replacement},
          {"prepend_scheme", NameOf(step.prepend, kPrependSchemeNames)},
          {"split", step.split}};
}

struct NormalizerWriter {
  json operator()(const UnicodeFormStep& step) const { return {{"type", NameOf(step.form, kUnicodeForms)}}; }
  json operator()(const PrependStep& step) const { return {{"type", "Prepend"}, {"prepend", step.text}}; }
  json operator()(const ReplaceStep& step) const {
    return {{"type", "Replace"},
            {"pattern", {{step.is_regex ? "Regex" : "String", step.pattern}}},
            {"content", step.content}};
  }
  json operator()(const StripStep& step) const {
    return {{"type", "Strip"}, {"strip_left", step.left}, {"strip_right", step.right}};
  }
  json operator()(const LowercaseStep&) const { return {{"type", "Lowercase"}}; }
  json operator()(const PrecompiledStep& step) const {
    return {{"type", "Precompiled"}, {"precompiled_charsmap", EncodeBase64(step.charsmap)}};
  }
};

struct PreTokenizerWriter {
  json operator()(const SplitStep& step) const {
    return {{"type", "Split"},
            {"pattern", {{"Regex", step.pattern}}},
            {"behavior", NameOf(step.behavior, kSplitBehaviorNames)},
            {"invert", step.invert}};
  }
  json operator()(const DigitsStep& step) const { return {{"type", "Digits"}, {"individual_digits", step.individual}}; }
  json operator()(const ByteLevelStep& step) const { return ByteLevelJson(step); }
  json operator()(const MetaspaceStep& step) const { return MetaspaceJson(step); }
  json operator()(const PunctuationStep& step) const {
    return {{"type", "Punctuation"}, {"behavior", NameOf(step.behavior, kSplitBehaviorNames)}};
  }
  json operator()(const WhitespaceStep&) const { return {{"type", "Whitespace"}}; }
  json operator()(const WhitespaceSplitStep&) const { return {{"type", "WhitespaceSplit"}}; }
};

struct DecoderWriter {
  json operator()(const DecodeReplaceStep& step) const {
    return {{"type", "Replace"}, {"pattern", {{"String", step.pattern}}}, {"content", step.content}};
  }
  json operator()(const ByteFallbackStep&) const { return {{"type", "ByteFallback"}}; }
  json operator()(const FuseStep&) const { return {{"type", "Fuse"}}; }
  json operator()(const DecodeStripStep& step) const {
    return {{"type", "Strip"}, {"content", step.content}, {"start", step.start}, {"stop", step.stop}};
  }
  json operator()(const DecodeByteLevelStep&) const { return ByteLevelJson({false, true}); }
  json operator()(const DecodeMetaspaceStep& step) const { return MetaspaceJson(step.of); }
};

template <class Step, class Writer>
json StepsJson(const std::vector<Step>& steps, const char* list_key, const Writer& writer) {
  if (steps.empty()) return {};
  if (steps.size() == 1) return std::visit(writer, steps[0]);
  json list = json::array();
  for (const Step& step : steps) list.push_back(std::visit(writer, step));
  return {{"type", "Sequence"}, {list_key, list}};
}

}  // namespace

json ByteLevelJson(const ByteLevelStep& step) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", step.add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", step.use_regex}};
}

Result<std::vector<NormalizerStep>> ReadNormalizer(const json& part, std::string_view where) {
  static const auto readers = NormalizerReaders();
  return ReadPart<NormalizerStep>(readers, "normalizers", "normalizer", part, where);
}
Result<std::vector<PreTokenizerStep>> ReadPreTokenizer(const json& part, std::string_view where) {
  static const auto readers = PreTokenizerReaders();
  return ReadPart<PreTokenizerStep>(readers, "pretokenizers", "pre-tokenizer", part, where);
}
Result<std::vector<DecoderStep>> ReadDecoder(const json& part, std::string_view where) {
  static const auto readers = DecoderReaders();
  return ReadPart<DecoderStep>(readers, "decoders", "decoder", part, where);
}

json NormalizerJson(const std::vector<NormalizerStep>& steps) {
  return StepsJson(steps, "normalizers", NormalizerWriter());
}
json PreTokenizerJson(const std::vector<PreTokenizerStep>& steps) {
  return StepsJson(steps, "pretokenizers", PreTokenizerWriter());
}
json DecoderJson(const std::vector<DecoderStep>& steps) { return StepsJson(steps, "decoders", DecoderWriter()); }

}  // namespace marlin
