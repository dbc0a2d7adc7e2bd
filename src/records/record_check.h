// Rules between the fields of a record that types cannot express.
#pragma once

#include <string_view>

#include "base/result.h"
#include "records/external.h"
#include "records/record.h"

namespace marlin {

// Errors: kInput, naming `where` and the first field that breaks a rule: counts that contradict each other, sizes or
// samples that are not positive, an id that is not hexadecimal, a date of another shape.
Status CheckRecord(const Record& record, std::string_view where);
// The same of an external record: what must be named is named, an error comes with its kind.
Status CheckRecord(const ExternalRecord& record, std::string_view where);

// "2025-01-31T23:59:59Z"
bool IsUtcTime(std::string_view text);

}  // namespace marlin
