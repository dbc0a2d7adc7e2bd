#include "records/keys.h"

#include <gtest/gtest.h>

#include <functional>

#include "records/test_records.h"

namespace marlin {
namespace {

struct KeyChange {
  const char* what;
  std::function<void(Record&)> change;
};

Record Quantized() {
  Record record = test::MakeRecord({}, test::SevenShapes()[3]);
  record.divergence = test::MakeDivergence({}, test::SevenShapes()[3]);
  record.perplexity->arithmetic = "cpu/avx2/int16 v1";
  record.config.method_versions = "gptq 1";
  record.config.calibration = record::Calibration{"wikitext2", Sha256Hex("text"), 128, 512};
  record.throughput->arithmetic = "cpu/avx2/int16 v1";
  return record;
}

TEST(Keys, QualityDependsOnWhatDecidesItsNumbers) {
  const std::string key = QualityKey(Quantized());
  EXPECT_EQ(key.size(), 64u);
  const KeyChange changes[] = {
      {"model", [](Record& x) { x.model.sha256 = Sha256Hex("other"); }},
      {"accepted", [](Record& x) { x.model.accepted_unknown = {"rope_scaling"}; }},
      {"tokenizer", [](Record& x) { x.perplexity->tokenizer_sha256 = "other"; }},
      {"text", [](Record& x) { x.perplexity->text.sha256 = "other"; }},
      {"windows", [](Record& x) { ++x.perplexity->windows; }},
      {"context", [](Record& x) { ++x.perplexity->ctx; }},
      {"metric", [](Record& x) { ++x.perplexity->metric_version; }},
      {"divergence", [](Record& x) { ++x.divergence->metric_version; }},
      {"configuration", [](Record& x) { x.config.id = "fp4-g64"; }},
      {"method", [](Record& x) { x.config.method = "awq"; }},
      {"method's version", [](Record& x) { x.config.method_versions = "gptq 2"; }},
      {"calibration", [](Record& x) { x.config.calibration->sha256 = "other"; }},
      {"calibration windows", [](Record& x) { x.config.calibration->windows = 64; }},
      {"plan", [](Record& x) { x.config.plan_sha256 = "plan"; }},
      {"arithmetic", [](Record& x) { x.perplexity->arithmetic = "cpu/avx512/int16 v1"; }},
      {"arithmetic's version", [](Record& x) { x.perplexity->arithmetic = "cpu/avx2/int16 v2"; }},
  };
  for (const KeyChange& change : changes) {
    Record record = Quantized();
    change.change(record);
    EXPECT_NE(QualityKey(record), key) << change.what;
  }
}

TEST(Keys, QualityDoesNotDependOnMachineProgramAndTiming) {
  const std::string key = QualityKey(Quantized());
  const KeyChange changes[] = {
      {"processor", [](Record& x) { x.machine.cpu = "another"; }},
      {"threads", [](Record& x) { x.machine.threads = 64; }},
      {"affinity", [](Record& x) { x.machine.affinity = "7"; }},
      {"program",
       [](Record& x) {
         x.program = {"9.9", "another commit", "another compiler", "-O0", "binary"};
       }},
      {"timing", [](Record& x) { x.throughput.reset(); }},
      {"time", [](Record& x) { x.created = "2030-01-01T00:00:00Z"; }},
      {"command", [](Record& x) { x.command = "another"; }},
      {"name", [](Record& x) { x.model.name = "a copy"; }},
      {"results", [](Record& x) { x.perplexity->window_nll.clear(); }},
  };
  for (const KeyChange& change : changes) {
    Record record = Quantized();
    change.change(record);
    EXPECT_EQ(QualityKey(record), key) << change.what;
  }
}

TEST(Keys, SpeedDependsOnProgramAndMachine) {
  const std::string key = SpeedKey(Quantized(), true);
  EXPECT_NE(SpeedKey(Quantized(), false), key);
  EXPECT_NE(QualityKey(Quantized()), key);
  const KeyChange changes[] = {
      {"processor", [](Record& x) { x.machine.cpu = "another"; }},
      {"threads", [](Record& x) { x.machine.threads = 64; }},
      {"affinity", [](Record& x) { x.machine.affinity = "7"; }},
      {"instruction set", [](Record& x) { x.machine.isa = "scalar"; }},
      {"binary", [](Record& x) { x.program.binary_sha256 = "another"; }},
      {"protocol", [](Record& x) { x.throughput->protocol.iterations = 8; }},
      {"decode's protocol",
       [](Record& x) {
         x.throughput->decode->protocol = record::TimingProtocol{"a", 1, 2, 2};
       }},
      {"configuration", [](Record& x) { x.config.id = "fp4-g64"; }},
  };
  for (const KeyChange& change : changes) {
    Record record = Quantized();
    change.change(record);
    EXPECT_NE(SpeedKey(record, true), key) << change.what;
  }
  Record other_text = Quantized();
  other_text.perplexity->text.sha256 = "other";
  EXPECT_EQ(SpeedKey(other_text, true), key) << "a model is as fast, whatever it is evaluated on";
}

TEST(Keys, ANoiseFloorBelongsToItsBaselineAndTheOtherArithmetic) {
  const Record record = test::MakeRecord({}, test::BaselineShape());
  const std::string key = NoiseFloorKey(record, "cpu/scalar", 1);
  EXPECT_NE(NoiseFloorKey(record, "reference", 1), key);
  EXPECT_NE(NoiseFloorKey(record, "cpu/scalar", 2), key);
  EXPECT_NE(key, QualityKey(record));
}

// Two arithmetics are one row, which is never shown twice. 8-bit activations are another one: they cost quality.
TEST(Keys, ARowIsOneWhateverComputedIt) {
  const std::string row = RowIdentity(Quantized());
  Record other = Quantized();
  other.perplexity->arithmetic = "cpu/scalar/fp32 v1";
  other.machine.isa = "scalar";
  other.config.method_versions = "gptq 2";
  EXPECT_EQ(RowIdentity(other), row);
  other.machine.activations = "int8";
  EXPECT_NE(RowIdentity(other), row);
}

}  // namespace
}  // namespace marlin
