#include "bench/limits.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "base/check.h"

namespace marlin {
namespace {
using Clock = std::chrono::steady_clock;

constexpr int kPasses = 8;

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

// A loop of independent fused multiply-adds, long enough chains in flight to fill every pipe (latency 4, two pipes: 8;
// twelve leave room). Returns a value that depends on all of them.
struct FmaLoop {
  const char* isa;
  double flops_per_step;
  float (*run)(std::size_t steps);
};

constexpr std::size_t kChains = 12;

#if defined(__x86_64__)
__attribute__((target("avx512f"))) float RunAvx512(std::size_t steps) {
  __m512 chain[kChains];
  for (std::size_t c = 0; c < kChains; ++c) chain[c] = _mm512_set1_ps(static_cast<float>(c));
  const __m512 factor = _mm512_set1_ps(0.999f);
  const __m512 term = _mm512_set1_ps(0.001f);
  for (std::size_t i = 0; i < steps; ++i) {
    for (__m512& value : chain) value = _mm512_fmadd_ps(value, factor, term);
  }
  float out[16];
  float total = 0;
  for (const __m512& value : chain) {
    _mm512_storeu_ps(out, value);
    total += out[0];
  }
  return total;
}

__attribute__((target("avx2,fma"))) float RunAvx2(std::size_t steps) {
  __m256 chain[kChains];
  for (std::size_t c = 0; c < kChains; ++c) chain[c] = _mm256_set1_ps(static_cast<float>(c));
  const __m256 factor = _mm256_set1_ps(0.999f);
  const __m256 term = _mm256_set1_ps(0.001f);
  for (std::size_t i = 0; i < steps; ++i) {
    for (__m256& value : chain) value = _mm256_fmadd_ps(value, factor, term);
  }
  float out[8];
  float total = 0;
  for (const __m256& value : chain) {
    _mm256_storeu_ps(out, value);
    total += out[0];
  }
  return total;
}
#elif defined(__aarch64__)
float RunNeon(std::size_t steps) {
  float32x4_t chain[kChains];
  for (std::size_t c = 0; c < kChains; ++c) chain[c] = vdupq_n_f32(static_cast<float>(c));
  const float32x4_t factor = vdupq_n_f32(0.999f);
  const float32x4_t term = vdupq_n_f32(0.001f);
  for (std::size_t i = 0; i < steps; ++i) {
    for (float32x4_t& value : chain) value = vfmaq_f32(term, value, factor);
  }
  float total = 0;
  for (const float32x4_t& value : chain) total += vgetq_lane_f32(value, 0);
  return total;
}
#else
float RunScalar(std::size_t steps) {
  std::array<float, kChains> chain{};
  for (std::size_t i = 0; i < steps; ++i) {
    for (float& value : chain) value = std::fma(value, 0.999f, 0.001f);
  }
  return std::accumulate(chain.begin(), chain.end(), 0.0f);
}
#endif

FmaLoop BestFmaLoop() {
  constexpr double kScalar = 2.0 * kChains;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return {"avx512", kScalar * 16, &RunAvx512};
  return {"avx2", kScalar * 8, &RunAvx2};
#elif defined(__aarch64__)
  return {"neon", kScalar * 4, &RunNeon};
#else
  return {"scalar", kScalar, &RunScalar};
#endif
}

double MeasureFma(ThreadPool& pool, const FmaLoop& loop) {
  constexpr std::size_t kSteps = 2'000'000;  // some 10 ms
  std::vector<float> sink(static_cast<std::size_t>(pool.threads()) * 16);
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = Clock::now();
    pool.Run([&](int thread) { sink[static_cast<std::size_t>(thread) * 16] = loop.run(kSteps); });
    best = std::max(best, loop.flops_per_step * kSteps * pool.threads() / Seconds(start) / 1e9);
  }
  MARLIN_CHECK(std::isfinite(std::accumulate(sink.begin(), sink.end(), 0.0f)), "the chains converge");
  return best;
}

std::uint64_t SumWords(const std::uint64_t* words, std::size_t count) {
  std::array<std::uint64_t, 8> sums{};
  for (std::size_t i = 0; i + 8 <= count; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  return std::accumulate(sums.begin(), sums.end(), std::uint64_t{0});
}

double MeasureRead(ThreadPool& pool) {
  const std::size_t bytes = std::max<std::size_t>(4 * LastLevelCacheBytes(), std::size_t{256} << 20);
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 0;
#if defined(MADV_HUGEPAGE)
  ::madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  auto* words = static_cast<std::uint64_t*>(memory);
  const std::size_t count = bytes / sizeof(std::uint64_t);
  std::vector<std::uint64_t> sink(static_cast<std::size_t>(pool.threads()) * 8);
  pool.Split(count, [&](std::size_t begin, std::size_t end, int) { std::fill(words + begin, words + end, begin + 1); });
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = Clock::now();
    pool.Split(count, [&](std::size_t begin, std::size_t end, int thread) {
      sink[static_cast<std::size_t>(thread) * 8] = SumWords(words + begin, end - begin);
    });
    best = std::max(best, static_cast<double>(bytes) / Seconds(start) / 1e9);
  }
  ::munmap(memory, bytes);
  MARLIN_CHECK(std::accumulate(sink.begin(), sink.end(), std::uint64_t{0}) != 0, "words were written");
  return best;
}

}  // namespace

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

std::optional<double> ComputePeak(const MachineLimits& limits, std::string_view activation) {
  if (activation == "fp32" && limits.fma_gflops > 0) return limits.fma_gflops;
  return std::nullopt;
}

std::optional<LeastTime> LeastTimeOf(const MachineLimits& limits, std::string_view activation, double flops,
                                     double bytes) {
  const std::optional<double> peak = ComputePeak(limits, activation);
  if (!peak || limits.read_gbps <= 0) return std::nullopt;
  const double read_ns = bytes / limits.read_gbps;
  const double compute_ns = flops / *peak;
  return LeastTime{std::max(read_ns, compute_ns), read_ns >= compute_ns};
}

MachineLimits MeasureLimits(ThreadPool& pool) {
  const FmaLoop loop = BestFmaLoop();
  return {MeasureRead(pool), MeasureFma(pool, loop), loop.isa};
}

}  // namespace marlin
