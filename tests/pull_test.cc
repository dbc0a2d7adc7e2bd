// pull against a Hub on the loopback interface, and ORG/MODEL in every command that names a model.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "base/file.h"
#include "hub/test_hub.h"
#include "tests/program.h"
#include "tests/tiny_gguf.h"
#include "tests/tiny_model.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

class PullCommand : public testing::Test {
 protected:
  void SetUp() override {
    WriteTinyModel(folder_ / "model");
    WriteTinyText(folder_ / "text.txt");
    weights_ = *ReadFile(folder_ / "model" / "model.safetensors");
    for (const auto& entry : fs::directory_iterator(folder_ / "model")) {
      const std::string name = entry.path().filename().string();
      hub_.Put(name, *ReadFile(entry.path()), name == "model.safetensors");
    }
    hub_.Put("README.md", "not needed");
  }

  std::string In(const std::string& name) const { return (folder_ / name).string(); }
  fs::path Repository() const { return folder_ / "hf/hub/models--org--fish"; }
  fs::path Snapshot() const { return Repository() / "snapshots" / hub_.commit(); }
  fs::path Incomplete() const { return Repository() / "blobs" / (Sha256Hex(weights_) + ".incomplete"); }

  // Bytes that an unfinished download of the weights left.
  std::uintmax_t Begun() const {
    std::error_code code;
    const std::uintmax_t size = fs::file_size(Incomplete(), code);
    return code ? 0 : size;
  }

  RunOptions Environment(const std::string& endpoint) const {
    return {.environment = {{"HF_ENDPOINT", endpoint},
                            {"HF_HOME", In("hf")},
                            {"HF_HUB_CACHE", ""},
                            {"HUGGINGFACE_HUB_CACHE", ""},
                            {"HF_TOKEN", ""},
                            {"HUGGING_FACE_HUB_TOKEN", ""},
                            {"HF_TOKEN_PATH", ""},
                            {"HF_HUB_OFFLINE", ""},
                            {"TRANSFORMERS_OFFLINE", ""}},
            .folder = folder_.path()};
  }
  RunResult Run(const std::vector<std::string>& words) const { return RunProgram(words, Environment(hub_.url())); }
  RunResult RunWith(const std::vector<std::string>& words, const std::string& name, const std::string& value) const {
    RunOptions options = Environment(hub_.url());
    options.environment[name] = value;
    return RunProgram(words, options);
  }
  void ExpectFailure(const std::vector<std::string>& words, int code, const std::vector<std::string>& parts) const {
    const RunResult run = Run(words);
    EXPECT_EQ(run.exit_code, code) << run.err;
    for (const std::string& part : parts) EXPECT_NE(run.err.find(part), std::string::npos) << part << ": " << run.err;
  }
  std::string Etag() const { return "ETag: \"cdn-" + Sha256Hex(weights_).substr(0, 12) + "\"\r\n"; }

  TemporaryFolder folder_;
  std::string weights_;
  TestHub hub_{"org/fish"};
};

