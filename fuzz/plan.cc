// plan.json of a small model, as a user may have edited it.
#include "fuzz/files.h"
#include "fuzz/target_list.h"
#include "quantize/precision_plan.h"

namespace marlin {
namespace {

ModelConfig SmallConfig() {
  ModelConfig config;
  config.vocab_size = 32;
  config.hidden_size = 64;
  config.layers = 1;
  config.heads = 2;
  config.kv_heads = 1;
  config.head_dim = 32;
  config.intermediate_size = 96;
  return config;
}

}  // namespace

Status FuzzPlan(FuzzInput input) {
  static const ModelConfig config = SmallConfig();
  const auto read = [](FuzzInput bytes) { return ReadPlan(FuzzFile(bytes), config, "aaaa", "bbbb"); };
  const auto plan = read(input);
  if (!plan) return plan.error();
  const PrecisionPlan empty = EmptyPlan(config);
  MARLIN_CHECK(plan->units.size() == empty.units.size(), "every unit of the model");
  for (const PlanUnit& unit : plan->units) MARLIN_CHECK(unit.chosen < unit.candidates.size(), "a format that there is");
  const std::string text = PlanToJson(*plan);
  const auto again = read({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  MARLIN_CHECK(again.ok(), "a plan that was written can be read");
  MARLIN_CHECK(PlanToJson(*again) == text && HashFormats(*again) == HashFormats(*plan), "and is the same");
  return {};
}

}  // namespace marlin
