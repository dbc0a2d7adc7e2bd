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

// What the backend chooses its kernels by; `forced` is a view of options.kernel. Errors: kUsage (unknown kernel, or one
// that rounds more than is allowed), kUnsupported (the host lacks the instruction set).
Result<KernelOptions> UsableKernels(const CpuOptions& options);

// Errors: those of UsableKernels, and kUsage (threads out of 1..1024), kResource.
Result<std::unique_ptr<Backend>> MakeCpuBackend(const CpuOptions& options);

}  // namespace marlin
