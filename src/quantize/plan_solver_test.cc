#include "quantize/plan_solver.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <optional>

#include "base/rng.h"

namespace marlin {
namespace {

struct Totals {
  std::uint64_t bytes = 0;
  double loss = 0;
};

Totals Sum(const std::vector<PlanChoices>& units, const std::vector<std::size_t>& chosen) {
  Totals totals;
  for (std::size_t u = 0; u < units.size(); ++u) {
    totals.bytes += units[u].at(chosen[u]).bytes;
    totals.loss += units[u].at(chosen[u]).loss;
  }
  return totals;
}

// Calls visit for every combination of choices.
template <class Visit>
void ForAll(const std::vector<PlanChoices>& units, const Visit& visit) {
  std::vector<std::size_t> chosen(units.size(), 0);
  while (true) {
    visit(Sum(units, chosen));
    std::size_t u = 0;
    while (u < units.size() && ++chosen[u] == units[u].size()) chosen[u++] = 0;
    if (u == units.size()) return;
  }
}

// Few distinct numbers, so that ties and dominated choices occur.
std::vector<PlanChoices> RandomUnits(Rng& rng, std::size_t units, std::size_t most_choices) {
  std::vector<PlanChoices> all(units);
  for (PlanChoices& choices : all) {
    const std::size_t count = 1 + rng.Below(most_choices);
    for (std::size_t i = 0; i < count; ++i) choices.push_back({rng.Below(30), static_cast<double>(rng.Below(40)) / 8});
  }
  return all;
}

TEST(PlanSolver, LeastLossIsThatOfAllCombinations) {
  Rng rng(31);
  for (int round = 0; round < 400; ++round) {
    const auto units = RandomUnits(rng, 1 + rng.Below(6), 5);
    const std::uint64_t budget = rng.Below(20 * units.size());
    std::optional<double> want;
    std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
    ForAll(units, [&](const Totals& totals) {
      least = std::min(least, totals.bytes);
      if (totals.bytes <= budget && (!want || totals.loss < *want)) want = totals.loss;
    });
    const auto got = LeastLoss(units, budget);
    ASSERT_EQ(got.ok(), want.has_value());
    if (!got.ok()) {
      EXPECT_EQ(got.error().code, ErrorCode::kUsage);
      EXPECT_NE(got.error().message.find("the smallest takes " + std::to_string(least)), std::string::npos)
          << got.error().message;
      continue;
    }
    EXPECT_LE(Sum(units, *got).bytes, budget);
    EXPECT_DOUBLE_EQ(Sum(units, *got).loss, *want) << "round " << round;
  }
}

TEST(PlanSolver, LeastBytesAreThoseOfAllCombinations) {
  Rng rng(32);
  for (int round = 0; round < 400; ++round) {
    const auto units = RandomUnits(rng, 1 + rng.Below(6), 5);
    const double bound = static_cast<double>(rng.Below(25 * units.size())) / 8;
    std::optional<std::uint64_t> want;
    ForAll(units, [&](const Totals& totals) {
      if (totals.loss <= bound && (!want || totals.bytes < *want)) want = totals.bytes;
    });
    const auto got = LeastBytes(units, bound);
    ASSERT_EQ(got.ok(), want.has_value());
    if (!got.ok()) continue;
    EXPECT_LE(Sum(units, *got).loss, bound);
    EXPECT_EQ(Sum(units, *got).bytes, *want) << "round " << round;
  }
}

// As a model of 28 layers asks it: four shapes of units, eight formats, losses over four orders of magnitude.
std::vector<PlanChoices> ModelUnits(Rng& rng, std::size_t layers) {
  const double bits[] = {4.0625, 4.125, 4.15625, 4.25, 4.3125, 4.5, 8.125, 16};
  const double relative[] = {1.6, 1.3, 1.25, 1.1, 1.05, 0.9, 0.004, 0};
  const double weights[] = {3e6, 2.4e6, 27e6, 14e6};
  std::vector<PlanChoices> units;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    for (const double count : weights) {
      const double loss = std::exp(2.0 * rng.Normal()) * 1e-3;
      PlanChoices choices;
      for (std::size_t i = 0; i < std::size(bits); ++i) {
        choices.push_back({static_cast<std::uint64_t>(bits[i] * count / 8),
                           loss * relative[i] * (1 + 0.05 * rng.Normal() * (i < 7 ? 1 : 0))});
      }
      units.push_back(std::move(choices));
    }
  }
  return units;
}

TEST(PlanSolver, AModelOf112UnitsTakesLessThanASecond) {
  Rng rng(33);
  for (const double budget_bits : {4.1, 4.25, 4.5, 5.0, 6.0}) {
    const auto units = ModelUnits(rng, 28);
    const auto start = std::chrono::steady_clock::now();
    const auto budget = static_cast<std::uint64_t>(budget_bits * 28 * 46.4e6 / 8);
    const auto least_loss = LeastLoss(units, budget);
    ASSERT_TRUE(least_loss.ok());
    const Totals found = Sum(units, *least_loss);
    EXPECT_LE(found.bytes, budget);
    // The other question has the same answer: no fewer bytes reach that loss.
    const auto least_bytes = LeastBytes(units, found.loss);
    ASSERT_TRUE(least_bytes.ok());
    EXPECT_LE(Sum(units, *least_bytes).bytes, found.bytes);
    EXPECT_NEAR(Sum(units, *least_bytes).loss, found.loss, 1e-9 * found.loss);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_LT(seconds.count(), 2.0) << "two problems";
  }
}

TEST(PlanSolver, EverythingFits) {
  const std::vector<PlanChoices> units = {{{10, 3}, {20, 1}}, {{5, 2}, {9, 0}}};
  EXPECT_EQ(*LeastLoss(units, 1000), (std::vector<std::size_t>{1, 1}));
  EXPECT_EQ(*LeastBytes(units, 1000), (std::vector<std::size_t>{0, 0}));
  EXPECT_TRUE(LeastLoss({}, 0)->empty());
  const auto impossible = LeastBytes(units, 0.5);
  ASSERT_FALSE(impossible.ok());
  EXPECT_NE(impossible.error().message.find("the best loses 1"), std::string::npos) << impossible.error().message;
}

}  // namespace
}  // namespace marlin
