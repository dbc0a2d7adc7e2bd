#include "kernels/work_ranges.h"

#include "base/check.h"

namespace marlin {
namespace {

constexpr std::uint64_t Span(std::uint64_t begin, std::uint64_t end) { return begin | end << 32; }
constexpr std::uint64_t Begin(std::uint64_t span) { return span & 0xffffffff; }
constexpr std::uint64_t End(std::uint64_t span) { return span >> 32; }
constexpr std::uint64_t Left(std::uint64_t span) { return End(span) - Begin(span); }

}  // namespace

void WorkRanges::Start(std::size_t pieces) {
  MARLIN_CHECK(pieces <= 0xffffffff, "pieces of a job");
  const std::size_t threads = ranges_.size();
  for (std::size_t t = 0; t < threads; ++t) {
    ranges_[t].span.store(Span(pieces * t / threads, pieces * (t + 1) / threads), std::memory_order_relaxed);
  }
}

// Only numbers pass through here; what the pieces read and write is ordered by the start and the end of the job.
std::optional<std::size_t> WorkRanges::Next(std::size_t thread) {
  std::atomic<std::uint64_t>& own = ranges_[thread].span;
  for (std::uint64_t span = own.load(std::memory_order_relaxed); Left(span) > 0;) {
    if (own.compare_exchange_weak(span, Span(Begin(span) + 1, End(span)), std::memory_order_relaxed)) {
      return Begin(span);
    }
  }
  for (;;) {
    Range* richest = nullptr;
    std::uint64_t most = 0;
    for (Range& range : ranges_) {
      const std::uint64_t span = range.span.load(std::memory_order_relaxed);
      if (richest != nullptr && Left(span) <= Left(most)) continue;
      richest = &range;
      most = span;
    }
    if (Left(most) == 0) return std::nullopt;
    if (richest->span.compare_exchange_weak(most, Span(Begin(most), End(most) - 1), std::memory_order_relaxed)) {
      return End(most) - 1;
    }
  }
}

}  // namespace marlin
