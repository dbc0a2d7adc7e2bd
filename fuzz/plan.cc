// plan.json of a small model, as a user may have edited it.
#include "fuzz/files.h"
#include "fuzz/target_list.h"
#include "model/test_description.h"
#include "quantize/precision_plan.h"

namespace marlin {
Status FuzzPlan(FuzzInput input) {
  static const Description model = TestDescription({32, 64, 1, 2, 1, 32, 96, 64, false});
  const auto read = [](FuzzInput bytes) { return ReadPlan(FuzzFile(bytes), model, "aaaa", "bbbb"); };
  const auto plan = read(input);
  if (!plan) return plan.error();
  const PrecisionPlan empty = EmptyPlan(model);
  MARLIN_CHECK(plan->units.size() == empty.units.size(), "every unit of the model");
  for (const PlanUnit& unit : plan->units) MARLIN_CHECK(unit.chosen < unit.candidates.size(), "a format that there is");
  const std::string text = PlanToJson(*plan);
  const auto again = read({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  MARLIN_CHECK(again.ok(), "a plan that was written can be read");
  MARLIN_CHECK(PlanToJson(*again) == text && HashFormats(*again) == HashFormats(*plan), "and is the same");
  return {};
}

}  // namespace marlin
