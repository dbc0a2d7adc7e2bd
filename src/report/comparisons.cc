#include "report/comparisons.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace marlin {
namespace {

bool SameTensors(const record::Config& a, const record::Config& b) {
  return a.quantized_embeddings == b.quantized_embeddings && a.quantized_head == b.quantized_head;
}

// Bytes of the quantized tensors are compared where both quantize the same weights; a plan that leaves some in 16 bits
// is compared by all its bytes.
bool Fits(const record::Size& uniform, const record::Size& mixed, std::uint64_t budget) {
  if (uniform.quantized_parameters == mixed.quantized_parameters) return uniform.quantized_tensor_bytes <= budget;
  return uniform.model_bytes + mixed.quantized_tensor_bytes <= mixed.model_bytes + budget;
}

auto TextKey(const record::Calibration& x) { return std::tie(x.name, x.sha256, x.windows, x.ctx); }

bool SameText(const record::Config& a, const record::Config& b) {
  if (!a.calibration || !b.calibration) return a.calibration.has_value() == b.calibration.has_value();
  return TextKey(*a.calibration) == TextKey(*b.calibration);
}

const ResultRow* UniformPartner(const ResultGroup& group, const ResultRow& mixed, std::uint64_t budget) {
  for (const ResultRow& row : group.rows) {  // sorted by rank
    const record::Config& config = row.record().config;
    if (row.rank && config.kind == record::Kind::kUniform && config.method == mixed.record().config.method &&
        SameText(config, mixed.record().config) && SameTensors(config, mixed.record().config) &&
        Fits(row.record().size, mixed.record().size, budget)) {
      return &row;
    }
  }
  return nullptr;
}

// The name, and what else sets the text apart from others of that name in the group.
std::string TitleOf(const record::Calibration& text, const ResultGroup& group) {
  for (const ResultRow& row : group.rows) {
    const auto& other = row.record().config.calibration;
    if (other && other->name == text.name && TextKey(*other) != TextKey(text)) {
      return fmt::format("{} ({} x {} tokens, {})", text.name, text.windows, text.ctx, text.sha256.substr(0, 8));
    }
  }
  return text.name;
}

TextPair PagePair(const CalibratedRows& entry) {
  TextPair pair{kPageTexts, nullptr, nullptr};
  std::uint64_t longest = 0;
  for (const auto& [wiki_title, wiki] : entry.texts) {
    for (const auto& [bartowski_title, bartowski] : entry.texts) {
      const record::Calibration& a = *wiki->record().config.calibration;
      const record::Calibration& b = *bartowski->record().config.calibration;
      if (a.name != kWikiText || b.name != kBartowski || a.windows != b.windows || a.ctx != b.ctx) continue;
      if (a.windows <= longest) continue;
      longest = a.windows;
      pair.first = wiki;
      pair.second = bartowski;
    }
  }
  return pair;
}

}  // namespace

RowDifference DifferenceOf(const ResultRow& a, const ResultRow& b) {
  RowDifference change;
  if (WhyNotPaired(a.record(), b.record()).empty()) change.perplexity = DeltaOf(a.record(), b.record());
  if (WhyKlNotPaired(a.record(), b.record()).empty()) change.kl = KlDifference(a.record(), b.record());
  return change;
}

std::vector<MixedPair> MixedPairs(const ResultGroup& group) {
  std::vector<MixedPair> pairs;
  for (const ResultRow& row : group.rows) {
    const Record& record = row.record();
    if (record.config.kind != record::Kind::kMixed || record.size.quantized_parameters == 0) continue;
    const std::uint64_t budget = record.config.budget_bytes.value_or(record.size.quantized_tensor_bytes);
    pairs.push_back({UniformPartner(group, row, budget), &row, budget});
  }
  return pairs;
}

std::vector<const ResultRow*> DistinctPlans(const ResultGroup& group) {
  std::vector<const ResultRow*> plans;
  std::set<std::string> seen;
  for (const ResultRow& row : group.rows) {
    const Record& record = row.record();
    if (record.plan && seen.insert(record.config.plan_sha256.value_or("")).second) plans.push_back(&row);
  }
  std::stable_sort(plans.begin(), plans.end(), [](const ResultRow* a, const ResultRow* b) {
    return a->record().size.quantized_tensor_bytes < b->record().size.quantized_tensor_bytes;
  });
  return plans;
}

const ResultRow* CalibratedRows::Find(const std::string& title) const {
  const auto found = std::find_if(texts.begin(), texts.end(), [&](const auto& text) { return text.first == title; });
  return found == texts.end() ? nullptr : found->second;
}

std::vector<CalibratedRows> CollectCalibrated(const ResultGroup& group) {
  std::map<std::tuple<std::string, std::string, std::uint64_t>, CalibratedRows> found;
  for (const ResultRow& row : group.rows) {  // sorted by rank: of two alike the better one
    const record::Config& config = row.record().config;
    if (!config.calibration || !row.rank) continue;
    CalibratedRows& entry = found[{ConfigName(row.record()), config.method, config.budget_bytes.value_or(0)}];
    entry.config = ConfigName(row.record());
    entry.method = config.method;
    const std::string title = TitleOf(*config.calibration, group);
    if (entry.Find(title) == nullptr) entry.texts.emplace_back(title, &row);
  }
  std::vector<CalibratedRows> all;
  for (auto& [key, entry] : found) {
    std::sort(entry.texts.begin(), entry.texts.end());
    all.push_back(std::move(entry));
  }
  return all;
}

std::vector<std::string> TextsOf(const std::vector<CalibratedRows>& all) {
  std::set<std::string> titles;
  for (const CalibratedRows& entry : all) {
    for (const auto& [title, row] : entry.texts) titles.insert(title);
  }
  return {titles.begin(), titles.end()};
}

std::vector<TextPair> PairsOf(const CalibratedRows& entry) {
  std::vector<TextPair> pairs = {PagePair(entry)};
  // Rows of a group lie in one vector, by rank.
  const auto best = std::min_element(entry.texts.begin(), entry.texts.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  const auto in_page_pair = [&](const ResultRow* row) {
    return pairs[0].first != nullptr && (row == pairs[0].first || row == pairs[0].second);
  };
  for (const auto& text : entry.texts) {
    if (text == *best || (in_page_pair(best->second) && in_page_pair(text.second))) continue;
    pairs.push_back({best->first + " vs " + text.first, best->second, text.second});
  }
  return pairs;
}

}  // namespace marlin
