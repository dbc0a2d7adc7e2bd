#include "cli/budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>
#include <span>
#include <string_view>

#include "cli/console.h"

namespace marlin {

namespace {

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

struct Unit {
  std::string_view name;
  double factor;
};

constexpr Unit kSizes[] = {{"GB", 1e9},         {"MB", 1e6},      {"kB", 1e3},  {"B", 1},
                           {"GiB", 1073741824}, {"MiB", 1048576}, {"KiB", 1024}};
constexpr Unit kBits[] = {{"bpw", 1}};

// A positive number and one of the units behind it, in the unit "1"; empty when the text is something else.
std::optional<double> ParseAmount(std::string_view text, std::span<const Unit> units) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  text = text.substr(0, text.find_last_not_of(' ') + 1);
  double number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view rest(parsed.ptr, static_cast<std::size_t>(text.data() + text.size() - parsed.ptr));
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  for (const Unit& unit : units) {
    if (parsed.ec == std::errc() && EqualsIgnoringCase(rest, unit.name) && std::isfinite(number) && number > 0) {
      return number * unit.factor;
    }
  }
  return std::nullopt;
}

}  // namespace

Result<Budget> ParseBudget(const std::string& given) {
  if (const auto bits = ParseAmount(given, kBits)) return Budget{BudgetKind::kBitsPerWeight, *bits};
  if (const auto bytes = ParseAmount(given, kSizes)) return Budget{BudgetKind::kModelBytes, *bytes};
  return Error{ErrorCode::kUsage, fmt::format("\"{}\" is not a budget; want bits per weight as 4.25bpw, or the size of "
                                              "the whole model as 900MB",
                                              given)};
}

Result<std::uint64_t> ParseBytes(const std::string& given, const std::string& what) {
  constexpr double kMost = 1e15;
  const auto bytes = ParseAmount(given, kSizes);
  if (bytes && *bytes >= 1 && *bytes <= kMost) return static_cast<std::uint64_t>(*bytes);
  return Error{
      ErrorCode::kUsage,
      fmt::format("{}: \"{}\" is not a size; want a number and a unit, as 900MB, 12GB or 1.5GiB", what, given)};
}

std::string DescribeBudget(const PlanBudget& budget) {
  switch (budget.kind) {
    case BudgetKind::kBitsPerWeight:
      return fmt::format("{:.6g} bits per weight", budget.value);
    case BudgetKind::kModelBytes:
      return FormatBytes(budget.value) + " of tensors";
    case BudgetKind::kMostKl:
      return fmt::format("at most {:.6g} nats per token", budget.value);
  }
  return {};
}

}  // namespace marlin
