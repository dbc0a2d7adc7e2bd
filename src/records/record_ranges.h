// Between which numbers every field of a record lies. Records come from files of strangers: what is finite can still be
// so large that means, products or axes made of it are not.
#pragma once

#include <optional>
#include <string>

#include "records/external.h"
#include "records/record.h"

namespace marlin {

struct OutOfRange {
  std::string field;  // "perplexity.window_nll[3]"
  std::string what;   // "is 1e+308, a number from 0 to 1000 was wanted"
};

// The first number of the record, in file order, that is not finite or out of its field's range; empty when all are in.
std::optional<OutOfRange> FirstOutOfRange(const Record& record);
std::optional<OutOfRange> FirstOutOfRange(const ExternalRecord& record);

}  // namespace marlin
