// What was not measured, as JSON: null.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "base/statistics.h"

namespace marlin {

template <typename T>
nlohmann::ordered_json OrNull(const std::optional<T>& x) {
  return x ? nlohmann::ordered_json(*x) : nlohmann::ordered_json(nullptr);
}

// [low, high]
inline nlohmann::ordered_json IntervalOrNull(const std::optional<Interval>& x) {
  return x ? nlohmann::ordered_json::array({x->low, x->high}) : nlohmann::ordered_json(nullptr);
}

}  // namespace marlin
