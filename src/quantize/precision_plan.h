// A plan of mixed precision: the format of each linear layer, the cost of every other format in bytes and divergence,
// and its file (plan.json, docs/plan_schema.md). The file may be edited: only its "format" fields decide.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/format.h"
#include "model/description.h"
#include "model/weights.h"

namespace marlin {

// The name in a plan for "not quantized".
inline constexpr std::string_view kKeptName = "16-bit";

struct PlanCandidate {
  const FormatRow* format = nullptr;   // null = 16 bits
  std::uint64_t bytes = 0;             // of the unit's tensors in this format
  std::optional<double> estimated_kl;  // nats per token, when only this unit is quantized: carried over from the probe
  std::optional<double> measured_kl;

  std::string_view name() const { return format == nullptr ? kKeptName : format->info.name; }
  std::optional<double> kl() const { return measured_kl ? measured_kl : estimated_kl; }
};

// Matrices that read the same input share a format: one unit.
struct PlanUnit {
  std::size_t layer = 0;
  std::size_t input = 0;  // of the block
  std::size_t cols = 0;   // of every matrix
  std::vector<std::string> stems;
  std::vector<PlanCandidate> candidates;
  std::size_t chosen = 0;

  const PlanCandidate& choice() const { return candidates[chosen]; }
  const PlanCandidate* Find(std::string_view name) const;  // null when there is none
  // What the unit has where every unit shall have one format: the format, its fallback, or 16 bits.
  const PlanCandidate& Uniform(const FormatRow& format) const;
};

enum class BudgetKind { kBitsPerWeight, kModelBytes, kMostKl };
struct PlanBudget {
  BudgetKind kind = BudgetKind::kBitsPerWeight;
  double value = 0;  // bits per weight, bytes, or nats per token
  // Bytes that the linear layers may take, including those in 16 bits; not used for kMostKl.
  std::uint64_t bytes = 0;
};

// Result of a configuration on windows that were not used to make the plan.
struct HeldOutKl {
  std::string config;  // "mixed", "fp4-g64"
  std::uint64_t bytes = 0;
  std::vector<double> window_kl;  // sums over the scored tokens, nats
};

// What the units of a plan choose from, beside 16 bits.
struct PlanFormats {
  std::vector<const FormatRow*> formats;  // where blocks do not divide the rows of a unit, it has the fallback
  std::size_t row_multiple = 1;           // a unit with rows of other lengths stays in 16 bits
};
// The common formats.
PlanFormats CommonPlanFormats();

struct PrecisionPlan {
  std::string model_name, model_sha256, tokenizer_sha256;
  std::string text_name, text_sha256;
  std::size_t ctx = 0;
  std::size_t windows = 0;           // that gave the sensitivities
  std::size_t held_out_windows = 0;  // of the same text; others
  std::string method;                // that made the weights of both
  std::string probe;                 // format that every unit was measured in
  std::string program, command;
  PlanBudget budget;
  std::vector<const FormatRow*> wanted;  // what the units choose from
  std::vector<PlanUnit> units;           // in the order of the forward pass
  std::vector<HeldOutKl> confirmed;      // the plan, then single configurations within its budget; may be empty
  std::uint64_t linear_weights = 0;      // of all units
  std::uint64_t other_bytes = 0;         // of what no plan touches, in 16 bits

  std::uint64_t bytes() const;       // of all units
  std::uint64_t kept_bytes() const;  // of the units that stay in 16 bits
  double bits_per_weight() const { return 8.0 * static_cast<double>(bytes()) / static_cast<double>(linear_weights); }
  std::optional<double> predicted_kl() const;  // sum over the units
  FormatMap formats() const;
};

// Every unit of a model with all its candidates, nothing measured, the first of them chosen; the counts of the plan.
PrecisionPlan EmptyPlan(const Description& description, const PlanFormats& formats = CommonPlanFormats());

// The same format everywhere, its fallback or 16 bits where a unit does not have it. Bytes and the sum of the KLs; null
// when the units lack it.
struct UniformChoice {
  const FormatRow* format = nullptr;
  std::uint64_t bytes = 0;
  std::optional<double> kl;
};
std::vector<UniformChoice> UniformChoices(const PrecisionPlan& plan);

// Of the map tensor -> format alone, so that equal plans have equal hashes whatever led to them.
std::string HashFormats(const PrecisionPlan& plan);

// Sets the bytes that the linear layers may take. Errors: kUsage (less than the smallest plan needs: says how much).
Status SetBudget(PrecisionPlan& plan, BudgetKind kind, double value);

// Chooses the candidates with the least sum of KLs within the budget, or the fewest bytes within the KL. Every
// candidate has a KL. Errors: as plan_solver.h.
Status Choose(PrecisionPlan& plan);

// The file is written atomically. Errors: kInput, kResource.
Status WritePlan(const PrecisionPlan& plan, const std::filesystem::path& file);
std::string PlanToJson(const PrecisionPlan& plan);

// The plan of this model, as it may have been edited. Errors: kInput (not a plan; another model or tokenizer; tensors
// or formats that there are not, tensors twice or missing, tied ones in two formats, more than its budget: each named).
Result<PrecisionPlan> ReadPlan(const std::filesystem::path& file, const Description& description,
                               const std::string& model_sha256, const std::string& tokenizer_sha256);

}  // namespace marlin
