#include "study/job_estimates.h"

#include <gtest/gtest.h>

namespace marlin {
namespace {

class JobEstimates : public testing::Test {
 protected:
  JobEstimates() {
    model_.windows = 10;
    model_.description.vocab_size = 1000;
    model_.description.hidden_size = 64;
    model_.rows.resize(1);
    model_.rows[0].model_bytes = 1 << 20;
    options_.machine.isa = options_.timer_machine.isa = "avx2";
  }
  double Seconds(JobKind kind) const { return EstimateJob(kind, model_, options_, {}, 0, NominalLimits()).seconds; }
  // As records describe it.
  void UseGpu(record::Machine& machine) {
    machine.isa = "scalar";
    machine.device = "a GPU";
  }

  ComparisonModel model_;
  ComparisonOptions options_;
};

TEST_F(JobEstimates, AGpuEvaluatesFasterThanItsProcessor) {
  const double baseline = Seconds(JobKind::kBaseline), floor = Seconds(JobKind::kNoiseFloor);
  UseGpu(options_.machine);
  EXPECT_LT(Seconds(JobKind::kBaseline), baseline / 100);
  EXPECT_EQ(Seconds(JobKind::kNoiseFloor), floor) << "the processor's scalar kernels make it";
}

TEST_F(JobEstimates, SpeedsAreThoseOfTheTimedDevice) {
  const double speed = Seconds(JobKind::kSpeed);
  UseGpu(options_.machine);
  EXPECT_EQ(Seconds(JobKind::kSpeed), speed);
  UseGpu(options_.timer_machine);
  EXPECT_LT(Seconds(JobKind::kSpeed), speed);
}

}  // namespace
}  // namespace marlin
