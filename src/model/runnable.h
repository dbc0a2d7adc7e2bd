// Which descriptions this program computes.
#pragma once

#include "base/result.h"
#include "model/description.h"

namespace marlin {

// Errors: kUnsupported (a part or a setting of the model that this program does not compute).
Status CheckRunnable(const Description& description);

}  // namespace marlin
