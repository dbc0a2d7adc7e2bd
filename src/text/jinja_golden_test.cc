// Compares what this program renders with what jinja2 does (tools/make_jinja_golden.py).
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/file.h"
#include "text/jinja.h"

namespace marlin {
namespace {
using nlohmann::ordered_json;

std::filesystem::path JinjaGoldenFile() {
  const char* other = std::getenv("METAL_MARLIN_JINJA_GOLDEN");
  if (other != nullptr) return other;
  return std::filesystem::path(MARLIN_SOURCE_DIR) / "src/text/testdata/jinja_golden.json";
}

// Friday 2024-06-07 08:09:10
std::tm GoldenTime() {
  std::tm time{};
  time.tm_year = 124;
  time.tm_mon = 5;
  time.tm_mday = 7;
  time.tm_hour = 8;
  time.tm_min = 9;
  time.tm_sec = 10;
  time.tm_wday = 5;
  time.tm_yday = 158;
  return time;
}

Result<std::string> Rendered(const std::string& source, const ordered_json& variables) {
  const auto parsed = JinjaTemplate::Parse(source, "golden");
  if (!parsed) return parsed.error();
  return parsed->Render(variables, GoldenTime());
}

// Every template gives the text of jinja2, or an error where jinja2 refuses it. What this program does not support
// is an error in the templates of the group "unsupported", and may be one in random templates.
TEST(JinjaGolden, EqualsJinja2) {
  const auto text = ReadFile(JinjaGoldenFile());
  ASSERT_TRUE(text.ok()) << text.error().message;
  const auto golden = ordered_json::parse(*text);
  ASSERT_GE(golden["cases"].size(), 300u);
  std::map<std::string, std::size_t> counts;
  for (const auto& golden_case : golden["cases"]) {
    const auto source = golden_case["template"].get<std::string>();
    const auto rendered = Rendered(source, golden["variables"]);
    if (!rendered) {
      EXPECT_NE(rendered.error().message.find("golden: line "), std::string::npos) << rendered.error().message;
      const bool unsupported = rendered.error().code == ErrorCode::kUnsupported;
      const bool may = golden_case["group"] == "random" || golden_case["group"] == "unsupported";
      const bool expected = golden_case["result"].is_null() || (unsupported && may);
      EXPECT_TRUE(expected) << source << "\nwant " << golden_case["result"] << "\ngot " << rendered.error().message;
      ++counts[unsupported ? "unsupported" : "refused"];
      continue;
    }
    EXPECT_NE(golden_case["group"], "unsupported") << source;
    const auto result = ordered_json(*rendered);
    EXPECT_EQ(result, golden_case["result"]) << source;
    ++counts["equal"];
  }
  RecordProperty("equal", static_cast<int>(counts["equal"]));
  RecordProperty("unsupported", static_cast<int>(counts["unsupported"]));
  EXPECT_GE(counts["equal"], 200u);
}

}  // namespace
}  // namespace marlin
