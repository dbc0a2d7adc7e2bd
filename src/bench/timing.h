// Timing protocols, and the interleaving of candidates, so that changes of the machine's speed affect all of them.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "base/result.h"

namespace marlin {

struct TimingProtocol {
  std::string_view id;  // in records and as the report's column name
  std::size_t warmup = 0;
  std::size_t iterations = 0;
  bool operator==(const TimingProtocol&) const = default;
};

// The page's protocol, and short ones for demonstrations. Their numbers never share a column.
inline constexpr TimingProtocol kStandardTiming{"15/100", 15, 100};
inline constexpr TimingProtocol kQuickTiming{"quick-2/8", 2, 8};
// A decode step takes milliseconds. One stall of the machine can last longer than eight of them, which would be a large
// part of every row's samples. Sixty steps of a model still take less time than eight prefills of 512 tokens.
inline constexpr TimingProtocol kQuickDecodeTiming{"quick-10/60", 10, 60};

// The protocols of one run.
struct TimingPlan {
  TimingProtocol prefill;  // and kernels
  TimingProtocol decode;
};
inline constexpr TimingPlan kStandardPlan{kStandardTiming, kStandardTiming};
inline constexpr TimingPlan kQuickPlan{kQuickTiming, kQuickDecodeTiming};

// "15/100"; "prefill quick-2/8, decode quick-10/60" where they differ.
std::string PlanName(const TimingPlan& plan);

// Runs A B C A B C ...: protocol.warmup rounds unmeasured, protocol.iterations measured. Returns nanoseconds
// [candidate][iteration]. A candidate returns when its work is done. Errors: kInterrupted, and those of the candidates.
Result<std::vector<std::vector<double>>> TimeInterleaved(std::span<const std::function<Status()>> candidates,
                                                         const TimingProtocol& protocol, std::string_view stage,
                                                         const ProgressFn& progress);

}  // namespace marlin
