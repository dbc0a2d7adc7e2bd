#include "bench/limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "base/check.h"
#include "kernels/kernel.h"

namespace marlin {
namespace {
using Clock = std::chrono::steady_clock;

constexpr int kPasses = 8;

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

// Of the pool's first `threads`.
double MeasurePeak(ThreadPool& pool, const PeakLoop& loop, int threads) {
  constexpr std::size_t kSteps = 2'000'000;  // some 10 ms
  std::vector<float> sink(static_cast<std::size_t>(pool.threads()) * 16);
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = Clock::now();
    pool.Run([&](int thread) {
      if (thread < threads) sink[static_cast<std::size_t>(thread) * 16] = loop.run(kSteps);
    });
    best = std::max(best, loop.operations_per_step * kSteps * threads / Seconds(start) / 1e9);
  }
  MARLIN_CHECK(std::isfinite(std::accumulate(sink.begin(), sink.end(), 0.0f)), "the chains converge");
  return best;
}

// Ways to prefetch a stream.
enum class Ahead { kByHardware, kThroughCaches, kPastCaches };

template <Ahead kAhead>
std::uint64_t SumWords(const std::uint64_t* words, std::size_t count) {
  constexpr std::size_t kWordsAhead = 512;
  std::array<std::uint64_t, 8> sums{};
  for (std::size_t i = 0; i + 8 <= count; i += 8) {
    if constexpr (kAhead == Ahead::kThroughCaches) __builtin_prefetch(words + i + kWordsAhead);
    if constexpr (kAhead == Ahead::kPastCaches) __builtin_prefetch(words + i + kWordsAhead, 0, 0);
    for (std::size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  return std::accumulate(sums.begin(), sums.end(), std::uint64_t{0});
}

constexpr std::size_t Passes(std::size_t bytes) { return std::max<std::size_t>(1, (std::size_t{4} << 30) / bytes); }

double MeasureRead(ThreadPool& pool) {
  auto probe = ReadProbe::Create(pool);
  if (!probe) return 0;
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) best = std::max(best, probe->ReadOnce());
  return best;
}

}  // namespace

Result<ReadProbe> ReadProbe::Create(ThreadPool& pool) {
  const std::size_t bytes = std::max<std::size_t>(4 * LastLevelCacheBytes(), std::size_t{256} << 20);
  auto memory = Region::Allocate(bytes, "measuring the read bandwidth");
  if (!memory) return memory.error();
  ReadProbe probe;
  probe.pool_ = &pool;
  probe.memory_ = *std::move(memory);
  pool.Split(bytes, [&](std::size_t begin, std::size_t end, int) {
    std::fill(probe.memory_.data() + begin, probe.memory_.data() + end, std::uint8_t{1});
  });
  // The fastest way depends on the processor. The ways are interleaved, because the bandwidth may change meanwhile.
  constexpr Sum kWays[] = {SumWords<Ahead::kByHardware>, SumWords<Ahead::kThroughCaches>, SumWords<Ahead::kPastCaches>};
  double best = 0;
  Sum fastest = kWays[0];
  for (int pass = 0; pass < 3; ++pass) {
    for (const Sum way : kWays) {
      probe.sum_ = way;
      const double gbps = probe.ReadOnce();
      if (gbps > best) fastest = way;
      best = std::max(best, gbps);
    }
  }
  probe.sum_ = fastest;
  return probe;
}

double ReadProbe::ReadOnce() {
  const std::size_t count = memory_.size() / sizeof(std::uint64_t);
  const auto* words = reinterpret_cast<const std::uint64_t*>(memory_.data());
  std::vector<std::uint64_t> sink(static_cast<std::size_t>(pool_->threads()) * 8);
  const auto start = Clock::now();
  pool_->Split(count, [&](std::size_t begin, std::size_t end, int thread) {
    sink[static_cast<std::size_t>(thread) * 8] = sum_(words + begin, end - begin);
  });
  const double gbps = static_cast<double>(memory_.size()) / Seconds(start) / 1e9;
  MARLIN_CHECK(std::accumulate(sink.begin(), sink.end(), std::uint64_t{0}) != 0, "words were written");
  return gbps;
}

void ReadProbe::Run() {
  for (std::size_t pass = 0; pass < Passes(memory_.size()); ++pass) ReadOnce();
}

double ReadProbe::bytes() const { return static_cast<double>(Passes(memory_.size()) * memory_.size()); }

std::size_t LastLevelCacheBytes() {
  // sysfs, not sysconf: in virtual machines glibc computes ten times too much for some processors.
  std::size_t largest = 0;
  for (int index = 0; index < 8; ++index) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");
    std::size_t kib = 0;
    if (file >> kib) largest = std::max(largest, kib * 1024);
  }
  constexpr std::size_t kUnknown = std::size_t{32} << 20;
  return largest > 0 ? largest : kUnknown;
}

