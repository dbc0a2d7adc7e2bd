#include "cli/budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <string_view>

#include "cli/console.h"

namespace marlin {

namespace {

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

Result<Budget> ParseBudget(const std::string& given) {
  std::string_view text = given;
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  text = text.substr(0, text.find_last_not_of(' ') + 1);
  struct Unit {
    std::string_view name;
    BudgetKind kind;
    double factor;
  };
  constexpr Unit kUnits[] = {{"bpw", BudgetKind::kBitsPerWeight, 1},
                             {"GB", BudgetKind::kModelBytes, 1e9},
                             {"MB", BudgetKind::kModelBytes, 1e6},
                             {"kB", BudgetKind::kModelBytes, 1e3},
                             {"B", BudgetKind::kModelBytes, 1}};
  double number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view rest(parsed.ptr, static_cast<std::size_t>(text.data() + text.size() - parsed.ptr));
  for (const Unit& unit : kUnits) {
    if (parsed.ec == std::errc() && EqualsIgnoringCase(rest, unit.name) && std::isfinite(number) && number > 0) {
      return Budget{unit.kind, number * unit.factor};
    }
  }
  return Error{ErrorCode::kUsage, fmt::format("\"{}\" is not a budget; want bits per weight as 4.25bpw, or the size of "
                                              "the whole model as 900MB",
                                              given)};
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
