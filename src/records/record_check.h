// Rules between the fields of a record that types cannot express.
#pragma once

#include <string_view>

#include "base/result.h"
#include "records/record.h"

namespace marlin {

// Errors: kInput, naming `where` and the first field that breaks a rule: counts that contradict each other, sizes or
// samples that are not positive, an id that is not hexadecimal, a date of another shape.
Status CheckRecord(const Record& record, std::string_view where);

}  // namespace marlin