std::size_t BytesToRotate(const Device& device) { return 4 * device.cache_bytes().value_or(LastLevelCacheBytes()); }

MachineLimits LargerOf(MachineLimits a, const MachineLimits& b) {
  if (b.fma_gflops > a.fma_gflops) a.fma_isa = b.fma_isa;
  for (double MachineLimits::*const limit :
       {&MachineLimits::read_gbps, &MachineLimits::fma_gflops, &MachineLimits::bf16_gflops, &MachineLimits::int16_gops,
        &MachineLimits::int8_gops, &MachineLimits::alone_gflops, &MachineLimits::fp16_gflops}) {
    a.*limit = std::max(a.*limit, b.*limit);
  }
  return a;
}

std::optional<double> ComputePeak(const MachineLimits& limits, std::string_view activation) {
  if (activation == "fp16" && limits.fp16_gflops > 0) return limits.fp16_gflops;
  const auto known = ParseActivations(activation);
  if (!known) return std::nullopt;
  const double peak = *known == Activations::kFp32    ? limits.fma_gflops
                      : *known == Activations::kInt16 ? limits.int16_gops
                      : *known == Activations::kBf16  ? limits.bf16_gflops
                                                      : limits.int8_gops;
  return peak > 0 ? std::optional<double>(peak) : std::nullopt;
}

std::optional<LeastTime> LeastTimeOf(const MachineLimits& limits, std::string_view activation, double flops,
                                     double bytes) {
  const std::optional<double> peak = ComputePeak(limits, activation);
  if (!peak || limits.read_gbps <= 0) return std::nullopt;
  const double read_ns = bytes / limits.read_gbps;
  const double compute_ns = flops / *peak;
  return LeastTime{std::max(read_ns, compute_ns), read_ns >= compute_ns};
}

std::string DescribeLimits(const MachineLimits& limits) {
  std::string text = fmt::format("{:.1f} GB/s read", limits.read_gbps);
  if (!limits.fma_isa.empty()) text += fmt::format(", {:.1f} GFLOP/s fp32 ({})", limits.fma_gflops, limits.fma_isa);
  if (limits.fp16_gflops > 0) text += fmt::format(", {:.1f} GFLOP/s fp16", limits.fp16_gflops);
  if (limits.bf16_gflops > 0) text += fmt::format(", {:.1f} GFLOP/s bf16", limits.bf16_gflops);
  if (limits.int16_gops > 0) text += fmt::format(", {:.1f} GOP/s int16", limits.int16_gops);
  if (limits.int8_gops > 0) text += fmt::format(", {:.1f} GOP/s int8", limits.int8_gops);
  return text;
}

MachineLimits MeasureLimits(ThreadPool& pool) {
  MachineLimits limits;
  limits.read_gbps = MeasureRead(pool);
  for (const Peak& peak : Peaks(HostIsa())) {
    const double rate = MeasurePeak(pool, peak.loop, pool.threads());
    if (peak.activations == Activations::kBf16) limits.bf16_gflops = rate;
    if (peak.activations == Activations::kInt16) limits.int16_gops = rate;
    if (peak.activations == Activations::kInt8) limits.int8_gops = rate;
    if (peak.activations != Activations::kFp32) continue;
    limits.fma_gflops = rate;
    limits.fma_isa = peak.isa;
    limits.alone_gflops = MeasurePeak(pool, peak.loop, 1);
  }
  return limits;
}

bool ThreadsLackCores(const MachineLimits& limits, int threads) {
  return limits.fma_gflops < 0.75 * threads * limits.alone_gflops;
}

}  // namespace marlin
