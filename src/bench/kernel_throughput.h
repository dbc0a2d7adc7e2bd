// Timings of single matrix products. Every kernel is compared with an fp64 reference on new random inputs, then timed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "bench/shapes.h"
#include "bench/timing.h"
#include "formats/format.h"
#include "kernels/backend.h"

namespace marlin {

// What a sample is the time of.
enum class RunKind {
  kSingle,              // one product
  kRecorded,            // many products that the device replays, one after the other, divided by their number
  kRecordedSharedInput  // the same of weights that share their input: what products do with x is done once
};

struct KernelTiming {
  GemmShape shape;
  const FormatRow* format = nullptr;
  std::string kernel;      // row of the kernel table
  std::string activation;  // precision that this row rounds activations to
  std::vector<double> samples_ns;
  std::uint64_t flops = 0;        // 2 m n k
  std::uint64_t bytes_moved = 0;  // codes, scales, zero points, activations, outputs, once each
  double max_error = 0;           // max |difference| / max |reference| against fp64
  double tolerance = 0;
  std::size_t checked_outputs = 0;  // how many of the m n outputs were compared
  bool in_cache = false;            // the weights could not be rotated through four times the last-level cache
  std::size_t products = 1;         // of a sample
  bool replayed = false;            // a recorded run; else the device could not record it and launched every product
  // The device's own library in fp16 on the same shape (ReferenceProduct), of one product. Of recorded runs; empty
  // where the library takes no such shape.
  std::vector<double> reference_ns{};
};

// One layer at some numbers of tokens (shapes that differ in m alone, at least one) in several formats, all
// interleaved, so that disturbances affect them equally. Weights rotate through copies so that no timing is a cache
// timing. The result: of the first shape all formats, then of the second. memory_bytes: what the copies may take
// together. Recorded runs need a device with yardsticks; their reference is timed among the formats. Errors: kNumerical
// when an output is off by more than the tolerance (nothing is timed then), kResource, kUnsupported, kInterrupted.
Result<std::vector<KernelTiming>> TimeKernels(Backend& backend, std::span<const GemmShape> shapes,
                                              std::span<const FormatRow* const> formats, const TimingProtocol& protocol,
                                              std::size_t memory_bytes, const ProgressFn& progress,
                                              RunKind kind = RunKind::kSingle);

}  // namespace marlin
