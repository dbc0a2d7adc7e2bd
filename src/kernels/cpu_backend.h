// The production backend for CPUs. Weights stay quantized in memory. Sums and activations are fp32, except where
// products may round activations. The table in kernel.h gives the kernel of every weight. A pool of threads shares the
// work.
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
