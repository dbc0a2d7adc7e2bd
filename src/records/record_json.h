// Records as JSON text and back. docs/results_schema.md is the specification.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "records/derive.h"
#include "records/external.h"
#include "records/record.h"

namespace marlin {

// The text of a record's file, the summary included.
// Errors: kNumerical for NaN and infinity (names the field), kInput for a record that breaks CheckRecord.
Result<std::string> ToJson(const Record& record);
Result<std::string> ToJson(const ExternalRecord& record);

struct ParsedRecord {
  Record record;
  std::optional<RecordSummary> summary;  // as written in the file; only compared, not trusted
};

// `where` names the file in messages. Unknown fields are ignored.
// Errors: kInput (not JSON, no record, missing field, wrong type, broken rule; each names the field), kUnsupported
// (a version this program does not read).
Result<ParsedRecord> FromJson(std::string_view text, std::string_view where);

// The same of a file that may hold either kind of record.
using RecordFile = std::variant<ParsedRecord, ExternalRecord>;
Result<RecordFile> RecordFromJson(std::string_view text, std::string_view where);

// The first field in which the summary of a file differs from the one that its raw data give, with both values; empty
// when they agree to 1e-6. Values absent on either side are not compared.
std::string DescribeMismatch(const RecordSummary& stored, const RecordSummary& computed);

}  // namespace marlin
