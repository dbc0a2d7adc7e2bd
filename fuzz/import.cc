// Results of another program: made into records, each of which is written and read again as `record` does.
#include "fuzz/target_list.h"
#include "records/import_results.h"
#include "records/record_json.h"

namespace marlin {

Status FuzzImport(FuzzInput input) {
  const auto records = ImportResults(FuzzText(input), "r.json", "r.json", "metal-marlin report import r.json");
  if (!records) return records.error();
  MARLIN_CHECK(!records->empty(), "an accepted file gives a record");
  for (const ExternalRecord& record : *records) {
    const auto text = ToJson(record);
    MARLIN_CHECK(text.ok(), "an imported record can be written");
    const auto again = RecordFromJson(*text, "again");
    MARLIN_CHECK(again.ok() && std::holds_alternative<ExternalRecord>(*again), "and read");
    MARLIN_CHECK(*ToJson(std::get<ExternalRecord>(*again)) == *text, "and is the same");
  }
  return {};
}

}  // namespace marlin
