#include "records/record_json.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "records/record_fields.h"
#include "records/test_records.h"

namespace marlin {
namespace {

using Json = nlohmann::ordered_json;

Record FullRecord() {
  Record record = test::MakeRecord({}, test::SevenShapes()[3]);
  record.config.calibration = record::Calibration{"wikitext2", "abc", 128, 512};
  record.config.plan_sha256 = "def";
  record.config.budget_bytes = 60'000'000;
  record.perplexity->baseline_id = "0123456789ab";
  record.throughput->decode->protocol = record::TimingProtocol{"30/100", 30, 100, 2.5};
  record.session = record::Session{8192, 23'040, 50'000};
  record.divergence = test::MakeDivergence({}, test::SevenShapes()[3]);
  record.noise_floor = test::MakeNoiseFloor();
  record.kernels = test::MakeKernels("fp4-g128");
  record.limits = record::Limits{40.5, 446, "avx512"};
  return record;
}

// A mixed configuration with its plan.
Record MixedRecord() {
  Record record = FullRecord();
  record.config.kind = record::Kind::kMixed;
  record.plan = record::Plan{{"wikitext2", "abc", 16, 512}, "mse", "fp4-g128", {}};
  record.plan->units = {{0, "q k v", "int4-g64", 1000, 0.002, 0.003}, {0, "o", "16-bit", 4000, 0, std::nullopt}};
  return record;
}

Json FullJson() { return Json::parse(*ToJson(FullRecord())); }

std::string Refusal(const std::string& text) {
  const Result<ParsedRecord> parsed = FromJson(text, "some/file.json");
  return parsed ? "" : parsed.error().message;
}

// The paths of all fields, "perplexity.text.sha256".
class FieldPaths {
 public:
  template <class T>
  void operator()(std::string_view name, const T& field) {
    const std::string outer = path_;
    path_ += (path_.empty() ? "" : ".") + std::string(name);
    Visit(field);
    path_ = outer;
  }
  const std::vector<std::string>& paths() const { return paths_; }

