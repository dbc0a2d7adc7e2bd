// The slow, simple backend that all kernels are compared with: one thread, weights decoded to fp32, sums in double,
// functions of the C library. It must stay simple.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace marlin {

std::unique_ptr<Backend> MakeReferenceBackend();

}  // namespace marlin
