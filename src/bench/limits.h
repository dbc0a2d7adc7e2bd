// Limits of the machine (bandwidth, peak arithmetic), measured in the same run as the figures compared with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/thread_pool.h"
#include "kernels/device.h"
#include "kernels/region.h"

namespace marlin {

struct MachineLimits {
  double read_gbps = 0;     // stream read from memory, all threads, best of the passes
  double fma_gflops = 0;    // fp32 fused multiply-add on registers, all threads, best of the passes
  std::string fma_isa;      // instructions used: "avx512", "avx2", "scalar", "neon"
  double bf16_gflops = 0;   // the same of dot products of bf16,
  double int16_gops = 0;    // of int16, and
  double int8_gops = 0;     // of int8; 0 where the machine has no instructions for them
  double alone_gflops = 0;  // fma_gflops of one thread, the others waiting
  double fp16_gflops = 0;   // products of fp16 with fp32 sums; of devices beside the host (device_limits.h)
};

MachineLimits MeasureLimits(ThreadPool& pool);

// The larger of each value, for a machine that was measured twice and was sometimes busy.
MachineLimits LargerOf(MachineLimits a, const MachineLimits& b);

// Whether `threads` reach less than three quarters of the speed of one thread times `threads`: other programs run, or
// they share cores.
bool ThreadsLackCores(const MachineLimits& limits, int threads);

// A stream read from memory that can be interleaved with the work compared with it: shared machines may give half of
// their bandwidth in one second and all of it in the next.
class ReadProbe {
 public:
  // The pool outlives the probe. Errors: kResource.
  static Result<ReadProbe> Create(ThreadPool& pool);

  // As many passes as take about 0.1 s.
  void Run();
  double bytes() const;  // bytes that a run reads

  // One pass over the memory, GB/s.
  double ReadOnce();

 private:
  using Sum = std::uint64_t (*)(const std::uint64_t* words, std::size_t count);
  ThreadPool* pool_ = nullptr;
  Region memory_;
  Sum sum_ = nullptr;  // the fastest of several ways to read
};

// "34.1 GB/s read, 230.4 GFLOP/s fp32 (avx512), 460.2 GFLOP/s bf16, 460.8 GOP/s int16, 921.5 GOP/s int8". Of a device
// beside the host: "4650.0 GB/s read, 701000.0 GFLOP/s fp16".
std::string DescribeLimits(const MachineLimits& limits);

// Peak GFLOP/s of products that round their activations to this precision (a name of kActivations, or "fp16"). Empty if
// it was not measured.
std::optional<double> ComputePeak(const MachineLimits& limits, std::string_view activation);

// The least time in which a machine with these limits reads the bytes and does the operations, and which of the two is
// the bound (roofline). Empty if the peak is.
struct LeastTime {
  double ns = 0;
  bool by_memory = false;
};
std::optional<LeastTime> LeastTimeOf(const MachineLimits& limits, std::string_view activation, double flops,
                                     double bytes);

// Bytes of the last-level cache as the operating system tells; 32 MiB when it does not.
std::size_t LastLevelCacheBytes();

// Copies of weights that take more bytes than this rotate, so that none is in the device's cache when its turn comes:
// four times the last-level cache.
std::size_t BytesToRotate(const Device& device);

}  // namespace marlin
