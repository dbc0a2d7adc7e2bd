// Pairs of rows: a mixed plan and the best single configuration of its budget, and one configuration calibrated on
// several texts. The tables of sections 3 and 4 and their plots read from here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "records/analysis.h"

namespace marlin {

// The page's two calibration texts. No other text has these names.
inline constexpr const char* kWikiText = "wikitext2";
inline constexpr const char* kBartowski = "bartowski-v3";
inline constexpr const char* kNoDifference = "no measurable difference";
inline constexpr const char* kPageTexts = "WikiText-2 vs Bartowski v3";

// What b loses more than a, paired over the windows; empty where it cannot be paired or was not measured.
struct RowDifference {
  std::optional<PairedDelta> perplexity;
  std::optional<MeanEstimate> kl;  // nats per token
};
RowDifference DifferenceOf(const ResultRow& a, const ResultRow& b);

struct MixedPair {
  const ResultRow* uniform = nullptr;  // null: no configuration of the same method and text fits
  const ResultRow* mixed = nullptr;
  std::uint64_t budget_bytes = 0;
};
// One per ranked row with a mixed plan, in the order of the rows. `uniform` is the first ranked row of the same method
// and calibration text with one format for the same kinds of tensors and no more bytes than the budget allows.
std::vector<MixedPair> MixedPairs(const ResultGroup& group);

// Rows with the same plan: the first one represents all.
std::vector<const ResultRow*> DistinctPlans(const ResultGroup& group);

// A configuration and method, calibrated on one text or more, all else equal.
struct CalibratedRows {
  std::string config;
  std::string method;
  // Title and row, by title: the name of the text, followed by windows and hash where two texts share it.
  std::vector<std::pair<std::string, const ResultRow*>> texts;

  const ResultRow* Find(const std::string& title) const;  // null when this text was not used
};
std::vector<CalibratedRows> CollectCalibrated(const ResultGroup& group);

// All titles of texts, each once, sorted.
std::vector<std::string> TextsOf(const std::vector<CalibratedRows>& all);

struct TextPair {
  std::string title;
  const ResultRow* first = nullptr;  // null: not measured
  const ResultRow* second = nullptr;
};
// The page's pair first, measured or not (with as many windows each; of several the longest); then every other text
// against the one that ranks first.
std::vector<TextPair> PairsOf(const CalibratedRows& entry);

}  // namespace marlin
