#include "quantize/plan_solver.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>

namespace marlin {
namespace {

// Sums of losses are compared up to rounding.
constexpr double kRounding = 1e-12;

struct Item {
  double weight = 0;  // what is limited
  double value = 0;   // what is to be least
  std::size_t index = 0;
};
using Items = std::vector<Item>;

// The items that no lighter one beats: weights ascend, values descend.
Items UndominatedItems(Items items) {
  std::ranges::sort(items, [](const Item& a, const Item& b) {
    return a.weight != b.weight ? a.weight < b.weight : a.value < b.value;
  });
  Items kept;
  for (const Item& item : items) {
    if (kept.empty() || item.value < kept.back().value) kept.push_back(item);
  }
  return kept;
}

// A step along the lower convex hull of a unit's items.
struct Step {
  std::size_t unit = 0;
  std::size_t item = 0;  // that it leads to
  double weight = 0;     // that it adds
  double gain = 0;       // value that it saves per weight
};

// Gains descend within a unit.
std::vector<Step> HullSteps(const Items& items, std::size_t unit) {
  std::vector<std::size_t> hull;
  const auto gain = [&](std::size_t a, std::size_t b) {
    return (items[a].value - items[b].value) / (items[b].weight - items[a].weight);
  };
  for (std::size_t i = 0; i < items.size(); ++i) {
    while (hull.size() >= 2 && gain(hull[hull.size() - 2], hull.back()) <= gain(hull.back(), i)) hull.pop_back();
    hull.push_back(i);
  }
  std::vector<Step> steps;
  for (std::size_t i = 1; i < hull.size(); ++i) {
    steps.push_back({unit, hull[i], items[hull[i]].weight - items[hull[i - 1]].weight, gain(hull[i - 1], hull[i])});
  }
  return steps;
}

class Knapsack {
 public:
  Knapsack(std::vector<Items> units, double limit) : limit_(limit) {
    for (Items& items : units) units_.push_back(UndominatedItems(std::move(items)));
  }

  double LeastWeight() const {
    double weight = 0;
    for (const Items& items : units_) weight += items.front().weight;
    return weight;
  }

  // LeastWeight() <= limit.
  std::vector<std::size_t> Solve() {
    Relax();
    if (price_ > 0) Search();
    std::vector<std::size_t> chosen;
    for (std::size_t u = 0; u < units_.size(); ++u) chosen.push_back(units_[u][best_[u]].index);
    return chosen;
  }

 private:
  // The steps with the largest gains as long as they fit. The first that does not sets the price.
  void Relax() {
    std::vector<Step> steps;
    for (std::size_t u = 0; u < units_.size(); ++u) {
      const auto more = HullSteps(units_[u], u);
      steps.insert(steps.end(), more.begin(), more.end());
    }
    std::ranges::stable_sort(steps, [](const Step& a, const Step& b) { return a.gain > b.gain; });
    best_.assign(units_.size(), 0);
    double weight = LeastWeight();
    std::vector<bool> stopped(units_.size(), false);
    for (const Step& step : steps) {
      if (stopped[step.unit]) continue;
      if (weight + step.weight <= limit_) {
        weight += step.weight;
        best_[step.unit] = step.item;
        continue;
      }
      if (price_ == 0) price_ = step.gain;
      stopped[step.unit] = true;
    }
    best_value_ = ValueOf(best_);
    for (const Items& items : units_) {
      std::size_t cheapest = 0;
      for (std::size_t i = 1; i < items.size(); ++i) {
        if (Cost(items[i]) < Cost(items[cheapest])) cheapest = i;
      }
      cheapest_.push_back(cheapest);
    }
  }

  double Cost(const Item& item) const { return item.value + price_ * item.weight; }

  double ValueOf(const std::vector<std::size_t>& chosen) const {
    double value = 0;
    for (std::size_t u = 0; u < units_.size(); ++u) value += units_[u][chosen[u]].value;
    return value;
  }

  struct State {
    double weight = 0;
    double value = 0;
    double regret = 0;  // above the cheapest items, at the price
    std::size_t node = 0;
  };
  struct Node {
    std::size_t parent = 0;
    std::size_t item = 0;
  };

  // How much the cheapest other item of a unit costs more.
  double Doubt(std::size_t unit) const {
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < units_[unit].size(); ++i) {
      if (i != cheapest_[unit]) least = std::min(least, Regret(unit, i));
    }
    return least;
  }
  double Regret(std::size_t unit, std::size_t item) const {
    return std::max(0.0, Cost(units_[unit][item]) - Cost(units_[unit][cheapest_[unit]]));
  }

