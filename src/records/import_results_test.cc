#include "records/import_results.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "base/test_text.h"
#include "records/record_json.h"
#include "records/test_imports.h"

namespace marlin {
namespace {

using Imported = nlohmann::json;
using test::LlamaBenchEntry;
using test::LlamaBenchJson;
using test::LlamaBenchLines;
using test::LmEvalJson;

Result<std::vector<ExternalRecord>> Import(const std::string& text) {
  return ImportResults(text, "folder/r.json", "r.json", "metal-marlin report import folder/r.json");
}

// Why a text is refused; "" when it is not. Every refusal is bad input that names its file.
std::string ImportRefusal(const std::string& text) {
  const auto records = Import(text);
  if (records) return "";
  EXPECT_EQ(records.error().code, ErrorCode::kInput);
  EXPECT_TRUE(records.error().message.starts_with("folder/r.json")) << records.error().message;
  return records.error().message;
}

std::string ChangedBench(const std::function<void(Imported&)>& change) {
  Imported all = Imported::parse(LlamaBenchJson());
  change(all[1]);
  return ImportRefusal(all.dump());
}

std::string ChangedEval(const std::function<void(Imported&)>& change) {
  Imported all = Imported::parse(LmEvalJson());
  change(all);
  return ImportRefusal(all.dump());
}

TEST(ImportResults, LlamaBenchKeepsItsProtocol) {
  const auto records = Import(LlamaBenchJson());
  ASSERT_TRUE(records.ok()) << records.error().message;
  ASSERT_EQ(records->size(), 1u);
  const ExternalRecord& x = (*records)[0];
  EXPECT_EQ(x.program.name, "llama-bench");
  EXPECT_EQ(x.program.version, "build 6001 (1234abcd)");
  EXPECT_EQ(x.model.name, "tiny-Q4_K_M.gguf");
  EXPECT_EQ(x.model.description, "tiny 1B Q4_K, 1100000000 parameters, 640000000 bytes of tensors");
  EXPECT_EQ(x.machine, "backend CPU, Made-up CPU 9");
  EXPECT_EQ(x.measured, "2025-06-01T12:00:05Z") << "of the last test";
  EXPECT_EQ(x.source.file, "r.json");
  EXPECT_EQ(x.source.sha256, Sha256Hex(LlamaBenchJson()));
  ASSERT_EQ(x.measurements.size(), 2u);
  const external::Measurement& prompt = x.measurements[0];
  EXPECT_EQ(prompt.what, "pp512");
  EXPECT_EQ(prompt.value, 310.5);
  EXPECT_EQ(prompt.unit, "tok/s");
  EXPECT_EQ(prompt.error, 2.5);
  EXPECT_EQ(prompt.error_kind, "standard deviation");
  EXPECT_EQ(prompt.samples, (std::vector<double>{308, 310.5, 313}));
  EXPECT_EQ(prompt.protocol,
            "n_prompt 512, n_gen 0, n_depth 0, n_batch 2048, n_ubatch 512, n_threads 8, type_k f16, type_v q8_0, "
            "flash_attn false, n_gpu_layers -1, 3 repetitions");
  EXPECT_EQ(x.measurements[1].what, "tg128");
}

TEST(ImportResults, LinesSayTheSameAsAnArray) {
  const auto lines = Import("\n" + LlamaBenchLines() + "\n");
  ASSERT_TRUE(lines.ok()) << lines.error().message;
  ASSERT_EQ(lines->size(), 1u);
  const auto array = Import(LlamaBenchJson());
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ((*lines)[0].measurements[i].protocol, (*array)[0].measurements[i].protocol);
    EXPECT_EQ((*lines)[0].measurements[i].value, (*array)[0].measurements[i].value);
  }
  EXPECT_NE((*lines)[0].id, (*array)[0].id) << "another file";
  const auto one = Import(LlamaBenchEntry(16, 8, 20));
  ASSERT_TRUE(one.ok()) << one.error().message;
  EXPECT_EQ((*one)[0].measurements[0].what, "pp16+tg8");
}

TEST(ImportResults, ARecordHoldsOneModelBuildAndMachine) {
  Imported all = Imported::parse(LlamaBenchJson());
  all[0]["n_depth"] = 4096;
  all.push_back(all[0]);
  all[2]["model_filename"] = "C:\\models\\tiny-Q4_K_M.gguf";
  all.push_back(all[0]);
  all[3]["build_number"] = 6002;
  const auto records = Import(all.dump());
  ASSERT_TRUE(records.ok()) << records.error().message;
  ASSERT_EQ(records->size(), 3u);
  EXPECT_EQ((*records)[0].measurements.size(), 2u);
  EXPECT_EQ((*records)[0].measurements[0].what, "pp512 @ d4096");
  EXPECT_EQ((*records)[1].model.name, "tiny-Q4_K_M.gguf");
  EXPECT_NE((*records)[0].id, (*records)[1].id);
  EXPECT_NE((*records)[1].id, (*records)[2].id);
}

TEST(ImportResults, OldBuildsOfLlamaBenchNameLess) {
  Imported all = Imported::parse(LlamaBenchJson());
  for (Imported& entry : all) {
    for (const char* name : {"n_depth", "n_ubatch", "backends", "gpu_info", "flash_attn", "test_time"})
      entry.erase(name);
    entry["cuda"] = true;
    entry["samples_ts"] = {entry["avg_ts"]};
    entry["stddev_ts"] = 0.0;
  }
  const auto records = Import(all.dump());
  ASSERT_TRUE(records.ok()) << records.error().message;
  const ExternalRecord& x = (*records)[0];
  EXPECT_FALSE(x.measured.has_value());
  EXPECT_EQ(x.machine, "Made-up CPU 9");
  EXPECT_FALSE(x.measurements[0].error.has_value()) << "one repetition has no deviation";
  EXPECT_TRUE(x.measurements[0].protocol.ends_with(", 1 repetition")) << x.measurements[0].protocol;
}

TEST(ImportResults, LmEvalKeepsItsProtocol) {
  const auto records = Import(LmEvalJson());
  ASSERT_TRUE(records.ok()) << records.error().message;
  ASSERT_EQ(records->size(), 1u);
  const ExternalRecord& x = (*records)[0];
  EXPECT_EQ(x.program.name, "lm-evaluation-harness");
  EXPECT_EQ(x.program.version, "0.4.8 (git abcd123)");
  EXPECT_EQ(x.model.name, "Org/Tiny-1B");
  EXPECT_EQ(x.measured, "2025-06-01T12:00:00Z");
  EXPECT_EQ(x.machine, "device cuda:0");
  EXPECT_EQ(x.settings,
            "model hf, pretrained=Org/Tiny-1B, dtype=bfloat16, batch_size 8, limit 200.0, bootstrap_iters 100000, "
            "transformers 4.51.0");
  ASSERT_EQ(x.measurements.size(), 3u);
  const external::Measurement& acc = x.measurements[0];
  EXPECT_EQ(acc.what, "quiz_easy acc");
  EXPECT_EQ(acc.value, 0.625);
  EXPECT_FALSE(acc.unit.has_value());
  EXPECT_EQ(acc.error, 0.0125);
  EXPECT_EQ(acc.error_kind, "standard error");
  EXPECT_EQ(acc.protocol, "task version 1.0, filter none, 0-shot, 1500 of 1500 samples, higher is better");
  EXPECT_EQ(x.measurements[1].what, "quiz_easy acc_norm");
  EXPECT_FALSE(x.measurements[1].error.has_value()) << "N/A";
  EXPECT_EQ(x.measurements[2].what, "sums exact_match (strict-match)");
  EXPECT_EQ(x.measurements[2].protocol, "task version 2, filter strict-match, 5-shot, 200 of 900 samples");
}

TEST(ImportResults, SecretsAndPathsAreNotCopied) {
  Imported file = Imported::parse(LmEvalJson());
  file.erase("model_name");
  for (const Imported& arguments :
       {Imported("pretrained=/home/someone/Tiny,api_key=SECRET,base_url=http://user:SECRET@host"),
        Imported{
            {"pretrained", "/home/someone/Tiny"}, {"api_key", "SECRET"}, {"header", {{"Authorization", "SECRET"}}}}}) {
    file["config"]["model_args"] = arguments;
    const auto records = Import(file.dump());
    ASSERT_TRUE(records.ok()) << records.error().message;
    EXPECT_EQ((*records)[0].model.name, "Tiny");
    const std::string text = *ToJson((*records)[0]);
    EXPECT_FALSE(Has(text, "SECRET")) << text;
    EXPECT_FALSE(Has(text, "/home/someone")) << text;
  }
}

TEST(ImportResults, WhatLmEvalDoesNotNameIsNotNamed) {
  const auto records = Import(R"({"results": {"t": {"ppl,none": 12.5}}, "model_name": "m", "config": null})");
  ASSERT_TRUE(records.ok()) << records.error().message;
  EXPECT_EQ((*records)[0].measurements[0].protocol,
            "task version not named, filter none, shots not named, samples not named");
  EXPECT_FALSE((*records)[0].program.version.has_value());
  EXPECT_FALSE((*records)[0].settings.has_value());
}

TEST(ImportResults, RecordsGoRoundAndTheSameFileGivesTheSameOnes) {
  for (const std::string& text : {LlamaBenchJson(), LmEvalJson()}) {
    const auto records = Import(text);
    const auto again = ImportResults(text, "elsewhere.json", "elsewhere.json", "another command");
    ASSERT_TRUE(records.ok() && again.ok());
    EXPECT_EQ((*again)[0].id, (*records)[0].id);
    const std::string written = *ToJson((*records)[0]);
    const auto read = RecordFromJson(written, "file");
    ASSERT_TRUE(read.ok()) << read.error().message;
    EXPECT_EQ(*ToJson(std::get<ExternalRecord>(*read)), written);
    EXPECT_FALSE(FromJson(written, "file").ok()) << "it is no measurement of this program";
  }
}

TEST(ImportResults, WrongFieldsOfLlamaBenchAreNamed) {
  const auto without = [](const char* name) { return ChangedBench([&](Imported& x) { x.erase(name); }); };
  for (const char* name : {"build_commit", "model_filename", "n_prompt", "n_gen", "n_batch", "n_threads", "type_k",
                           "type_v", "avg_ts", "stddev_ts", "samples_ts"}) {
    EXPECT_TRUE(Has(without(name), std::string("entry 2: field \"") + name + "\" is missing")) << without(name);
  }
  EXPECT_EQ(ChangedBench([](Imported& x) { x["avg_ts"] = "fast"; }),
            "folder/r.json, entry 2: field \"avg_ts\" is string, a number was wanted");
  EXPECT_TRUE(Has(ChangedBench([](Imported& x) { x["avg_ts"] = 0; }), "\"avg_ts\" is 0"));
  EXPECT_TRUE(Has(ChangedBench([](Imported& x) { x["avg_ts"] = -1; }), "\"avg_ts\" is -1"));
  EXPECT_TRUE(Has(ChangedBench([](Imported& x) { x["avg_ts"] = 1e300; }), "\"avg_ts\" is 1e+300"));
  EXPECT_TRUE(Has(ChangedBench([](Imported& x) { x["avg_ts"] = 45; }), "the mean of samples_ts is 41.25"));
  EXPECT_TRUE(Has(ChangedBench([](Imported& x) { x["samples_ts"][1] = nullptr; }), "\"samples_ts[1]\" is null"));
  EXPECT_TRUE(Has(ChangedBench([](Imported& x) { x["samples_ts"] = Imported::array(); }), "\"samples_ts\""));
  EXPECT_TRUE(Has(ChangedBench([](Imported& x) { x["n_prompt"] = -512; }), "\"n_prompt\""));
  EXPECT_TRUE(Has(ChangedBench([](Imported& x) { x["n_gen"] = 0; }), "both 0"));
  EXPECT_TRUE(Has(ChangedBench([](Imported& x) { x["n_threads"] = Imported::array(); }), "\"n_threads\" is array"));
  EXPECT_TRUE(Has(ChangedBench([](Imported& x) { x["test_time"] = "yesterday"; }), "\"test_time\""));
  EXPECT_TRUE(Has(ChangedBench([](Imported& x) { x["model_type"] = std::string(5000, 'a'); }), "has 5000 bytes"));
  EXPECT_TRUE(Has(ChangedBench([](Imported& x) { x = 7; }), "entry 2: this is number, an object was wanted"));
  EXPECT_EQ(ImportRefusal(LlamaBenchEntry(1, 0, 5) + "\n" + LlamaBenchEntry(1, 0, 5).substr(0, 80)).substr(0, 21),
            "folder/r.json, line 2");
}

TEST(ImportResults, WrongFieldsOfLmEvalAreNamed) {
  EXPECT_EQ(ChangedEval([](Imported& x) { x["results"]["sums"]["exact_match,strict-match"] = "0.25"; }),
            "folder/r.json, results.sums: field \"exact_match,strict-match\" is string, a number was wanted");
  EXPECT_TRUE(Has(ChangedEval([](Imported& x) { x["results"]["sums"]["exact_match_stderr,strict-match"] = "?"; }),
                  "field \"exact_match_stderr,strict-match\" is neither a number nor \"N/A\""));
  EXPECT_TRUE(
      Has(ChangedEval([](Imported& x) { x["results"]["sums"]["exact_match_stderr,strict-match"] = -1; }), "is -1"));
  EXPECT_TRUE(Has(ChangedEval([](Imported& x) { x["results"]["sums"] = 7; }), "results.sums: this is number"));
  EXPECT_TRUE(Has(ChangedEval([](Imported& x) { x["results"] = Imported::array(); }), "field \"results\" is array"));
  EXPECT_TRUE(Has(ChangedEval([](Imported& x) { x["results"] = Imported::object(); }), "holds no number"));
  EXPECT_TRUE(Has(ChangedEval([](Imported& x) { x["results"] = {{"old", {{"acc", 0.5}}}}; }), "version 0.4 or later"));
  EXPECT_TRUE(Has(ChangedEval([](Imported& x) { x["date"] = 1e99; }), "field \"date\" is 1e+99"));
  EXPECT_TRUE(Has(ChangedEval([](Imported& x) { x["date"] = "today"; }), "field \"date\" is string"));
  EXPECT_TRUE(Has(ChangedEval([](Imported& x) { x["config"] = 7; }), "config: this is number"));
  EXPECT_TRUE(Has(ChangedEval([](Imported& x) { x["config"]["model_args"] = 7; }), "model_args: this is number"));
  EXPECT_TRUE(
      Has(ChangedEval([](Imported& x) { x["versions"]["sums"] = Imported::array(); }), "field \"sums\" is array"));
  EXPECT_TRUE(Has(ChangedEval([](Imported& x) { x["n-samples"]["sums"] = 7; }), "n-samples.sums: this is number"));
  EXPECT_TRUE(Has(ChangedEval([](Imported& x) { x["n-samples"]["sums"]["effective"] = -7; }), "\"effective\""));
  EXPECT_TRUE(
      Has(ChangedEval([](Imported& x) { x["results"][std::string(5000, 't')] = Imported::object(); }), "5000 bytes"));
  EXPECT_TRUE(
      Has(ChangedEval([](Imported& x) { x["results"]["sums"][std::string(5000, 'm') + ",none"] = 1; }), "5005 bytes"));
  EXPECT_TRUE(Has(ChangedEval([](Imported& x) {
                    x.erase("model_name");
                    x["config"].erase("model_args");
                  }),
                  "names no model"));
}

TEST(ImportResults, OtherTextsAreRefused) {
  for (const char* text :
       {"", " ", "[]", "{}", "7", "null", "\"text\"", "[7]", "[[]]", "{\"schema\": \"x\"}", "| model | size |",
        "\xff\xfe", "{\"results\"", "[{\"avg_ts\": NaN}]", "{\"results\": {\"t\": {\"acc,none\": NaN}}}",
        "{\"results\": {\"t\": {\"acc,none\": 1e999}}}"}) {
    EXPECT_NE(ImportRefusal(text), "") << text;
  }
  EXPECT_EQ(
      ImportRefusal("[{\"avg_ts\": NaN}]"),
      "folder/r.json: line 1, column 13: this is not JSON (NaN and Infinity are none), or the file is cut off here");
  EXPECT_TRUE(Has(ImportRefusal("[\n" + LlamaBenchEntry(1, 0, 5) + ","), "line 2"));
  EXPECT_TRUE(Has(ImportRefusal(std::string(100'000, '[')), "nested deeper"));
  EXPECT_TRUE(Has(ImportRefusal("{}\n" + std::string(100'000, '[')), "nested deeper"));
  EXPECT_TRUE(
      Has(ImportRefusal("{\"doc_id\": 0, \"acc\": 1}\n{\"doc_id\": 1}\n"), "line 1: this is an object without avg_ts"));
}

TEST(ImportResults, EveryTruncationIsRefused) {
  for (const std::string& text : {LlamaBenchJson(), LmEvalJson()}) {
    for (std::size_t length = 0; length + 2 < text.size(); length += 13) {
      EXPECT_NE(ImportRefusal(text.substr(0, length)), "") << length;
    }
  }
}

TEST(ImportResults, HugeFilesAreRefused) {
  Imported many = Imported::array();
  const Imported entry = Imported::parse(LlamaBenchEntry(1, 0, 5));
  for (std::size_t i = 0; i <= kMostExternalMeasurements; ++i) many.push_back(entry);
  EXPECT_TRUE(Has(ImportRefusal(many.dump()), "more than 10000 results"));
  Imported file = Imported::parse(LmEvalJson());
  for (std::size_t i = 0; i <= kMostExternalMeasurements; ++i) {
    file["results"]["quiz_easy"]["m" + std::to_string(i) + ",none"] = 1;
  }
  EXPECT_TRUE(Has(ImportRefusal(file.dump()), "at most 10000 were wanted"));
}

TEST(ImportResults, BrokenRecordsAreRefused) {
  const Imported good = Imported::parse(*ToJson((*Import(LlamaBenchJson()))[0]));
  const auto refusal = [&](const std::function<void(Imported&)>& change) {
    Imported changed = good;
    change(changed);
    const auto read = RecordFromJson(changed.dump(), "file");
    return read ? "" : read.error().message;
  };
  EXPECT_EQ(refusal([](Imported&) {}), "");
  EXPECT_EQ(refusal([](Imported& x) { x["later"] = 7; }), "") << "unknown fields are ignored";
  EXPECT_TRUE(Has(refusal([](Imported& x) { x["version"] = 2; }), "reads versions 1 to 1 of metal-marlin.external"));
  EXPECT_TRUE(Has(refusal([](Imported& x) { x["id"] = "../x"; }), "\"id\""));
  EXPECT_TRUE(Has(refusal([](Imported& x) { x["measured"] = "soon"; }), "\"measured\""));
  EXPECT_TRUE(Has(refusal([](Imported& x) { x["source"]["sha256"] = "12"; }), "\"source.sha256\""));
  EXPECT_TRUE(Has(refusal([](Imported& x) { x["measurements"] = Imported::array(); }), "\"measurements\""));
  EXPECT_TRUE(Has(refusal([](Imported& x) { x["measurements"][1].erase("protocol"); }), "measurements[1].protocol"));
  EXPECT_TRUE(Has(refusal([](Imported& x) { x["measurements"][1]["value"] = 1e300; }), "measurements[1].value"));
  EXPECT_TRUE(Has(refusal([](Imported& x) { x["measurements"][1]["error"] = -1; }), "measurements[1].error"));
  EXPECT_TRUE(Has(refusal([](Imported& x) { x["measurements"][1].erase("error_kind"); }), "only one of them"));
  EXPECT_TRUE(Has(refusal([](Imported& x) { x["measurements"][1]["samples"] = Imported::array(); }), "samples"));
}

}  // namespace
}  // namespace marlin