TEST_F(PullCommand, SaysWhatItBringsAndWhere) {
  const RunResult dry = Run({"pull", "org/fish", "--dry-run"});
  ASSERT_EQ(dry.exit_code, 0) << dry.err;
  for (const std::string& part : {hub_.commit(), Snapshot().string(), std::string("model.safetensors"),
                                  std::string("config.json"), std::string("to download")}) {
    EXPECT_NE(dry.out.find(part), std::string::npos) << part << ": " << dry.out;
  }
  EXPECT_EQ(dry.out.find("README.md"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder_ / "hf"));
  const RunResult run = Run({"pull", "org/fish", "--json", "-q"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const json document = json::parse(run.out);
  EXPECT_EQ(document["model"], "org/fish");
  EXPECT_EQ(document["commit"], hub_.commit());
  EXPECT_EQ(document["folder"], Snapshot().string());
  EXPECT_EQ(document["missing_bytes"], document["bytes"]);
  EXPECT_EQ(*ReadFile(Snapshot() / "model.safetensors"), weights_);
  const RunResult again = Run({"pull", "org/fish"});
  EXPECT_NE(again.out.find("0 bytes to download"), std::string::npos) << again.out;
}

TEST_F(PullCommand, EveryCommandTakesTheName) {
  ASSERT_EQ(Run({"pull", "org/fish", "-q"}).exit_code, 0);
  const std::size_t asked = hub_.hub_requests().size();
  const std::string text = In("text.txt");
  EXPECT_EQ(json::parse(Run({"inspect", "org/fish", "--json"}).out)["name"], "org/fish");
  EXPECT_EQ(json::parse(Run({"inspect", Snapshot().string(), "--json"}).out)["name"], "org/fish");
  const RunResult eval = Run({"eval", "perplexity", "org/fish", "--data", text, "--ctx", "64", "-s", "2", "--json"});
  ASSERT_EQ(eval.exit_code, 0) << eval.err;
  EXPECT_EQ(json::parse(eval.out)["model"], "org/fish");
  const std::vector<std::vector<std::string>> others = {
      {"generate", "org/fish", "-p", "a", "-n", "2"},
      {"quantize", "org/fish@main", "-c", "fp4-g32", "-o", In("out"), "-q"},
      {"calibrate", "org/fish", "--data", text, "--windows", "8", "--ctx", "32", "--allow-overlap", "-o", In("stats")},
      {"eval", "divergence", In("out"), "--baseline", "org/fish", "--data", text, "--ctx", "64", "-s", "2"},
      {"eval", "logits", "org/fish", "--data", text, "--ctx", "16", "-o", In("logits.npy")},
      {"bench", "throughput", "org/fish", "-p", "4", "-n", "2", "-r", "1", "--no-limits"},
      {"bench", "kernels", "-m", "org/fish", "--explain"},
      {"verify", "org/fish"}};
  for (const auto& words : others) {
    const RunResult run = Run(words);
    EXPECT_EQ(run.exit_code, 0) << words[0] << " " << words[1] << ": " << run.err;
  }
  const RunResult comparison = Run({"bench", "comparison", "-m", "org/fish", "--data", text, "--ctx", "64", "-s", "2",
                                    "-c", "fp4-g32", "--no-timing", "-r", In("results"), "-q"});
  ASSERT_EQ(comparison.exit_code, 0) << comparison.err;
  int records = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "results")) {
    if (entry.path().extension() != ".json") continue;
    EXPECT_EQ(json::parse(*ReadFile(entry.path()))["model"]["name"], "org/fish");
    ++records;
  }
  EXPECT_GE(records, 2);
  const RunResult recommended = Run({"recommend", "org/fish", "-r", In("results")});
  EXPECT_EQ(recommended.exit_code, 0) << recommended.err;
  EXPECT_NE(recommended.out.find("metal-marlin quantize org/fish --config fp4-g32"), std::string::npos);
  EXPECT_EQ(hub_.hub_requests().size(), asked) << "what is in the cache needs no network";
}