  // Units whose choice is least certain come first, so that the gap shrinks early.
  void Order() {
    order_.resize(units_.size());
    std::iota(order_.begin(), order_.end(), 0);
    std::vector<double> doubt;
    for (std::size_t u = 0; u < units_.size(); ++u) doubt.push_back(Doubt(u));
    std::ranges::stable_sort(order_, {}, [&](std::size_t u) { return doubt[u]; });
    rest_.assign(units_.size() + 1, {});
    for (std::size_t i = units_.size(); i-- > 0;) {
      const Items& items = units_[order_[i]];
      const Item& cheap = items[cheapest_[order_[i]]];
      rest_[i] = {rest_[i + 1].weight + cheap.weight, rest_[i + 1].value + cheap.value,
                  rest_[i + 1].least_weight + items.front().weight};
    }
  }

  // The state with the cheapest items for units that were not looked at yet, if that fits and is better.
  void Complete(const State& state, std::size_t next) {
    if (state.weight + rest_[next].weight > limit_ || state.value + rest_[next].value >= best_value_) return;
    best_value_ = state.value + rest_[next].value;
    best_ = cheapest_;
    std::size_t node = state.node;
    for (std::size_t i = next; i-- > 0;) {
      best_[order_[i]] = nodes_[node].item;
      node = nodes_[node].parent;
    }
  }

  // No solution is better than this, plus the regret of a state for those that begin with it.
  double Bound() const { return rest_[0].value + price_ * (rest_[0].weight - limit_); }

  void Search() {
    Order();
    nodes_ = {{}};
    std::vector<State> states = {{}};
    for (std::size_t i = 0; i < units_.size(); ++i) {
      const Items& items = units_[order_[i]];
      std::vector<State> grown;
      for (const State& state : states) {
        for (std::size_t item = 0; item < items.size(); ++item) {
          const double regret = state.regret + Regret(order_[i], item);
          const double weight = state.weight + items[item].weight;
          if (Bound() + regret >= best_value_ * (1 - kRounding) || weight + rest_[i + 1].least_weight > limit_)
            continue;
          nodes_.push_back({state.node, item});
          grown.push_back({weight, state.value + items[item].value, regret, nodes_.size() - 1});
        }
      }
      states = Undominated(std::move(grown));
      for (const State& state : states) Complete(state, i + 1);
    }
  }

  static std::vector<State> Undominated(std::vector<State> states) {
    std::ranges::stable_sort(states, [](const State& a, const State& b) {
      return a.weight != b.weight ? a.weight < b.weight : a.value < b.value;
    });
    std::vector<State> kept;
    for (const State& state : states) {
      if (kept.empty() || state.value < kept.back().value) kept.push_back(state);
    }
    return kept;
  }

  struct Rest {
    double weight = 0, value = 0;  // of the cheapest items
    double least_weight = 0;
  };

  std::vector<Items> units_;
  double limit_;
  double price_ = 0;  // of one weight, in value; 0 = everything fits
  std::vector<std::size_t> cheapest_;
  std::vector<std::size_t> best_;
  double best_value_ = 0;
  std::vector<std::size_t> order_;
  std::vector<Rest> rest_;  // of the units from each place in the order on
  std::vector<Node> nodes_;
};

}  // namespace

Result<std::vector<std::size_t>> LeastLoss(std::span<const PlanChoices> units, std::uint64_t most_bytes) {
  std::vector<Items> items(units.size());
  for (std::size_t u = 0; u < units.size(); ++u) {
    for (const PlanChoice& choice : units[u]) {
      items[u].push_back({static_cast<double>(choice.bytes), choice.loss, items[u].size()});
    }
  }
  Knapsack knapsack(std::move(items), static_cast<double>(most_bytes));
  if (knapsack.LeastWeight() > static_cast<double>(most_bytes)) {
    return Error{ErrorCode::kUsage, fmt::format("no plan fits into {} bytes; the smallest takes {}", most_bytes,
                                                static_cast<std::uint64_t>(knapsack.LeastWeight()))};
  }
  return knapsack.Solve();
}

Result<std::vector<std::size_t>> LeastBytes(std::span<const PlanChoices> units, double most_loss) {
  std::vector<Items> items(units.size());
  for (std::size_t u = 0; u < units.size(); ++u) {
    for (const PlanChoice& choice : units[u]) {
      items[u].push_back({choice.loss, static_cast<double>(choice.bytes), items[u].size()});
    }
  }
  const double limit = most_loss * (1 + kRounding);
  Knapsack knapsack(std::move(items), limit);
  if (!(knapsack.LeastWeight() <= limit)) {
    return Error{ErrorCode::kUsage, fmt::format("no plan loses as little as {:.6g}; the best loses {:.6g}", most_loss,
                                                knapsack.LeastWeight())};
  }
  return knapsack.Solve();
}

}  // namespace marlin
