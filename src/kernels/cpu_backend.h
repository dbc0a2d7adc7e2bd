// The production backend for CPUs: weights stay quantized in memory, sums are fp32, and so are activations but for what
// products may round them to; the kernel of every weight comes from the table in kernel.h, and work is spread over a
// pool of threads.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "kernels/backend.h"
#include "kernels/isa.h"
#include "kernels/kernel.h"

namespace marlin {

struct CpuOptions {
  int threads = 0;                               // 0 = AvailableThreads()
  std::optional<IsaSet> isa;                     // nothing beyond it is used; unset = UsualIsa()
  std::string kernel;                            // a row that must serve the formats of its family; empty = the fastest
  Activations activations = Activations::kFp32;  // what products may round them to
};

// Errors: kUsage (threads out of 1..1024, unknown kernel), kUnsupported (the host lacks the instruction set),
// kResource.
Result<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options);

}  // namespace marlin