TEST_F(PullCommand, AModelThatCannotBeRunIsNotDownloaded) {
  const json good = json::parse(*ReadFile(folder_ / "model" / "config.json"));
  const std::vector<std::tuple<std::string, json, int>> faults = {
      {"architectures", {"MixtralForCausalLM"}, 5},
      {"rope_scaling", {{"rope_type", "spiral"}, {"factor", 2.0}}, 5},
      {"quantization_config", {{"quant_method", "gptq"}}, 5},
      {"hidden_size", "wide", 3}};
  for (const auto& [key, value, code] : faults) {
    json config = good;
    config[key] = value;
    hub_.Put("config.json", config.dump());
    ASSERT_TRUE(WriteFileAtomic(folder_ / "model" / "config.json", config.dump()).ok());
    // The same words as those with which the model is opened, after its name.
    const RunResult opened = Run({"inspect", "model"});
    EXPECT_EQ(opened.exit_code, code) << opened.err;
    std::string want = "metal-marlin: org/fish" + opened.err.substr(std::string("metal-marlin: model").size());
    want.insert(want.size() - 1, "; nothing was downloaded");
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"pull", "org/fish"}, {"pull", "org/fish", "--dry-run"}}) {
      const RunResult pulled = Run(words);
      EXPECT_EQ(pulled.exit_code, code) << key;
      EXPECT_EQ(pulled.err, want);
    }
  }
  EXPECT_TRUE(hub_.cdn_requests().empty()) << "no weights";
  EXPECT_FALSE(fs::exists(folder_ / "hf"));
  json unknown = good;
  unknown["attention_multiplier"] = 0.5;
  hub_.Put("config.json", unknown.dump());
  EXPECT_EQ(Run({"pull", "org/fish"}).exit_code, 0) << "--accept-unknown opens it";
  EXPECT_EQ(Run({"inspect", "org/fish", "--accept-unknown", "attention_multiplier"}).exit_code, 0);
}

TEST_F(PullCommand, NothingIsDownloadedUnasked) {
  for (const auto& words : {std::vector<std::string>{"inspect", "org/fish"},
                            {"generate", "org/fish", "-p", "a"},
                            {"verify", "org/fish"},
                            {"eval", "perplexity", "org/fish", "--data", "built-in"},
                            {"bench", "throughput", "org/fish"},
                            {"recommend", "org/fish"},
                            {"bench", "comparison", "-m", "org/fish", "--data", "built-in"}}) {
    ExpectFailure(words, 3, {"org/fish: no such file or folder", "`metal-marlin pull org/fish`"});
  }
  EXPECT_TRUE(hub_.hub_requests().empty());
}

TEST_F(PullCommand, OfflineOnlyTheCacheIsUsed) {
  const RunResult missing = RunWith({"pull", "org/fish"}, "HF_HUB_OFFLINE", "1");
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_NE(missing.err.find("`metal-marlin pull org/fish`"), std::string::npos) << missing.err;
  EXPECT_NE(missing.err.find("HF_HUB_OFFLINE"), std::string::npos) << missing.err;
  EXPECT_TRUE(hub_.hub_requests().empty());
  ASSERT_EQ(Run({"pull", "org/fish", "-q"}).exit_code, 0);
  const std::size_t asked = hub_.hub_requests().size();
  EXPECT_EQ(RunWith({"pull", "org/fish"}, "HF_HUB_OFFLINE", "1").exit_code, 0);
  EXPECT_EQ(RunWith({"inspect", "org/fish"}, "HF_HUB_OFFLINE", "1").exit_code, 0);
  EXPECT_EQ(hub_.hub_requests().size(), asked);
}