 private:
  template <class T>
  void Visit(const std::optional<T>& field) {
    Visit(field ? *field : T{});
  }
  template <class T>
  void Visit(const std::vector<T>&) {
    Visit(T{});
  }
  template <class T>
  void Visit(const T& field) {
    if constexpr (requires { VisitFields(*this, field); }) {
      VisitFields(*this, field);
    } else {
      paths_.push_back(path_);
    }
  }
  std::string path_;
  std::vector<std::string> paths_;
};

TEST(RecordJson, PlansGoRoundAndAreChecked) {
  const std::string text = *ToJson(MixedRecord());
  const Result<ParsedRecord> parsed = FromJson(text, "file");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(*ToJson(parsed->record), text);
  ASSERT_EQ(parsed->record.plan->units.size(), 2u);
  EXPECT_EQ(parsed->record.plan->units[0].probe_kl, 0.003);
  EXPECT_FALSE(parsed->record.plan->units[1].probe_kl.has_value());
  const auto refusal = [](const std::function<void(Json&)>& change) {
    Json json = Json::parse(*ToJson(MixedRecord()));
    change(json);
    return Refusal(json.dump());
  };
  EXPECT_NE(refusal([](Json& j) { j["config"]["kind"] = "uniform"; }).find("\"plan\""), std::string::npos);
  EXPECT_NE(refusal([](Json& j) { j["plan"]["units"] = Json::array(); }).find("plan.units"), std::string::npos);
  EXPECT_NE(refusal([](Json& j) { j["plan"]["units"][1]["kl"] = -1; }).find("plan.units[1].kl"), std::string::npos);
  EXPECT_NE(refusal([](Json& j) { j["plan"]["units"][0]["layer"] = 1e9; }).find("plan.units[0].layer"),
            std::string::npos);
  EXPECT_NE(refusal([](Json& j) { j["plan"]["units"][0]["format"] = ""; }).find("plan.units[0].format"),
            std::string::npos);
}

TEST(RecordJson, RoundTripKeepsEveryField) {
  const std::string text = *ToJson(FullRecord());
  const Result<ParsedRecord> parsed = FromJson(text, "file");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(*ToJson(parsed->record), text);
  EXPECT_EQ(parsed->record.perplexity->window_nll, FullRecord().perplexity->window_nll);
  ASSERT_TRUE(parsed->summary.has_value());
  EXPECT_EQ(DescribeMismatch(*parsed->summary, Summarize(parsed->record)), "");
}

TEST(RecordJson, WhatIsNotMeasuredIsNullOrAbsent) {
  Record record = FullRecord();
  record.perplexity.reset();
  record.divergence.reset();
  record.noise_floor.reset();
  record.throughput.reset();
  record.kernels.reset();
  record.limits.reset();
  record.machine.load_before.reset();
  Json json = Json::parse(*ToJson(record));
  EXPECT_TRUE(json["perplexity"].is_null());
  EXPECT_TRUE(json["summary"]["perplexity"].is_null());
  json.erase("perplexity");
  json["machine"].erase("load_before");
  const Result<ParsedRecord> parsed = FromJson(json.dump(), "file");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_FALSE(parsed->record.perplexity.has_value());
  EXPECT_FALSE(parsed->record.machine.load_before.has_value());
}

TEST(RecordJson, DivergenceBecomesMeansWithIntervals) {
  const Record record = FullRecord();
  const RecordSummary summary = Summarize(record);
  double kl = 0, same_top = 0, squared = 0;
  for (std::size_t i = 0; i < 40; ++i) {
    kl += record.divergence->window_kl[i] / (40 * 511.0);
    same_top += 100.0 * static_cast<double>(record.divergence->window_same_top[i]) / (40 * 511.0);
    squared += record.divergence->window_change_squared[i] / (40 * 511.0);
  }
  ASSERT_TRUE(summary.kl && summary.same_top_percent);
  EXPECT_NEAR(*summary.kl, kl, 1e-12);
  EXPECT_NEAR(*summary.same_top_percent, same_top, 1e-9);
  EXPECT_NEAR(ProbabilityChangeOf(*record.divergence).rms, std::sqrt(squared), 1e-12);
}

TEST(RecordJson, KlOfTwoRowsIsPaired) {
  Record a = FullRecord();
  Record b = FullRecord();
  for (double& kl : b.divergence->window_kl) kl += 511 * 0.001;
  ASSERT_EQ(WhyKlNotPaired(a, b), "");
  const MeanEstimate difference = KlDifference(a, b);
  EXPECT_NEAR(difference.mean, 0.001, 1e-12);
  EXPECT_TRUE(difference.distinguished());
  EXPECT_FALSE(KlDifference(a, a).distinguished());
  b.divergence->metric_version = 2;
  EXPECT_NE(WhyKlNotPaired(a, b), "");
  b.divergence.reset();
  EXPECT_EQ(WhyKlNotPaired(a, b), "divergence not measured");
}

TEST(RecordJson, BelowTheFloorIsIndistinguishable) {
  Record base = FullRecord();
  Record row = FullRecord();
  EXPECT_FALSE(Indistinguishable(base, row));
  for (double& kl : row.divergence->window_kl) kl = 0;
  EXPECT_TRUE(Indistinguishable(base, row));
  base.noise_floor.reset();
  EXPECT_FALSE(Indistinguishable(base, row));
}

TEST(RecordJson, UnknownFieldsAreIgnored) {
  Json json = FullJson();
  json["listening_test"] = {{"score", 0.1}};
  json["machine"]["fan_rpm"] = 1200;
  EXPECT_EQ(Refusal(json.dump()), "");
}

TEST(RecordJson, NumbersThatJsonCannotHoldAreRefusedWhenWriting) {
  Record record = FullRecord();
  record.perplexity->window_nll[3] = std::numeric_limits<double>::quiet_NaN();
  const Result<std::string> text = ToJson(record);
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().code, ErrorCode::kNumerical);
  EXPECT_NE(text.error().message.find("perplexity.window_nll[3]"), std::string::npos) << text.error().message;

