#include "study/make_command.h"

#include <gtest/gtest.h>

#include "quantize/method.h"
#include "records/test_records.h"

namespace marlin {
namespace {

Record Uniform(const std::string& method) {
  Record record = test::MakeRecord({}, test::SevenShapes()[3]);
  record.config.method = method;
  return record;
}

std::vector<std::string> Lines(const Record& record) {
  std::vector<std::string> lines;
  for (const auto& words : CommandsThatMake(record, "./m").lines) {
    std::string& line = lines.emplace_back();
    for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
  }
  return lines;
}

using Lists = std::vector<std::string>;

TEST(MakeCommand, RoundToNearestNeedsNoText) {
  EXPECT_EQ(Lines(Uniform("rtn")), Lists{"quantize ./m --config fp4-g128 --method rtn -o ./fp4-g128-rtn"});
  EXPECT_TRUE(CommandsThatMake(Uniform("rtn"), "./m").notes.empty());
  EXPECT_EQ(CommandsThatMake(Uniform("rtn"), "./m").folder, "./fp4-g128-rtn");
}

TEST(MakeCommand, UsualWindowsAreLeftOutAndOthersNamed) {
  Record record = Uniform("gptq-cd");
  record.config.calibration = record::Calibration{"wikitext2", "abc", 128, 512};
  EXPECT_EQ(
      Lines(record),
      Lists{"quantize ./m --config fp4-g128 --method gptq-cd --calibration wikitext2 -o ./fp4-g128-gptq-cd-wikitext2"});
  EXPECT_TRUE(CommandsThatMake(record, "./m").notes.empty()) << "the program knows this text";
  record.config.calibration = record::Calibration{"mine.txt", "0123456789abcdef", 32, 256};
  record.config.quantized_embeddings = record.config.quantized_head = true;
  record.model.accepted_unknown = {"new_key"};
  EXPECT_EQ(Lines(record),
            Lists{"quantize ./m --config fp4-g128 --method gptq-cd --calibration mine.txt --calibration-windows 32 "
                  "--calibration-ctx 256 --quantize-embeddings --quantize-head --accept-unknown new_key "
                  "-o ./fp4-g128-gptq-cd-mine.txt"});
  const MakeCommands made = CommandsThatMake(record, "./m");
  ASSERT_EQ(made.notes.size(), 1u);
  EXPECT_EQ(made.notes[0], "mine.txt is a text file of that name (sha256 0123456789ab...): give its path");
}

Record Mixed() {
  Record record = Uniform("gptq-cd");
  record.config.id = "mixed";
  record.config.kind = record::Kind::kMixed;
  record.size.quantized_parameters = 800;
  record.config.budget_bytes = 450;
  record.config.calibration = record::Calibration{"wikitext2", "abc", 128, 512};
  record.plan = record::Plan{{"wikitext2", "abc", 16, 512}, "mse", "fp4-g128", {{0, "o", "fp4-g32", 450, 0.1, 0.1}}};
  return record;
}

TEST(MakeCommand, AMixedRowNeedsItsPlanFirst) {
  EXPECT_EQ(Lines(Mixed()), (Lists{"plan ./m --budget 4.5bpw --calibration wikitext2 -o plan-4.5bpw.json",
                                   "quantize ./m --plan plan-4.5bpw.json --method gptq-cd --calibration wikitext2 "
                                   "-o ./mixed-4.5bpw-gptq-cd-wikitext2"}));
}

// The budget of a plan counts units that stay in 16 bits, that of a record does not: 800 weights in 450 bytes and 200
// in 400 are 1000 weights in 850.
TEST(MakeCommand, ABudgetCountsWhatStaysIn16Bits) {
  Record record = Mixed();
  record.plan->units.push_back({1, "o", "16-bit", 400, 0, std::nullopt});
  record.plan->method = "rtn";
  record.plan->text.windows = 8;
  EXPECT_EQ(Lines(record)[0],
            "plan ./m --budget 6.8bpw --method rtn --calibration wikitext2 --calibration-windows 8 --held-out 16 -o "
            "plan-6.8bpw.json");
}

TEST(MakeCommand, WhatTheRecordDoesNotHoldIsSaid) {
  Record record = Mixed();
  record.config.budget_bytes.reset();
  MakeCommands made = CommandsThatMake(record, "./m");
  ASSERT_EQ(made.notes.size(), 1u);
  EXPECT_NE(made.notes[0].find("--max-kl"), std::string::npos);
  record.plan.reset();
  made = CommandsThatMake(record, "./m");
  EXPECT_EQ(made.lines.size(), 1u);
  ASSERT_EQ(made.notes.size(), 1u);
  EXPECT_NE(made.notes[0].find("does not hold its plan"), std::string::npos);
}

TEST(MakeCommand, ABaselineAndAnotherProgramsFileHaveNone) {
  Record baseline = test::MakeRecord({}, test::BaselineShape());
  EXPECT_TRUE(Lines(baseline).empty());
  EXPECT_NE(CommandsThatMake(baseline, "./m").notes[0].find("dequantized from Q4_1"), std::string::npos);
  Record imported = Uniform("imported");
  imported.config.kind = record::Kind::kImported;
  EXPECT_TRUE(Lines(imported).empty());
  EXPECT_NE(CommandsThatMake(imported, "./m").notes[0].find("another program"), std::string::npos);
  EXPECT_EQ(CommandsThatMake(imported, "./m").folder, "");
}

TEST(MakeCommand, OtherVersionsOfAMethodAreSaid) {
  Record record = Uniform("gptq-cd");
  record.config.method_versions = ParseRecipe("gptq-cd")->versions;
  EXPECT_TRUE(CommandsThatMake(record, "./m").notes.empty());
  record.config.method_versions = "gptq-cd 999";
  EXPECT_NE(CommandsThatMake(record, "./m").notes.at(0).find("gptq-cd 999"), std::string::npos);
  EXPECT_NE(CommandsThatMake(Uniform("sorcery"), "./m").notes.at(0).find("no method sorcery"), std::string::npos);
}

TEST(MakeCommand, AFolderIsNamedAfterAPlainConfigurationOnly) {
  Record record = Uniform("rtn");
  for (const char* id : {"../../etc", "a b", "", ".hidden", "$(reboot)"}) {
    record.config.id = id;
    EXPECT_EQ(CommandsThatMake(record, "./m").lines[0].back(), "FOLDER") << id;
  }
}

}  // namespace
}  // namespace marlin