TEST_F(PullCommand, APathIsTakenBeforeAName) {
  ASSERT_EQ(Run({"pull", "org/fish", "-q"}).exit_code, 0);
  fs::create_directories(folder_ / "org");
  fs::rename(folder_ / "model", folder_ / "org" / "fish");
  const RunResult run = Run({"inspect", "org/fish", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(json::parse(run.out)["name"], "fish");
  EXPECT_NE(run.err.find("the path is used"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find(Snapshot().string()), std::string::npos) << run.err;
}

TEST_F(PullCommand, GgufFilesAreChosen) {
  TestHub hub("org/fish");
  WriteTinyGguf(folder_ / "fish.gguf");
  hub.Put("fish-F16.gguf", *ReadFile(folder_ / "fish.gguf"), true);
  hub.Put("fish-Q8_0.gguf", "not this one", true);
  hub.Put("README.md", "x");
  const RunOptions options = Environment(hub.url());
  const RunResult open = RunProgram({"pull", "org/fish"}, options);
  EXPECT_EQ(open.exit_code, 2);
  EXPECT_NE(open.err.find("fish-Q8_0.gguf (0.0 MB)"), std::string::npos) << open.err;
  const RunResult run = RunProgram({"pull", "org/fish", "--gguf", "F16"}, options);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(hub.cdn_requests().size(), 1u);
  const RunResult inspect = RunProgram({"inspect", "org/fish:f16", "--json"}, options);
  ASSERT_EQ(inspect.exit_code, 0) << inspect.err;
  EXPECT_EQ(json::parse(inspect.out)["name"], "org/fish:F16");
  const RunResult only = RunProgram({"inspect", "org/fish"}, options);
  EXPECT_EQ(only.exit_code, 0);
  EXPECT_NE(only.err.find("org/fish means fish-F16.gguf"), std::string::npos) << only.err;
  EXPECT_EQ(RunProgram({"inspect", "org/fish:Q8_0"}, options).exit_code, 2);
  EXPECT_EQ(RunProgram({"verify", "org/fish:F16"}, options).exit_code, 0);
}

TEST_F(PullCommand, FailuresHaveTheirCodesAndWords) {
  ExpectFailure({"pull", "org/cow"}, 3, {"there is no model org/cow"});
  ExpectFailure({"pull", "org/fish@v9"}, 3, {"no revision v9"});
  ExpectFailure({"pull", "fish"}, 2, {"ORG/MODEL"});
  ExpectFailure({"inspect", "models/fish.gguf"}, 3, {"models/fish.gguf: no such model"});
  ExpectFailure({"pull", "org/../fish"}, 2, {"ORG/MODEL"});
  ExpectFailure({"pull", "org/fish:Q4_0"}, 2, {"no GGUF file"});
  const RunResult endpoint = RunWith({"pull", "org/fish"}, "HF_ENDPOINT", "http://hub.example");
  EXPECT_EQ(endpoint.exit_code, 2) << endpoint.err;
  TestHub pickles("org/fish");
  pickles.Put("config.json", "{}");
  pickles.Put("pytorch_model.bin", "x", true);
  const RunResult unsupported = RunProgram({"pull", "org/fish"}, Environment(pickles.url()));
  EXPECT_EQ(unsupported.exit_code, 5) << unsupported.err;
  EXPECT_NE(unsupported.err.find("pytorch_model.bin"), std::string::npos) << unsupported.err;
}

TEST_F(PullCommand, ATokenOpensAGatedModelAndIsNotShown) {
  hub_.RequireToken("hf_secret");
  ExpectFailure({"pull", "org/fish"}, 3, {"gated", "HF_TOKEN"});
  const RunResult run = RunWith({"pull", "org/fish", "-v"}, "HF_TOKEN", "hf_secret");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ((run.out + run.err).find("hf_secret"), std::string::npos);
  for (const std::string& request : hub_.cdn_requests()) EXPECT_EQ(request.find("hf_secret"), std::string::npos);
}

TEST_F(PullCommand, ABusyHubIsWaitedFor) {
  std::atomic<bool> first = true;
  hub_.instead_of_hub = [&](const std::string&, const std::string&, const TestHub::Connection& c) {
    if (!first.exchange(false)) return false;
    c.Send(HttpResponse("429 Too Many Requests", "", "Retry-After: 1\r\n"));
    return true;
  };
  const RunResult run = Run({"pull", "org/fish"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.err.find("HTTP 429"), std::string::npos) << run.err;
}

TEST_F(PullCommand, DamageAndHostileAnswersWriteNoModel) {
  hub_.instead_of_cdn = [&](const std::string&, const std::string&, const TestHub::Connection& c) {
    c.Send(HttpResponse("200 OK", std::string(weights_.size(), 'x'), Etag()));
    return true;
  };
  ExpectFailure({"pull", "org/fish"}, 7, {"model.safetensors", Sha256Hex(weights_), "is deleted"});
  EXPECT_FALSE(fs::exists(Snapshot()));
  EXPECT_FALSE(fs::exists(Incomplete()));
  json info = hub_.Info();
  hub_.instead_of_hub = [&](const std::string&, const std::string&, const TestHub::Connection& c) {
    c.Send(HttpResponse("200 OK", info.dump()));
    return true;
  };
  info["siblings"][0]["rfilename"] = "../../../../outside";
  ExpectFailure({"pull", "org/fish"}, 3, {"\"../../../../outside\" does not name a place below its folder"});
  info = hub_.Info();
  for (json& file : info["siblings"]) {
    if (file.contains("lfs")) file["lfs"]["size"] = std::uint64_t{1} << 46;
  }
  ExpectFailure({"pull", "org/fish"}, 4, {"more bytes", "are free"});
  EXPECT_FALSE(fs::exists(Snapshot()));
}

// Sends what it has of the weights, then a byte now and then until the client is gone.
void Trickle(const std::string& weights, const std::string& headers, const TestHub::Connection& c) {
  ServeCut(weights, weights.size() / 2, headers, c);
  for (std::size_t i = weights.size() / 2; i + 1 < weights.size() && c.Send(weights.substr(i, 1)); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

TEST_F(PullCommand, WhatWasKilledOrInterruptedIsContinued) {
  for (const int signal : {SIGKILL, SIGINT}) {
    hub_.instead_of_cdn = [&](const std::string&, const std::string&, const TestHub::Connection& c) {
      Trickle(weights_, Etag(), c);
      return true;
    };
    RunResult run;
    // Longer where the machine is so slow that the program has not come this far.
    for (double seconds = 1; seconds < 100 && Begun() <= weights_.size() / 2; seconds *= 2) {
      RunOptions options = Environment(hub_.url());
      options.signal_after_seconds = seconds;
      options.signal = signal;
      run = RunProgram({"pull", "org/fish"}, options);
    }
    if (signal == SIGINT) {
      EXPECT_EQ(run.exit_code, 130) << run.err;
      EXPECT_NE(run.err.find("the same command continues"), std::string::npos) << run.err;
    } else {
      EXPECT_EQ(run.signal, SIGKILL);
    }
    EXPECT_FALSE(fs::exists(Snapshot()));
    const std::uintmax_t begun = Begun();
    ASSERT_GT(begun, weights_.size() / 2);
    hub_.instead_of_cdn = nullptr;
    const RunResult again = Run({"pull", "org/fish"});
    ASSERT_EQ(again.exit_code, 0) << again.err;
    EXPECT_NE(hub_.cdn_requests().back().find("Range: bytes=" + std::to_string(begun) + "-"), std::string::npos)
        << hub_.cdn_requests().back();
    EXPECT_EQ(*ReadFile(Snapshot() / "model.safetensors"), weights_);
    fs::remove_all(folder_ / "hf");
  }
}

TEST_F(PullCommand, TwoAtOnceDownloadOnce) {
  // The weights come when both processes have asked what there is.
  hub_.instead_of_cdn = [&](const std::string&, const std::string& request, const TestHub::Connection& c) {
    const auto both = [&] {
      int asked = 0;
      for (const std::string& head : hub_.hub_requests()) asked += head.starts_with("GET /api/") ? 1 : 0;
      return asked >= 2;
    };
    while (!both() && c.Send("")) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ServeFile(weights_, "e", request, c);
    return true;
  };
  RunResult one;
  RunResult two;
  std::thread first([&] { one = Run({"pull", "org/fish"}); });
  std::thread second([&] { two = Run({"pull", "org/fish"}); });
  first.join();
  second.join();
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_EQ(two.exit_code, 0) << two.err;
  EXPECT_EQ(hub_.cdn_requests().size(), 1u);
  EXPECT_EQ(*ReadFile(Snapshot() / "model.safetensors"), weights_);
}

}  // namespace
}  // namespace marlin