  record = FullRecord();
  record.throughput->decode->samples_ns[0] = std::numeric_limits<double>::infinity();
  EXPECT_EQ(ToJson(record).error().code, ErrorCode::kNumerical);
}

struct BrokenCase {
  const char* name;
  std::function<void(Json&)> change;
  const char* says;  // a part of the message
};

TEST(RecordJson, BrokenRecordsAreRefusedWithFileAndField) {
  const std::vector<BrokenCase> cases = {
      {"missing field", [](Json& j) { j["model"].erase("sha256"); }, "\"model.sha256\" is missing"},
      {"missing section", [](Json& j) { j.erase("size"); }, "\"size\" is missing"},
      {"null where needed", [](Json& j) { j["id"] = nullptr; }, "\"id\" is null, a string was wanted"},
      {"NaN became null", [](Json& j) { j["perplexity"]["window_nll"][2] = nullptr; },
       "\"perplexity.window_nll[2]\" is null, a number was wanted"},
      {"string for number", [](Json& j) { j["perplexity"]["window_nll"][2] = "1"; }, "is string, a number"},
      {"number for string", [](Json& j) { j["model"]["name"] = 7; }, "\"model.name\" is number, a string"},
      {"negative count", [](Json& j) { j["perplexity"]["windows"] = -1; }, "an integer of at least 0"},
      {"fraction for count", [](Json& j) { j["size"]["model_bytes"] = 1.5; }, "an integer of at least 0"},
      {"object for list", [](Json& j) { j["throughput"]["kernels"] = Json::object(); }, "an array was wanted"},
      {"list for object", [](Json& j) { j["machine"] = Json::array(); }, "an object was wanted"},
      {"bool for number", [](Json& j) { j["limits"]["read_gbps"] = true; }, "a number was wanted"},
      {"unknown kind", [](Json& j) { j["config"]["kind"] = "other"; }, "none of baseline, uniform, mixed"},
      {"kernel field", [](Json& j) { j["kernels"]["shapes"][1].erase("m"); }, "\"kernels.shapes[1].m\" is missing"},
      {"windows do not match", [](Json& j) { j["perplexity"]["windows"] = 39; }, "40 values for 39 windows"},
      {"half windows do not match", [](Json& j) { j["perplexity"]["half"]["window_nll"].erase(0); },
       "perplexity.half.window_nll"},
      {"negative nll", [](Json& j) { j["perplexity"]["window_nll"][0] = -1; }, "at least 0 nats"},
      {"scored tokens", [](Json& j) { j["perplexity"]["scored_tokens"] = 5; }, "scored_tokens"},
      {"no text scored", [](Json& j) { j["perplexity"]["scored_bytes"] = 0; }, "scored_bytes"},
      {"divergence without perplexity", [](Json& j) { j["perplexity"] = nullptr; }, "\"divergence\" has no perplexity"},
      {"divergence of other windows", [](Json& j) { j["divergence"]["windows"] = 39; }, "divergence.windows"},
      {"divergence windows missing", [](Json& j) { j["divergence"]["window_kl"].erase(0); }, "39 values for 40"},
      {"negative kl", [](Json& j) { j["divergence"]["window_kl"][1] = -1e-9; }, "divergence.window_kl[1]"},
      {"more than all tokens", [](Json& j) { j["divergence"]["window_same_top"][1] = 512; }, "512 of 511"},
      {"percentiles fall", [](Json& j) { j["divergence"]["kl_p99"] = 0; }, "do not rise"},
      {"histogram short", [](Json& j) { j["divergence"]["kl_histogram"]["counts"][20] = 0; }, "fewer than the scored"},
      {"histogram long", [](Json& j) { j["divergence"]["kl_histogram"]["counts"][3] = 1; }, "more than the scored"},
      {"histogram without edges", [](Json& j) { j["divergence"]["kl_histogram"]["low"] = 0; }, "not above 0"},
      {"floor of one kernel", [](Json& j) { j["noise_floor"]["kernels"].erase(0); }, "does not name two"},
      {"floor of no window", [](Json& j) { j["noise_floor"]["windows"] = 0; }, "\"noise_floor.windows\" is 0"},
      {"sample of 0", [](Json& j) { j["throughput"]["decode"]["samples_ns"][0] = 0; }, "a time above 0"},
      {"samples missing", [](Json& j) { j["throughput"]["decode"]["samples_ns"].erase(0); }, "one value per iteration"},
      {"samples of another protocol", [](Json& j) { j["throughput"]["decode"]["protocol"]["iterations"] = 60; },
       "throughput.decode.samples_ns"},
      {"decode by prefill's protocol",
       [](Json& j) {
         j["throughput"]["decode"]["protocol"] = nullptr;
         j["throughput"]["decode"]["samples_ns"].erase(0);
       },
       "one value per iteration"},
      {"decode protocol without a name", [](Json& j) { j["throughput"]["decode"]["protocol"]["id"] = ""; },
       "throughput.decode.protocol.id"},
      {"bytes of 0", [](Json& j) { j["size"]["model_bytes"] = 0; }, "\"size.model_bytes\" is 0"},
      {"id", [](Json& j) { j["id"] = "../../etc"; }, "hexadecimal"},
      {"date", [](Json& j) { j["created"] = "yesterday"; }, "\"created\""},
      {"wrong kernel", [](Json& j) { j["kernels"]["shapes"][0]["max_relative_error"] = 0.5; }, "above the tolerance"},
      {"unchecked kernel", [](Json& j) { j["kernels"]["shapes"][0]["checked_outputs"] = 0; }, "not checked"},
      {"broken summary", [](Json& j) { j["summary"]["perplexity"] = "low"; }, "\"summary.perplexity\" is string"},
      {"no version", [](Json& j) { j.erase("version"); }, "\"version\" is missing"},
      {"later version", [](Json& j) { j["version"] = 3; }, "\"version\" is 3"},
      {"strange version", [](Json& j) { j["version"] = "1"; }, "\"version\" is \"1\""},
      {"foreign schema", [](Json& j) { j["schema"] = "lm-eval"; }, "\"schema\" is not"},
      {"no schema", [](Json& j) { j.erase("schema"); }, "no field \"schema\""},
  };
  for (const BrokenCase& broken : cases) {
    Json json = FullJson();
    broken.change(json);
    const std::string message = Refusal(json.dump());
    EXPECT_TRUE(message.starts_with("some/file.json: ")) << broken.name << ": " << message;
    EXPECT_NE(message.find(broken.says), std::string::npos) << broken.name << ": " << message;
  }
}

// Finite, but of no measurement: each is refused by its field, so that no mean or axis leaves the numbers.
TEST(RecordJson, NumbersOutOfRangeAreRefusedByField) {
  const auto refused = [](const std::string& pointer, const Json& value, const std::string& field) {
    Json json = FullJson();
    json.erase("summary");
    json[Json::json_pointer(pointer)] = value;
    const std::string why = Refusal(json.dump());
    EXPECT_NE(why.find("field \"" + field + "\" is "), std::string::npos) << pointer << ": " << why;
  };
  refused("/perplexity/window_nll/0", 1e308, "perplexity.window_nll[0]");
  refused("/perplexity/window_nll/3", 511 * 701.0, "perplexity.window_nll[3]");
  refused("/perplexity/half/window_nll/0", 1e300, "perplexity.half.window_nll[0]");
  refused("/perplexity/seconds", -1, "perplexity.seconds");
  refused("/session/cache_bytes_per_position", 2e9, "session.cache_bytes_per_position");
  refused("/session/max_context", 0, "session.max_context");
  refused("/divergence/window_kl/1", 1e308, "divergence.window_kl[1]");
  refused("/divergence/window_change/1", -1e9, "divergence.window_change[1]");
  refused("/divergence/window_change_squared/1", 1e9, "divergence.window_change_squared[1]");
  refused("/divergence/kl_max", 1e300, "divergence.kl_max");
  refused("/throughput/prefill/samples_ns/0", 1e300, "throughput.prefill.samples_ns[0]");
  refused("/throughput/protocol/trim_sigma", 1e300, "throughput.protocol.trim_sigma");
  refused("/kernels/shapes/0/tolerance", 1e300, "kernels.shapes[0].tolerance");
  refused("/kernels/shapes/1/flops", 18446744073709551615ull, "kernels.shapes[1].flops");
  refused("/machine/load_before", 1e300, "machine.load_before");
  refused("/machine/threads", 18446744073709551615ull, "machine.threads");
  refused("/size/model_bytes", 18446744073709551615ull, "size.model_bytes");
  refused("/model/parameters", 18446744073709551615ull, "model.parameters");
  refused("/limits/read_gbps", 1e300, "limits.read_gbps");
  Json json = FullJson();
  json.erase("summary");
  EXPECT_EQ(Refusal(json.dump()), "") << "as it was measured";
}

TEST(RecordJson, VersionHasItsOwnCode) {
  Json json = FullJson();
  json["version"] = 99;
  EXPECT_EQ(FromJson(json.dump(), "file").error().code, ErrorCode::kUnsupported);
}

TEST(RecordJson, NoNestingIsTooDeepToBeRefused) {
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  const std::string message = Refusal(R"({"schema": "metal-marlin.result", "version": )" + deep + "}");
  EXPECT_NE(message.find("nested deeper than 64"), std::string::npos) << message;
}

TEST(RecordJson, AnObjectOfManyFieldsIsReadInNoTime) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += "\"" + std::to_string(i) + "\": 0, ";
  EXPECT_NE(Refusal(text + R"("schema": "metal-marlin.result"})").find("\"version\" is missing"), std::string::npos);
}

