#include "bench/timing.h"

#include <fmt/format.h>

#include <chrono>

namespace marlin {

std::string PlanName(const TimingPlan& plan) {
  if (plan.prefill == plan.decode) return std::string(plan.prefill.id);
  return fmt::format("prefill {}, decode {}", plan.prefill.id, plan.decode.id);
}

Result<std::vector<std::vector<double>>> TimeInterleaved(std::span<const std::function<Status()>> candidates,
                                                         const TimingProtocol& protocol, std::string_view stage,
                                                         const ProgressFn& progress) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::vector<double>> samples(candidates.size());
  const std::size_t rounds = protocol.warmup + protocol.iterations;
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t c = 0; c < candidates.size(); ++c) {
      if (Interrupted()) return Error{ErrorCode::kInterrupted, "interrupted"};
      const auto start = Clock::now();
      if (auto status = candidates[c](); !status) return status.error();
      const std::chrono::duration<double, std::nano> elapsed = Clock::now() - start;
      if (round >= protocol.warmup) samples[c].push_back(elapsed.count());
    }
    if (progress) progress({std::string(stage), round + 1, rounds, "rounds", ""});
  }
  return samples;
}

}  // namespace marlin
