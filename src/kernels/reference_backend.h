// The slow, simple backend that everything is compared with: one thread, weights decoded to fp32, sums in double, the
// functions of the C library. It never gets clever.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace marlin {

std::unique_ptr<Backend> MakeReferenceBackend();

}  // namespace marlin
