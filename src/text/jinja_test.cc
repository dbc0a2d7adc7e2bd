#include "text/jinja.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/test_text.h"

namespace marlin {
namespace {
using nlohmann::ordered_json;

Result<std::string> RenderIn(const std::string& source, const ordered_json& variables = ordered_json::object(),
                             const JinjaLimits& limits = {}) {
  const auto parsed = JinjaTemplate::Parse(source, "t.jinja");
  if (!parsed) return parsed.error();
  return parsed->Render(variables, std::tm{}, limits);
}

void ExpectJinjaError(const std::string& source, ErrorCode code, const std::string& message,
                      const JinjaLimits& limits = {}) {
  const auto rendered = RenderIn(source, {{"x", 1}, {"none_here", nullptr}}, limits);
  ASSERT_FALSE(rendered.ok()) << source.substr(0, 100);
  EXPECT_EQ(rendered.error().code, code) << rendered.error().message;
  EXPECT_TRUE(Has(rendered.error().message, message)) << rendered.error().message;
}

TEST(Jinja, VariablesKeepTheirOrderAndTypes) {
  const auto variables = ordered_json::parse(R"({"z": {"b": 1, "a": [true, null, 1.0, "é"]}, "n": -5})");
  EXPECT_EQ(*RenderIn("{{ z }} {{ n + 1 }}", variables), "{'b': 1, 'a': [True, None, 1.0, 'é']} -4");
  ExpectJinjaError("{{ y.z }}", ErrorCode::kInput, "'y' is undefined");
  const auto large = RenderIn("a", {{"n", 18446744073709551615u}});
  ASSERT_FALSE(large.ok());
  EXPECT_EQ(large.error().code, ErrorCode::kUnsupported);
}

TEST(Jinja, MessagesNameThePlaceAndTheConstruct) {
  ExpectJinjaError("line\n  é{{ x | swim }}", ErrorCode::kUnsupported,
                   "t.jinja: line 2, column 11: the filter swim is not supported");
  ExpectJinjaError("{% if x is wet %}{% endif %}", ErrorCode::kUnsupported, "the test wet is not supported");
  ExpectJinjaError("{{ 'a'.center(3) }}", ErrorCode::kUnsupported, "the method center of a str is not supported");
  ExpectJinjaError("\n{% include 'x' %}", ErrorCode::kUnsupported,
                   "line 2, column 4: the tag \"include\" is not supported");
  ExpectJinjaError("{% swim %}", ErrorCode::kInput, "the tag \"swim\" does not exist");
  ExpectJinjaError("{% call f() %}{% endcall %}", ErrorCode::kUnsupported, "the tag \"call\"");
  ExpectJinjaError("{% for a in x recursive %}{% endfor %}", ErrorCode::kUnsupported, "recursive");
  ExpectJinjaError("{{ [1].append(2) }}", ErrorCode::kInput, "the method append would change a list");
  ExpectJinjaError("{{ x.__class__ }}", ErrorCode::kUnsupported, "the attribute __class__");
  ExpectJinjaError("{{ raise_exception('no system') }}", ErrorCode::kInput,
                   "the template refuses the messages: no system");
  ExpectJinjaError("{{ none_here + 'a' }}", ErrorCode::kInput, "NoneType + str has no meaning");
  ExpectJinjaError("{% if x %}a", ErrorCode::kInput, "the template ends before endif");
  ExpectJinjaError("{{ x", ErrorCode::kInput, "line 1, column 1: the tag has no end");
  ExpectJinjaError("{{ $abé }}", ErrorCode::kInput, "line 1, column 4: the character '$' in a tag");
  ExpectJinjaError("{{ 東 }}", ErrorCode::kUnsupported, "line 1, column 4: the character '東' in a tag");
  ExpectJinjaError("{{ x }}{{ ) }}", ErrorCode::kInput, "line 1, column 11: ) closes nothing");
}

TEST(Jinja, TextThatIsNotUtf8IsRefused) { ExpectJinjaError("a\xff{{ x }}", ErrorCode::kInput, "not UTF-8 at byte 1"); }

TEST(Jinja, AHostileTemplateEnds) {
  const std::string forever = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
  ExpectJinjaError(forever, ErrorCode::kUnsupported, "takes more than 1000000 steps", {.most_steps = 1'000'000});
  ExpectJinjaError("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", ErrorCode::kUnsupported, "in each other");
  ExpectJinjaError("{% set ns = namespace(a='ab') %}{% for i in range(90) %}{% set ns.a = ns.a * 2 %}{% endfor %}",
                   ErrorCode::kUnsupported, "this program's limit");
  ExpectJinjaError("{{ 'ab' * 99999999999 }}", ErrorCode::kUnsupported, "bytes, this program's limit");
  ExpectJinjaError("{{ [1] * 99999999999 }}", ErrorCode::kUnsupported, "bytes, this program's limit");
  ExpectJinjaError("{{ ('a' * 1000000)|replace('a', 'b' * 1000000) }}", ErrorCode::kUnsupported,
                   "this program's limit");
  ExpectJinjaError("{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}", ErrorCode::kUnsupported,
                   "this program's limit");
  ExpectJinjaError("{% for i in range(99999) %}" + std::string(1000, 'a') + "{% endfor %}", ErrorCode::kUnsupported,
                   "writes more than");
  ExpectJinjaError("{% set a = 'a' * 9000000 %}{% set b = 'a' * 4000000 ~ 'b' %}{{ b in a }}", ErrorCode::kUnsupported,
                   "steps");
  ExpectJinjaError("{{ 'x'|indent(99999999) }}", ErrorCode::kUnsupported, "indent");
}

// A list that holds itself twice at every level has few values and a text without end.
TEST(Jinja, SharedValuesAreCountedAsOftenAsTheyAreWritten) {
  const std::string begin =
      "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}";
  for (const char* use :
       {"{{ ns.a }}", "{{ ns.a|tojson }}", "{{ ns.a == [ns.a[0], ns.a[0]] }}", "{{ ns.a < [ns.a[1]] }}"}) {
    const auto rendered = RenderIn(begin + use, ordered_json::object(), {.most_steps = 500'000});
    ASSERT_FALSE(rendered.ok()) << use;
    EXPECT_EQ(rendered.error().code, ErrorCode::kUnsupported) << rendered.error().message;
  }
  ExpectJinjaError("{% set ns = namespace(a=[1]) %}{% for i in range(9999) %}{% set ns.a = [ns.a] %}{% endfor %}",
                   ErrorCode::kUnsupported, "nested deeper than 100");
}

TEST(Jinja, DeepNestingIsAnError) {
  const std::size_t many = 100'000;
  const auto repeat = [&](const std::string& piece) {
    std::string all;
    for (std::size_t i = 0; i < many; ++i) all += piece;
    return all;
  };
  for (const std::string& source :
       {"{{ " + repeat("(") + "1" + repeat(")") + " }}", "{{ " + repeat("[") + repeat("]") + " }}",
        "{{ " + repeat("not ") + "1 }}", "{{ " + repeat("- ") + "1 }}", "{{ 1" + repeat(" + 1") + " }}",
        "{{ x" + repeat(".y") + " }}", "{{ x" + repeat("|string") + " }}", "{{ 1 if 1" + repeat(" else 1 if 1") + " }}",
        repeat("{% if 1 %}"), repeat("{% for a in x %}"), "{{ x" + repeat("(1)") + " }}",
        "{{ 1" + repeat(" ** 1") + " }}"}) {
    ExpectJinjaError(source, ErrorCode::kUnsupported, "in each other");
  }
  EXPECT_EQ(*RenderIn("{{ 1" + repeat(" ~ 1").substr(0, 400) + " }}"), std::string(101, '1')) << "one level";
}

// What a macro, a loop or a namespace refers to lives as long as the rendering, not as long as its block.
TEST(Jinja, NothingOutlivesWhatItRefersTo) {
  EXPECT_EQ(
      *RenderIn("{% set ns = namespace() %}{% for i in [1, 2] %}{% set j = i * 10 %}{% macro m() %}{{ i }}/{{ j }}"
                "{% endmacro %}{% set ns.m = m %}{% set ns.l = loop %}{% endfor %}{{ ns.m() }} {{ ns.l.index }} "
                "{{ ns.l.last }} {{ ns.l.length }} {{ ns.l.previtem }}"),
      "2/20 2 True 2 1");
  EXPECT_EQ(
      *RenderIn(
          "{% set ns = namespace() %}{% set ns.ns = ns %}{% set ns.list = [ns] %}{{ ns.ns.list[0].ns is defined }}"),
      "True");
}

}  // namespace
}  // namespace marlin
