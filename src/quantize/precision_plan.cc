#include "quantize/precision_plan.h"

#include <fmt/format.h>

#include <cmath>

#include "base/sha256.h"
#include "formats/encoded_matrix.h"
#include "formats/formats.h"
#include "model/sizes.h"
#include "quantize/plan_solver.h"

namespace marlin {
namespace {

PlanUnit MakeUnit(const Block& block, std::size_t layer, std::size_t input, const PlanFormats& formats) {
  PlanUnit unit;
  unit.layer = layer;
  unit.input = input;
  std::uint64_t weights = 0;
  const std::vector<std::size_t>& matrices = block.inputs[input].matrices;
  for (const std::size_t m : matrices) {
    unit.stems.push_back(block.matrices[m].name);
    unit.cols = block.matrices[m].cols;
    weights += std::uint64_t{block.matrices[m].rows} * block.matrices[m].cols;
  }
  for (const FormatRow* wanted : formats.formats) {
    const FormatRow& format = FormatForRows(*wanted, unit.cols);
    if (unit.cols % formats.row_multiple != 0 || unit.Find(format.info.name) != nullptr) continue;
    std::uint64_t bytes = 0;
    for (const std::size_t m : matrices) {
      bytes += SizeOfEncoded(format.info, block.matrices[m].rows, block.matrices[m].cols).total();
    }
    unit.candidates.push_back({&format, bytes, {}, {}});
  }
  unit.candidates.push_back({nullptr, 2 * weights, {}, 0.0});
  return unit;
}

}  // namespace

const PlanCandidate* PlanUnit::Find(std::string_view name) const {
  for (const PlanCandidate& candidate : candidates) {
    if (candidate.name() == name) return &candidate;
  }
  return nullptr;
}

const PlanCandidate& PlanUnit::Uniform(const FormatRow& format) const {
  const PlanCandidate* const own = Find(FormatForRows(format, cols).info.name);
  return own != nullptr ? *own : *Find(kKeptName);
}

std::uint64_t PrecisionPlan::bytes() const {
  std::uint64_t sum = 0;
  for (const PlanUnit& unit : units) sum += unit.choice().bytes;
  return sum;
}

std::uint64_t PrecisionPlan::kept_bytes() const {
  std::uint64_t sum = 0;
  for (const PlanUnit& unit : units) sum += unit.choice().format == nullptr ? unit.choice().bytes : 0;
  return sum;
}

std::optional<double> PrecisionPlan::predicted_kl() const {
  double sum = 0;
  for (const PlanUnit& unit : units) {
    const auto kl = unit.choice().kl();
    if (!kl) return std::nullopt;
    sum += *kl;
  }
  return sum;
}

FormatMap PrecisionPlan::formats() const {
  FormatMap formats;
  for (const PlanUnit& unit : units) {
    if (unit.choice().format == nullptr) continue;
    for (const std::string& stem : unit.stems) formats[stem] = unit.choice().format;
  }
  return formats;
}

PlanFormats CommonPlanFormats() {
  PlanFormats common;
  for (const FormatRow& format : Formats()) {
    if (HasGroups(format.info) && format.info.common) common.formats.push_back(&format);
  }
  return common;
}

PrecisionPlan EmptyPlan(const Description& description, const PlanFormats& formats) {
  PrecisionPlan plan;
  plan.wanted = formats.formats;
  for (std::size_t layer = 0; layer < description.blocks.size(); ++layer) {
    const Block& block = description.blocks[layer];
    for (std::size_t input = 0; input < block.inputs.size(); ++input)
      plan.units.push_back(MakeUnit(block, layer, input, formats));
  }
  plan.linear_weights = LinearWeights(description);
  plan.other_bytes = ModelBytes(description, nullptr) - 2 * plan.linear_weights;
  return plan;
}

std::vector<UniformChoice> UniformChoices(const PrecisionPlan& plan) {
  std::vector<UniformChoice> choices;
  for (const FormatRow* format : plan.wanted) {
    UniformChoice choice{format, 0, 0.0};
    for (const PlanUnit& unit : plan.units) {
      const PlanCandidate& candidate = unit.Uniform(*format);
      choice.bytes += candidate.bytes;
      const auto kl = candidate.kl();
      choice.kl = choice.kl && kl ? std::optional(*choice.kl + *kl) : std::nullopt;
    }
    choices.push_back(choice);
  }
  return choices;
}

std::string HashFormats(const PrecisionPlan& plan) {
  std::string text;
  for (const PlanUnit& unit : plan.units) {
    for (const std::string& stem : unit.stems) text += fmt::format("{} {}\n", stem, unit.choice().name());
  }
  return Sha256Hex(text);
}

Status SetBudget(PrecisionPlan& plan, BudgetKind kind, double value) {
  plan.budget = {kind, value, 0};
  if (kind == BudgetKind::kMostKl) return {};
  std::uint64_t least = 0;
  for (const PlanUnit& unit : plan.units) {
    std::uint64_t smallest = unit.candidates[0].bytes;
    for (const PlanCandidate& candidate : unit.candidates) smallest = std::min(smallest, candidate.bytes);
    least += smallest;
  }
  const bool bits = kind == BudgetKind::kBitsPerWeight;
  const auto weights = static_cast<double>(plan.linear_weights);
  const double bytes = bits ? value * weights / 8 : value - static_cast<double>(plan.other_bytes);
  if (!(bytes >= static_cast<double>(least)) || bytes > 9e15) {
    return Error{ErrorCode::kUsage,
                 bits ? fmt::format("no plan has {:.6g} bits per weight; the smallest has {:.4f}", value,
                                    8.0 * static_cast<double>(least) / weights)
                      : fmt::format("no plan makes this model {:.0f} bytes large; the smallest takes {}, of which "
                                    "embedding, head and norms are {}",
                                    value, least + plan.other_bytes, plan.other_bytes)};
  }
  plan.budget.bytes = static_cast<std::uint64_t>(bytes);
  return {};
}

Status Choose(PrecisionPlan& plan) {
  std::vector<PlanChoices> units;
  for (const PlanUnit& unit : plan.units) {
    PlanChoices& choices = units.emplace_back();
    for (const PlanCandidate& candidate : unit.candidates) choices.push_back({candidate.bytes, candidate.kl().value()});
  }
  const auto chosen = plan.budget.kind == BudgetKind::kMostKl ? LeastBytes(units, plan.budget.value)
                                                              : LeastLoss(units, plan.budget.bytes);
  if (!chosen) return chosen.error();
  for (std::size_t u = 0; u < plan.units.size(); ++u) plan.units[u].chosen = (*chosen)[u];
  return {};
}

}  // namespace marlin
