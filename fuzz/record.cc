// A result record: read, written, read again, and shown on a page.
#include "fuzz/target_list.h"
#include "records/analysis.h"
#include "records/record_json.h"
#include "report/page.h"

namespace marlin {

namespace {

Status CheckExternal(const ExternalRecord& record) {
  const auto text = ToJson(record);
  MARLIN_CHECK(text.ok(), "an external record that was read can be written");
  const auto again = RecordFromJson(*text, "again");
  MARLIN_CHECK(again.ok() && *ToJson(std::get<ExternalRecord>(*again)) == *text, "and read, and is the same");
  PageOptions options;
  options.external = {{record, "record.json"}};
  MARLIN_CHECK(!RenderPage(Analyze({}), options).empty(), "a page");
  return {};
}

}  // namespace

Status FuzzRecord(FuzzInput input) {
  const auto file = RecordFromJson(FuzzText(input), "record.json");
  if (!file) return file.error();
  if (const auto* external = std::get_if<ExternalRecord>(&*file)) return CheckExternal(*external);
  const auto* const parsed = std::get_if<ParsedRecord>(&*file);
  const auto text = ToJson(parsed->record);
  if (!text) {
    MARLIN_CHECK(text.error().code == ErrorCode::kNumerical, "only numbers that no file can hold keep a record back");
    return text.error();
  }
  const auto again = FromJson(*text, "again");
  MARLIN_CHECK(again.ok(), "a record that was written can be read");
  const auto same = ToJson(again->record);
  MARLIN_CHECK(same.ok() && *same == *text, "and is the same");
  const RecordSummary summary = Summarize(parsed->record);
  MARLIN_CHECK(DescribeMismatch(*again->summary, summary).empty(), "and says the same of itself");
  const StoredRecord stored{parsed->record, "record.json"};
  MARLIN_CHECK(!RenderPage(Analyze({&stored, 1}), {}).empty(), "a page");
  return {};
}

}  // namespace marlin
