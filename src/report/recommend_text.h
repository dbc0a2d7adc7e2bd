// A recommendation as text for the terminal, and as JSON. Names from records are made safe to show.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "records/recommend.h"
#include "report/row_programs.h"

namespace marlin {

// Which programs run a row, and how they get its files.
struct RowFiles {
  std::optional<Runtimes> runtimes;  // nullopt: a baseline, or not known
  std::vector<std::string> exports;  // a command for each, where the program makes the row
};

// A recommendation and what the program adds to it.
struct Advice {
  Recommendation answer;
  std::vector<std::string> commands;  // that make the recommended row
  std::vector<std::string> notes;     // sentences about them
  std::string basis;                  // of an estimate: how it was made
  std::string next;                   // command that would tell more: of an estimate, the one that measures
  RowFiles recommended = {};
  RowFiles runner_up = {};
};

std::string RecommendText(const Advice& advice, const RecommendLimits& limits);
nlohmann::ordered_json RecommendJson(const Advice& advice, const RecommendLimits& limits);

// Where nothing is recommended: kThreshold when no row satisfies the limits, kInput when that is not known.
Status VerdictOf(const Advice& advice);

}  // namespace marlin
