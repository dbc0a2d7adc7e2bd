#include "report/recommend_text.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/test_text.h"
#include "records/test_records.h"

namespace marlin {
namespace {

// One scene's seven rows, with a KL for each.
std::vector<StoredRecord> SevenWithKl() {
  auto records = test::SevenRecords();
  const auto shapes = test::SevenShapes();
  for (std::size_t i = 1; i < records.size(); ++i) {
    records[i].record.divergence = test::MakeDivergence({}, shapes[i]);
  }
  return records;
}

RecommendLimits LimitsOf(std::uint64_t memory, std::optional<std::uint64_t> context = {},
                         std::optional<double> max_kl = {}, std::optional<double> speed = {}) {
  return {memory, context, max_kl, std::nullopt, speed};
}

struct Told {
  Told(std::vector<StoredRecord> given, RecommendLimits limits) : records(std::move(given)) {
    analysis = Analyze(records);
    advice.answer = *Recommend(analysis.models[0], limits, std::nullopt);
    advice.commands = {"metal-marlin quantize MODEL"};
    advice.notes = {"note\nof two lines"};
    advice.next = "metal-marlin recommend MODEL";
    const auto runs = [&](std::optional<std::size_t> place) {
      const bool known = place && advice.answer.rows[*place].row != nullptr;
      return known ? RuntimesOf(*advice.answer.group, *advice.answer.rows[*place].row) : std::nullopt;
    };
    advice.recommended = {runs(advice.answer.recommended), {"metal-marlin export a", "metal-marlin export b"}};
    advice.runner_up = {runs(advice.answer.runner_up), {"metal-marlin export c"}};
    text = RecommendText(advice, limits);
    json = RecommendJson(advice, limits);
  }
  std::vector<StoredRecord> records;
  Analysis analysis;
  Advice advice;
  std::string text;
  nlohmann::ordered_json json;
};

// A device with its own memory: the process's memory is not what a row needs.
TEST(RecommendText, SpeedAndMemoryAreThoseOfTheDevice) {
  auto records = SevenWithKl();
  for (StoredRecord& stored : records) stored.record.machine.device = "Test GPU (sm_90)";
  const Told unknown(records, {});
  EXPECT_TRUE(Has(unknown.text, "tok/s decode (Test GPU (sm_90), after 512 tokens)")) << unknown.text;
  EXPECT_TRUE(Has(unknown.text, "  memory    tensors ")) << unknown.text;
  EXPECT_FALSE(Has(unknown.text, "measured;")) << unknown.text;
  for (StoredRecord& stored : records) stored.record.size.peak_device_decode_bytes = 200'000'000;
  const Told known(records, {});
  EXPECT_TRUE(Has(known.text, "  memory    200.0 MB with 16 tokens, measured")) << known.text;
  EXPECT_EQ(known.json["rows"][0]["decode_setting"]["device"], "Test GPU (sm_90)");
}

TEST(RecommendText, SaysWhatAndWhyAndHow) {
  const Told told(SevenWithKl(), {});
  for (const char* piece :
       {"SmolLM2-135M-Instruct: no limits\nMeasured on WikiText-2 test", "compared by KL, nats per token.",
        "\nRecommended: int4-g64 †\n", "  loses     KL 0.05482", "  memory    ", " MB with 16 tokens, measured",
        "  speed     20", "Test CPU, 2 threads, after 512 tokens", "  but       † its source already lies",
        "  runs in   llama.cpp (5 bits), MLX (4.5 bits)\n",
        "  make it   metal-marlin quantize MODEL\n  export    metal-marlin export a\n            metal-marlin export "
        "b\n",
        "tok/s\n  runs in   llama.cpp (5 bits)\n  export    metal-marlin export c\n", "  note      note of two lines\n",
        "  records   ", "\nRunner-up: int4-g128 †: loses more: KL 0.08", "The other rows:\n",
        "  f16 (dequantized from Q4_1)  not quantized: 269.0 MB of tensors\n",
        "  fp4-g32                      loses more"}) {
    EXPECT_TRUE(Has(told.text, piece)) << piece << "\n" << told.text;
  }
  EXPECT_TRUE(VerdictOf(told.advice).ok());
  EXPECT_EQ(told.json["recommended"], "int4-g64");
  EXPECT_EQ(told.json["runner_up"], "int4-g128");
  EXPECT_EQ(told.json["files"]["recommended"]["runs_in"], (nlohmann::ordered_json{"llama.cpp", "MLX"}));
  EXPECT_EQ(told.json["files"]["recommended"]["exports"].size(), 2u);
  EXPECT_EQ(told.json["files"]["runner_up"]["runs_in"], nlohmann::ordered_json::array({"llama.cpp"}));
  ASSERT_EQ(told.json["rows"].size(), 7u);
  EXPECT_EQ(told.json["rows"][0]["verdict"], "satisfies");
  EXPECT_EQ(told.json["rows"][0]["reasons"][0]["reason"], "not_small");
  EXPECT_EQ(told.json["rows"][1]["verdict"], "recommended");
  EXPECT_EQ(told.json["rows"][1]["records"][0]["of"], "quality");
  EXPECT_EQ(told.json["rows"][1]["decode_setting"]["prompt_tokens"], 512);
  EXPECT_EQ(told.json["limits"]["max_kl"], nullptr);
}

TEST(RecommendText, TwelveRowsAreAtMostThirtyLines) {
  auto records = SevenWithKl();
  for (int i = 1; i <= 5; ++i) {
    StoredRecord copy = records[static_cast<std::size_t>(i)];
    copy.record.config.method = "gptq";
    copy.record.id[0] = 'f';
    copy.record.key += "gptq";
    copy.file += "2";
    records.push_back(copy);
  }
  const Told told(records, {});
  EXPECT_EQ(told.advice.answer.rows.size(), 12u);
  EXPECT_LE(std::ranges::count(told.text, '\n'), 30) << told.text;
}

TEST(RecommendText, WhatCannotBeNamesTheLeast) {
  const Told told(SevenWithKl(), LimitsOf(50'000'000, {}, 0.001, 1000));
  for (const char* piece :
       {"memory up to 50.0 MB, KL up to 0.001, at least 1000 tok/s; context 16 tokens",
        "No row satisfies all limits. The least that is possible:\n  memory    ", " MB with 16 tokens: fp4-g256\n",
        "  loss      KL 0.05482", ": int4-g64 †\n", "  speed     22", "The rows:\n", "too big by ",
        "loses too much: KL ", " is above 0.001; too slow: ", "† same grid as source"}) {
    EXPECT_TRUE(Has(told.text, piece)) << piece << "\n" << told.text;
  }
  EXPECT_EQ(VerdictOf(told.advice).error().code, ErrorCode::kThreshold);
  EXPECT_EQ(told.json["recommended"], nullptr);
  EXPECT_EQ(told.json["least_possible"]["memory"], "fp4-g256");
}

TEST(RecommendText, WhatIsNotKnownIsNotAThreshold) {
  const Told told(SevenWithKl(), LimitsOf(1'000'000'000, 8192));
  EXPECT_TRUE(Has(told.text, "memory with 8,192 tokens is not known")) << told.text;
  EXPECT_TRUE(Has(told.text,
                  "These records hold the memory of 16 tokens only. To compute a longer context, name the "
                  "model itself:\n  metal-marlin recommend MODEL\n"))
      << told.text;
  EXPECT_EQ(VerdictOf(told.advice).error().code, ErrorCode::kInput);
  EXPECT_EQ(told.json["undecided"], true);
  EXPECT_EQ(told.json["rows"][0]["memory"]["bytes"], nullptr);
}

TEST(RecommendText, NamesFromRecordsCannotDraw) {
  auto records = SevenWithKl();
  for (StoredRecord& stored : records) {
    stored.record.model.name = "m\x1b[31m\n\xe2\x80\xae";
    stored.record.machine.cpu = "cpu\r\n\x07";
    stored.record.perplexity->text.name = "text\x1b]0;x\x07";
    stored.file = "f\x1b[2J.json";
    stored.record.config.display_name = stored.record.config.id + "\t\x1b[1A";
  }
  const Told told(records, LimitsOf(145'000'000));
  for (const char c : {'\x1b', '\r', '\x07', '\t'}) EXPECT_EQ(told.text.find(c), std::string::npos) << int{c};
  EXPECT_EQ(told.text.find("\xe2\x80\xae"), std::string::npos);
  EXPECT_NE(VerdictOf(told.advice).ok() ? "ok" : VerdictOf(told.advice).error().message, "");
}

TEST(RecommendText, ARowForThisProgramAloneSaysSo) {
  auto records = SevenWithKl();
  records.resize(3);  // the baseline, fp4-g32, fp4-g64
  const Told told(records, {});
  EXPECT_TRUE(Has(told.text, "  runs in   this program only\n")) << told.text;
  EXPECT_EQ(told.json["files"]["recommended"]["runs_in"], nlohmann::ordered_json::array());
  const Told baseline(records, LimitsOf(1'000'000'000));
  EXPECT_TRUE(Has(baseline.text, "  runs in   as the original\n")) << baseline.text;
  EXPECT_EQ(baseline.json["files"]["recommended"]["runs_in"], nullptr);
}

TEST(RecommendText, AnEstimateSaysSo) {
  Advice advice;
  advice.answer = *RecommendEstimated(
      "m", {{"f16", 2'000'000'000, std::nullopt, 0}, {"fp4-g32", 600'000'000, 3.5, 0.02}}, {}, {4096, 1000, 500});
  advice.basis = "How it was made.";
  advice.next = "metal-marlin bench comparison --model m";
  const std::string text = RecommendText(advice, {});
  for (const char* piece :
       {"ESTIMATE, not a measurement. How it was made.\n", "Recommended: fp4-g32\n", "loses     about KL 0.02000 nats",
        "600.8 MB with 512 tokens, computed: tensors 600.0 MB + keys and values 512 kB + work space 256 kB",
        "speed     not measured", "an estimate: nothing", "Runner-up: f16: not quantized: 2.00 GB of tensors",
        "To measure it: metal-marlin bench comparison --model m\n"}) {
    EXPECT_TRUE(Has(text, piece)) << piece << "\n" << text;
  }
  const auto data = RecommendJson(advice, {});
  EXPECT_EQ(data["estimate"], true);
  EXPECT_EQ(data["rows"][1]["estimate"], true);
  EXPECT_EQ(data["measure"], "metal-marlin bench comparison --model m");
}

}  // namespace
}  // namespace marlin