TEST(RecordJson, ForeignTextsAreRefused) {
  const std::string deep(100'000, '[');
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("null"), std::string("[1, 2]"), std::string("{\"schema\": 1}"),
        std::string("{\"a\": 1e999}"), std::string("\xff\xfe"), std::string("{\"a\": NaN}"), std::string("plain words"),
        std::string(3, '\0'), deep}) {
    EXPECT_TRUE(Refusal(text).starts_with("some/file.json: ")) << text.substr(0, 40);
  }
  // The input shapes of the page that this project fills: they carry no measured windows.
  EXPECT_NE(Refusal(R"({"timestamp": "t", "config": {}, "results": [{"ppl": 8.0}]})").find("without measured windows"),
            std::string::npos);
  EXPECT_NE(Refusal(R"({"model": "m", "ppl_quant": 8.0})").find("no measured windows"), std::string::npos);
}

TEST(RecordJson, EveryTruncationIsRefused) {
  const std::string text = *ToJson(FullRecord());
  for (std::size_t length = 0; length + 2 < text.size(); length += 97) {
    EXPECT_NE(Refusal(text.substr(0, length)), "") << length;
  }
}

TEST(RecordJson, TheSchemaPageNamesEveryField) {
  FieldPaths fields;
  const Record record = FullRecord();
  VisitFields(fields, record);
  const RecordSummary summary;
  fields("summary", summary);
  const ExternalRecord external;
  VisitFields(fields, external);
  std::ifstream file(std::string(MARLIN_SOURCE_DIR) + "/docs/results_schema.md");
  ASSERT_TRUE(file.good());
  std::stringstream page;
  page << file.rdbuf();
  for (const std::string& path : fields.paths()) {
    EXPECT_NE(page.str().find("`" + path + "`"), std::string::npos) << "docs/results_schema.md does not name " << path;
  }
  EXPECT_GT(fields.paths().size(), 90u);
}

TEST(RecordJson, StrangeNamesSurvive) {
  Record record = FullRecord();
  record.model.name = "a|b`c'd\"e\nf%g@h\\i\t\u00e4";
  const Result<ParsedRecord> parsed = FromJson(*ToJson(record), "file");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->record.model.name, record.model.name);
  record.model.name = "not UTF-8: \xff";
  EXPECT_TRUE(FromJson(*ToJson(record), "file").ok());
}

}  // namespace
}  // namespace marlin
