// Every command as a user runs it, on a tiny model: messages, files, failures.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/test_text.h"
#include "kernels/isa.h"
#include "tests/program.h"
#include "tests/tiny_gguf.h"
#include "tests/tiny_model.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

class Verbs : public testing::Test {
 protected:
  void SetUp() override {
    WriteTinyModel(folder_ / "model");
    WriteTinyText(folder_ / "text.txt");
    model_ = (folder_ / "model").string();
    text_ = (folder_ / "text.txt").string();
  }

  std::string Quantize(const std::string& config) {
    const std::string out = (folder_ / config).string();
    const RunResult run = RunProgram({"quantize", model_, "--config", config, "-o", out});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return out;
  }

  json Perplexity(const std::string& model, std::vector<std::string> more = {}) {
    std::vector<std::string> words = {"eval", "perplexity", model, "--data", text_, "--ctx", "128", "--json", "-q"};
    words.insert(words.end(), more.begin(), more.end());
    const RunResult run = RunProgram(words);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out, nullptr, false);
  }

  std::size_t Entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()));
  }

  // One sentence on stderr that holds `word`, nothing on stdout, nothing new on disk.
  void ExpectFailure(const RunResult& run, int code, const std::string& word) {
    EXPECT_EQ(run.exit_code, code) << run.err;
    EXPECT_EQ(run.err.rfind("metal-marlin: ", 0), 0u) << run.err;
    EXPECT_NE(run.err.find(word), std::string::npos) << run.err;
    EXPECT_EQ(run.out, "");
  }

  TemporaryFolder folder_;
  std::string model_, text_;
};

TEST_F(Verbs, VersionAndHelp) {
  const RunResult version = RunProgram({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  for (const char* word : {"metal-marlin ", "commit", "compiler", "isa"}) {
    EXPECT_NE(version.out.find(word), std::string::npos) << word;
  }
  const std::vector<std::vector<std::string>> verbs = {{"inspect"},
                                                       {"plan"},
                                                       {"quantize"},
                                                       {"calibrate"},
                                                       {"verify"},
                                                       {"generate"},
                                                       {"eval", "perplexity"},
                                                       {"eval", "divergence"},
                                                       {"eval", "logits"},
                                                       {"bench", "comparison"},
                                                       {"bench", "throughput"},
                                                       {"bench", "kernels"},
                                                       {"report", "generate"},
                                                       {"report", "import"},
                                                       {"recommend"},
                                                       {"compare"}};
  for (std::vector<std::string> words : verbs) {
    words.emplace_back("--help");
    const RunResult help = RunProgram(words);
    EXPECT_EQ(help.exit_code, 0) << words[0];
    for (const char* word : {"Example:", "--threads", "--json", "--verbose", "--quiet"}) {
      EXPECT_NE(help.out.find(word), std::string::npos) << words[0] << " lacks " << word;
    }
  }
}

TEST_F(Verbs, UsageErrorsExitWithTwo) {
  EXPECT_EQ(RunProgram({}).exit_code, 2);
  EXPECT_EQ(RunProgram({"quantize", model_}).exit_code, 2);
  EXPECT_EQ(RunProgram({"eval", "perplexity", model_, "--ctx", "2"}).exit_code, 2);
  EXPECT_EQ(RunProgram({"eval", "perplexity", model_, "--samples", "-1"}).exit_code, 2);
  const std::string out = (folder_ / "out").string();
  ExpectFailure(RunProgram({"quantize", model_, "--config", "fp4-g17", "-o", out}), 2, "fp4-g128");
  ExpectFailure(RunProgram({"quantize", model_, "--config", "bf16", "-o", out}), 2, "not a quantization");
  // What is offered is what would be taken: no 16- or 32-bit format among it.
  for (const RunResult& run :
       {RunProgram({"quantize", model_, "--config", "fp4-g100", "-o", out}),
        RunProgram({"bench", "comparison", "-m", model_, "--config", "fp4-g100", "--dry-run"})}) {
    ExpectFailure(run, 2, "fp4-g100");
    for (const char* word : {"fp4-g32", "int4-g64", "int8-g128"}) EXPECT_TRUE(Has(run.err, word)) << run.err;
    for (const char* word : {"fp32", "fp16", "bf16"}) EXPECT_FALSE(Has(run.err, word)) << run.err;
  }
  ExpectFailure(RunProgram({"quantize", model_, "--config", "fp4-g32", "--compat", "-o", out}), 2, "INT4");
  ExpectFailure(RunProgram({"quantize", model_, "--quantize-head", "-o", out}), 2, "--quantize-embeddings");
  ExpectFailure(RunProgram({"generate", model_, "-p", "a", "--isa", "mmx"}), 2, "mmx");
  ExpectFailure(RunProgram({"generate", model_, "-p", ""}), 2, "prompt");
}

// Rounding to nearest does not need it.
TEST_F(Verbs, QuantizeOpensItsDeviceWhateverTheMethod) {
  const fs::path out = folder_ / "out";
  const RunResult run =
      RunProgram({"quantize", model_, "--config", "fp4-g32", "--device", "cuda:99", "-o", out.string()});
  EXPECT_NE(run.exit_code, 0);
  EXPECT_TRUE(Has(run.err, "CUDA")) << run.err;
  EXPECT_FALSE(fs::exists(out));
}

TEST_F(Verbs, AnUnknownVerbIsNamedBesideThoseThereAre) {
  ExpectFailure(RunProgram({"swim"}), 2, "there is no command \"swim\". Commands: pull, inspect, calibrate, plan,");
  ExpectFailure(RunProgram({"quantise", model_}), 2, "no command \"quantise\"; did you mean quantize? Commands: ");
  ExpectFailure(RunProgram({"ebnch", "--help"}), 2, "did you mean bench?");
  ExpectFailure(
      RunProgram({"eval", "perplexitty", model_}), 2,
      "eval has no command \"perplexitty\"; did you mean perplexity? Commands: perplexity, divergence, logits");
  EXPECT_EQ(RunProgram({"eval"}).exit_code, 2);
  EXPECT_EQ(RunProgram({"inspect", "no-such-model"}).exit_code, 3) << "a word after a whole verb is its own matter";
}

TEST_F(Verbs, AnUnknownOptionIsNamedBesideTheOneThatWasMeant) {
  ExpectFailure(RunProgram({"eval", "perplexity", model_, "--sampels", "5"}), 2,
                "eval perplexity has no option --sampels; did you mean --samples?");
  ExpectFailure(RunProgram({"quantize", model_, "--ouput=x"}), 2,
                "quantize has no option --ouput; did you mean --output?");
  ExpectFailure(RunProgram({"inspect", model_, "--swim"}), 2,
                "inspect has no option --swim; see `metal-marlin inspect --help`");
  ExpectFailure(RunProgram({"--json", "inspect", model_}), 2, "--json is given before a command");
  ExpectFailure(RunProgram({"inspect", model_, "twice"}), 2, "inspect does not take the argument twice");
  ExpectFailure(RunProgram({"bench", "comparison", model_}), 2, "; did you mean --model " + model_ + "?");
  ExpectFailure(RunProgram({"--verison"}), 2, "did you mean --version?");
  ExpectFailure(RunProgram({"version"}), 2, "did you mean --version?");
  ExpectFailure(RunProgram({"bench"}), 2, "a command is missing after bench: comparison, throughput, kernels");
}

TEST_F(Verbs, ValuesThatAnOptionCannotHaveAreRefused) {
  const auto refused = [&](const std::vector<std::string>& words, const char* message) {
    std::vector<std::string> all = {"generate", model_, "-p", "a"};
    all.insert(all.end(), words.begin(), words.end());
    ExpectFailure(RunProgram(all), 2, message);
  };
  refused({"-n", "0"}, "--max-tokens: 0 is not between 1 and 1048576; see `metal-marlin generate --help`");
  refused({"-n", "-1"}, "-1 is not between 1 and 1048576");
  refused({"-n", "two"}, "--max-tokens: two is not a number");
  refused({"-n", "1.5"}, "--max-tokens: 1.5 is not an integer");
  refused({"-n", "1e400"}, "--max-tokens: 1e400 is not a number");
  refused({"-n", "1", "-n", "2"}, "--max-tokens is given 2 times but takes one value");
  refused({"-n"}, "--max-tokens needs a value");
  refused({"--device", "gpu"}, "--device: gpu is no device; want cpu, cuda or cuda:NUMBER");
  refused({"--backend", "cpu:1"}, "cpu:1 is no device");
  refused({"-q", "-v"}, "--verbose");
  const std::string out = (folder_ / "out").string();
  ExpectFailure(RunProgram({"quantize", model_, "-o", out, "--calibration-windows", "8"}), 2,
                "--calibration-windows requires --calibration");
  ExpectFailure(RunProgram({"quantize", model_, "-o", text_, "--overwrite"}), 3, "text.txt is not a folder");
  ExpectFailure(RunProgram({"quantize", model_, "-o", text_}), 3, "text.txt exists and is no folder");
  ExpectFailure(RunProgram({"compare", out, out, "--max-kl", "-1"}), 2, "--max-kl: -1 is below 0");
  ExpectFailure(RunProgram({"compare", out, out, "--max-kl", "nan"}), 2, "--max-kl: nan is not a number");
  ExpectFailure(RunProgram({"bench", "comparison", "-m", model_, "-r", text_}), 3, "text.txt is not a folder; records");
  ExpectFailure(RunProgram({"bench", "throughput", model_, "-o", "csv", "--json"}), 2, "--output csv and --json");
}

TEST_F(Verbs, AChoiceOfKernelsThatChangesNothingIsSaid) {
  const std::string plain = "changes nothing here";
  const auto generate = [&](const std::string& model, const std::string& option, const std::string& value) {
    const RunResult run = RunProgram({"generate", model, "-p", "a", "-n", "1", option, value});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return run.err;
  };
  EXPECT_TRUE(Has(generate(model_, "--activations", "int8"), "--activations int8 " + plain));
  EXPECT_FALSE(Has(generate(model_, "--activations", "bf16"), plain));
  EXPECT_FALSE(Has(generate(model_, "--kernel", "scalar/any"), plain));
}

TEST_F(Verbs, AConfigurationNamedTwiceIsOneRow) {
  const RunResult run =
      RunProgram({"bench", "comparison", "-m", model_, "--data", text_, "--ctx", "128", "--config",
                  "fp4-g32,int4-g64,fp4-g32", "--dry-run", "--json", "-r", (folder_ / "results").string()});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(json::parse(run.out)["rows"].size(), 3u) << "and the baseline";
}

TEST_F(Verbs, AForcedKernelThatRoundsServesAComparison) {
  if ((HostIsa() & kIsaAvx2) == 0) GTEST_SKIP() << "this machine lacks avx2";
  const RunResult run =
      RunProgram({"bench", "comparison", "-m", model_, "--data", text_, "--ctx", "128", "--config", "fp4-g32",
                  "--dry-run", "--kernel", "avx2/fp4-int16", "-r", (folder_ / "results").string()});
  EXPECT_EQ(run.exit_code, 0) << run.err;
}

TEST_F(Verbs, InspectCountsWhatQuantizeWrites) {
  const RunResult run = RunProgram({"inspect", model_, "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const json document = json::parse(run.out);
  // 256*64 + 2 * (64*64 + 2*32*64 + 64*64 + 3*64*96 + 2*64) + 64
  EXPECT_EQ(document["parameters"], 78144);
  for (const json& row : document["configurations"]) {
    if (row["config"] == "f16") continue;
    const auto config = row["config"].get<std::string>();
    const RunResult quantized =
        RunProgram({"quantize", model_, "--config", config, "-o", (folder_ / config).string(), "--json", "-q"});
    ASSERT_EQ(quantized.exit_code, 0) << quantized.err;
    const json written = json::parse(quantized.out);
    EXPECT_NEAR(written["bits_per_weight"].get<double>(), row["bits_per_weight"].get<double>(), 1e-9) << config;
    EXPECT_EQ(written["model_bytes"], row["model_bytes"]) << config << ", the shapes beside the matrices counted";
    EXPECT_EQ(written["fp16_bytes"], 2 * 78144);
  }
}

TEST_F(Verbs, QuantizedFolderVerifiesSpeaksAndScores) {
  const std::string folder = Quantize("int4-g64");
  const RunResult verify = RunProgram({"verify", folder});
  EXPECT_EQ(verify.exit_code, 0) << verify.err;
  EXPECT_TRUE(Has(verify.out, " files, ")) << verify.out;
  const RunResult first = RunProgram({"generate", folder, "-p", "the tide", "-n", "8", "--verify", "--json", "-q"});
  const RunResult second =
      RunProgram({"generate", folder, "-p", "the tide", "-n", "8", "--threads", "1", "--json", "-q"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const json generated = json::parse(first.out);
  EXPECT_EQ(generated["tokens"], json::parse(second.out)["tokens"]) << "threads change no bit";
  EXPECT_GT(generated["peak_rss_bytes"].get<std::size_t>(), 1000000u);

  const json measured = Perplexity(folder, {"--baseline", model_});
  EXPECT_EQ(measured["windows"], 23);
  EXPECT_TRUE(std::isfinite(measured["ppl"].get<double>()));
  const double from_windows = 100 * (measured["ppl"].get<double>() / measured["baseline"]["ppl"].get<double>() - 1);
  EXPECT_NEAR(measured["delta_percent"].get<double>(), from_windows, 1e-6);
  EXPECT_LE(measured["delta_percent_95"][0].get<double>(), measured["delta_percent"].get<double>());
  EXPECT_GE(measured["delta_percent_95"][1].get<double>(), measured["delta_percent"].get<double>());
}

TEST_F(Verbs, ProductionPathAgreesWithTheReference) {
  for (const char* config : {"fp4-g32", "fp4-g256", "int4-g128", "int8-g128"}) {
    const std::string folder = Quantize(config);
    const double slow = Perplexity(folder, {"--backend", "reference"})["ppl"].get<double>();
    const auto against = [&](const char* activations) {
      return Perplexity(folder, {"--activations", activations})["ppl"].get<double>() / slow;
    };
    EXPECT_NEAR(against("fp32"), 1, 1e-4) << config;
    EXPECT_NEAR(against("int16"), 1, 5e-4) << config;
    EXPECT_NEAR(against("bf16"), 1, 1e-3) << config;  // AVX-512 BF16 rounds to 8 bits; other machines take int16
    EXPECT_NEAR(against("int8"), 1, 2e-2) << config;
  }
}

TEST_F(Verbs, BaselineAgainstItselfIsZero) {
  const json measured = Perplexity(model_, {"--baseline", model_, "--samples", "3"});
  EXPECT_EQ(measured["delta_percent"], 0.0);
  EXPECT_EQ(measured["windows"], 3);
  EXPECT_EQ(measured["windows_total"], 23);
}

TEST_F(Verbs, DivergenceIsZeroFromItselfAndGrowsWithTheLoss) {
  const auto divergence = [&](const std::string& model) {
    const RunResult run = RunProgram({"eval", "divergence", model, "--baseline", model_, "--data", text_, "--ctx",
                                      "128", "--samples", "5", "--json", "-q"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out, nullptr, false);
  };
  const json itself = divergence(model_);
  EXPECT_EQ(itself["divergence"]["kl"], 0.0);
  EXPECT_EQ(itself["divergence"]["kl_max"], 0.0);
  EXPECT_EQ(itself["divergence"]["same_top"], 1.0);
  EXPECT_EQ(itself["divergence"]["probability_change_rms"], 0.0);
  EXPECT_EQ(itself["indistinguishable"], true);

  const json eight = divergence(Quantize("int8-g128"));
  const json four = divergence(Quantize("fp4-g128"));
  EXPECT_GT(four["divergence"]["kl"], eight["divergence"]["kl"]);
  EXPECT_GT(eight["divergence"]["kl"], eight["noise_floor"]["kl"]);
  EXPECT_EQ(four["indistinguishable"], false);
  EXPECT_EQ(four["noise_floor"]["windows"], 1);
  EXPECT_EQ(four["divergence"]["window_kl"].size(), 5u);
  EXPECT_LE(four["divergence"]["kl_95"][0], four["divergence"]["kl"]);
  EXPECT_LE(four["divergence"]["kl_median"], four["divergence"]["kl_p90"]);

  // The same numbers from the other command, and the perplexity that a model alone gets.
  const json paired = Perplexity((folder_ / "fp4-g128").string(), {"--baseline", model_, "--samples", "5"});
  EXPECT_EQ(paired["divergence"], four["divergence"]);
  EXPECT_EQ(paired["window_nll"], Perplexity((folder_ / "fp4-g128").string(), {"--samples", "5"})["window_nll"]);
}

TEST_F(Verbs, DivergenceNeedsTheSameTokenizer) {
  const fs::path other = folder_ / "other";
  fs::copy(model_, other);
  json tokenizer = json::parse(*ReadFile(other / "tokenizer.json"));
  tokenizer["pre_tokenizer"]["add_prefix_space"] = true;
  ASSERT_TRUE(WriteFileAtomic(other / "tokenizer.json", tokenizer.dump()).ok());
  const RunResult run =
      RunProgram({"eval", "divergence", other.string(), "--baseline", model_, "--data", text_, "--ctx", "128", "-q"});
  ExpectFailure(run, 3, "different tokenizers");
  EXPECT_NE(run.err.find(other.string()), std::string::npos) << run.err;
  EXPECT_NE(run.err.find(model_), std::string::npos) << run.err;
  EXPECT_EQ(RunProgram({"eval", "divergence", model_}).exit_code, 2) << "a baseline is needed";
}

TEST_F(Verbs, APlanIsMadeEditedAndFollowed) {
  const std::string text = (folder_ / "calibration.txt").string();
  std::string letters;
  for (int i = 0; i < 3000; ++i) letters += static_cast<char>('a' + (i * i / 7 + i) % 26);
  ASSERT_TRUE(WriteFileAtomic(text, letters).ok());
  const fs::path plan = folder_ / "plan.json";
  const std::string out = (folder_ / "mixed").string();
  const std::vector<std::string> make = {
      "plan", model_, "--calibration", text, "--calibration-ctx", "64", "--calibration-windows", "6", "--held-out",
      "8",    "-o",   plan.string()};
  const auto with = [](std::vector<std::string> words, const std::vector<std::string>& more) {
    words.insert(words.end(), more.begin(), more.end());
    return RunProgram(words);
  };
  ExpectFailure(with(make, {"--budget", "3bpw", "-q"}), 2, "the smallest has 4.");
  ExpectFailure(with(make, {"--budget", "much"}), 2, "4.25bpw");
  ExpectFailure(with(make, {"--size", "5bpw"}), 2, "900MB");
  ExpectFailure(with(make, {"--size", "5MB", "--max-kl", "1"}), 2, "exclude each other");
  ExpectFailure(RunProgram({"plan", model_, "-o", plan.string()}), 2, "--calibration");
  ExpectFailure(with(make, {"--method", "rotate+mse"}), 2, "a method alone, one of rtn, mse");
  const RunResult chosen = with(make, {"--method", "rtn", "--budget", "6bpw", "-q"});
  ASSERT_EQ(chosen.exit_code, 0) << chosen.err;
  EXPECT_TRUE(Has(chosen.out, "--plan " + plan.string() + " --method rtn -o")) << chosen.out;
  ASSERT_TRUE(fs::remove(plan));
  const RunResult made = with(make, {"--budget", "5bpw", "-q"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_TRUE(Has(made.out, "held-out KL")) << made.out;
  EXPECT_TRUE(Has(made.out, "--plan " + plan.string() + " --calibration")) << made.out;
  EXPECT_TRUE(Has(made.out, "that quantizes with gptq-cd; the plan was measured with mse")) << made.out;
  ExpectFailure(with(make, {"--budget", "5bpw"}), 3, "--overwrite");

  const RunResult followed = RunProgram({"quantize", model_, "--plan", plan.string(), "-o", out, "--json", "-q"});
  ASSERT_EQ(followed.exit_code, 0) << followed.err;
  EXPECT_LE(json::parse(followed.out)["bits_per_weight"].get<double>(), 5.0);
  EXPECT_EQ(RunProgram({"verify", out}).exit_code, 0);
  const json ours = json::parse(*ReadFile(fs::path(out) / "config.json"))["quantization_config"]["metal_marlin"];
  EXPECT_EQ(ours["plan_sha256"], json::parse(followed.out)["plan_sha256"]);
  EXPECT_EQ(ours["plan_budget"], "5 bits per weight");
  const std::string shown = RunProgram({"inspect", out}).out;
  EXPECT_TRUE(
      Has(shown, " by a plan for 5 bits per weight (sha256 " + ours["plan_sha256"].get<std::string>().substr(0, 12)))
      << shown;
  std::map<std::string, std::size_t> formats;
  for (const json& format : ours["plan"]) ++formats[format.get<std::string>()];
  const json inspected = json::parse(RunProgram({"inspect", out, "--json"}).out);
  EXPECT_EQ(inspected["formats"].size(), formats.size());
  for (const auto& [name, count] : formats) {
    EXPECT_TRUE(Has(shown, fmt::format("    {:<9} {:>4} tensors, ", name, count))) << shown;
    EXPECT_EQ(inspected["formats"][name]["tensors"], count);
  }
  EXPECT_EQ(inspected["plan"]["budget"], "5 bits per weight");
  EXPECT_EQ(inspected["source_type"].get<std::string>().starts_with("mixed ("), formats.size() > 1) << shown;
  json edited = json::parse(*ReadFile(plan));
  for (json& unit : edited["units"]) {
    for (const json& tensor : unit["tensors"]) EXPECT_EQ(ours["plan"][tensor.get<std::string>()], unit["format"]);
  }
  EXPECT_TRUE(std::isfinite(Perplexity(out)["ppl"].get<double>()));

  // Kept layers stay as they are.
  edited["units"][1]["format"] = "16-bit";
  edited["budget"]["bytes"] = 1000000;
  ASSERT_TRUE(WriteFileAtomic(plan, edited.dump()).ok());
  ASSERT_EQ(RunProgram({"quantize", model_, "--plan", plan.string(), "-o", out, "--overwrite", "-q"}).exit_code, 0);
  EXPECT_FALSE(
      json::parse(*ReadFile(fs::path(out) / "config.json"))["quantization_config"]["metal_marlin"]["plan"].contains(
          "model.layers.0.self_attn.o_proj"));
  ExpectFailure(RunProgram({"quantize", model_, "--plan", plan.string(), "--config", "fp4-g32", "-o", out, "-q"}), 2,
                "exclude each other");
  edited["units"].erase(0);
  ASSERT_TRUE(WriteFileAtomic(plan, edited.dump()).ok());
  ExpectFailure(RunProgram({"quantize", model_, "--plan", plan.string(), "-o", out, "--overwrite", "-q"}), 3,
                "no unit names");
}

TEST_F(Verbs, CompatKeepsWhatOthersCannotRead) {
  const std::string out = (folder_ / "compat").string();
  const RunResult run = RunProgram({"quantize", model_, "--config", "int4-g64", "--compat", "-o", out, "--json", "-q"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(json::parse(run.out)["kept_16_bit"].size(), 2u) << "down_proj has rows of 96";
  const json config = json::parse(*ReadFile(fs::path(out) / "config.json"));
  EXPECT_EQ(config["quantization_config"]["quant_method"], "compressed-tensors");
}

TEST_F(Verbs, OneFlippedBitIsFoundInEveryFile) {
  const std::string folder = Quantize("fp4-g64");
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  ASSERT_GE(files.size(), 4u);
  for (const fs::path& file : files) {
    const std::string good = *ReadFile(file);
    for (const std::size_t place : {std::size_t{0}, good.size() / 2, good.size() - 1}) {
      std::string bad = good;
      bad[place] = static_cast<char>(bad[place] ^ 4);
      ASSERT_TRUE(WriteFileAtomic(file, bad).ok());
      const RunResult verify = RunProgram({"verify", folder, "-q"});
      ExpectFailure(verify, 7, file.filename().string());
      EXPECT_EQ(RunProgram({"generate", folder, "-p", "a", "-n", "1", "--verify", "-q"}).exit_code, 7) << file;
    }
    ASSERT_TRUE(WriteFileAtomic(file, good).ok());
  }
  EXPECT_EQ(RunProgram({"verify", folder}).exit_code, 0);
}

// A GGUF of 4-bit blocks is a source like any other, named after its type.
TEST_F(Verbs, AQuantizedGgufIsASource) {
  const std::string file = (folder_ / "tiny.gguf").string();
  WriteTinyGguf(file);
  const RunResult inspect = RunProgram({"inspect", file});
  EXPECT_EQ(inspect.exit_code, 0) << inspect.err;
  EXPECT_TRUE(Has(inspect.out, "weights from   IQ4_NL (GGUF)")) << inspect.out;
  EXPECT_TRUE(Has(inspect.out, " (the head is the embedding)")) << inspect.out;
  EXPECT_TRUE(Has(inspect.out, "7 tensors, 19.6 kB, 4.5 bits per weight")) << inspect.out;
  EXPECT_TRUE(Has(inspect.out, "as stored")) << inspect.out;
  const RunResult quantize = RunProgram({"quantize", file, "-c", "fp4-g32", "-o", (folder_ / "twice").string()});
  EXPECT_EQ(quantize.exit_code, 0) << quantize.err;
  EXPECT_TRUE(Has(quantize.err, "is already quantized (IQ4_NL)")) << quantize.err;
  EXPECT_FALSE(Has(RunProgram({"inspect", model_}).out, "as stored"));
  const RunResult untied = RunProgram({"inspect", MARLIN_SOURCE_DIR "/src/model/testdata/tiny-llama"});
  EXPECT_TRUE(Has(untied.out, " (3072 of them in an output matrix beside the embedding)")) << untied.out;
  const json document = json::parse(RunProgram({"inspect", file, "--json"}).out);
  std::uint64_t stored = 0;
  for (const auto& type : document["types"]) stored += type["bytes"].get<std::uint64_t>();
  EXPECT_EQ(document["stored_bytes"], stored);
  EXPECT_EQ(document["types"]["IQ4_NL"]["elements"], 4 * 64 * 64 + 3 * 64 * 96);
  EXPECT_EQ(document["types"]["IQ4_NL"]["bytes"], (4 * 64 * 64 + 3 * 64 * 96) / 32 * 18);
  EXPECT_TRUE(std::isfinite(Perplexity(file)["ppl"].get<double>()));
  const RunResult plan = RunProgram({"bench", "comparison", "-m", file, "--data", text_, "--ctx", "128", "--dry-run"});
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_TRUE(Has(plan.out, "f16 (dequantized from IQ4_NL)")) << plan.out;
  const std::string out = (folder_ / "requantized").string();
  EXPECT_EQ(RunProgram({"quantize", file, "--config", "fp4-g32", "-o", out, "-q"}).exit_code, 0);
  EXPECT_EQ(RunProgram({"verify", out}).exit_code, 0);
}

TEST_F(Verbs, AGgufIsToldWhatCanBeVerified) {
  const fs::path file = folder_ / "model.gguf";
  ASSERT_TRUE(WriteFileAtomic(file, "GGUF").ok());
  const RunResult run = RunProgram({"verify", file.string()});
  ExpectFailure(run, 3, "carries no hashes");
  EXPECT_TRUE(Has(run.err, "metal-marlin inspect")) << run.err;
}

TEST_F(Verbs, OverwriteReplacesOnlyWhatQuantizeMade) {
  const auto quantize = [&](const fs::path& out) {
    return RunProgram({"quantize", model_, "--config", "int4-g64", "-o", out.string(), "--overwrite", "-q"});
  };
  ExpectFailure(quantize(model_), 3, "replaces only what this program made");
  const fs::path file = folder_ / "notes.txt";
  ASSERT_TRUE(WriteFileAtomic(file, "mine").ok());
  ExpectFailure(quantize(file), 3, "is not a folder");
  EXPECT_EQ(*ReadFile(file), "mine");
  const fs::path out = folder_ / "out";
  fs::create_directory(out);
  EXPECT_EQ(quantize(out).exit_code, 0) << "an empty folder holds nothing to lose";
  EXPECT_EQ(quantize(out).exit_code, 0) << "its own";
  fs::create_directory_symlink(out, folder_ / "link");
  ExpectFailure(quantize(folder_ / "link"), 3, "is a link");
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  ASSERT_TRUE(WriteFileAtomic(out / "notes.txt", "mine").ok());
  ExpectFailure(quantize(out), 3, "holds notes.txt");
  EXPECT_EQ(*ReadFile(out / "notes.txt"), "mine");
  EXPECT_EQ(RunProgram({"inspect", model_}).exit_code, 0) << "the source is whole";
}

TEST_F(Verbs, VerifySaysWhatIsUnfinished) {
  const fs::path folder = folder_ / "unfinished";
  fs::create_directory(folder_ / "unfinished.part");
  ExpectFailure(RunProgram({"verify", folder.string()}), 3, "continues from " + folder.string() + ".part");
  fs::create_directory(folder);
  ExpectFailure(RunProgram({"verify", folder.string()}), 3, "interrupted before the folder was finished");
}

TEST_F(Verbs, BrokenModelsAreNamed) {
  const fs::path weights = fs::path(model_) / "model.safetensors";
  const std::string good = *ReadFile(weights);
  ExpectFailure(RunProgram({"inspect", (folder_ / "none").string()}), 3, "none");
  ASSERT_TRUE(WriteFileAtomic(weights, good.substr(0, good.size() - 100)).ok());
  ExpectFailure(RunProgram({"generate", model_, "-p", "a"}), 3, "model.safetensors");
  ASSERT_TRUE(WriteFileAtomic(weights, good.substr(0, 5)).ok());
  ExpectFailure(RunProgram({"inspect", model_}), 3, "model.safetensors");
  std::string nan = good;
  nan.replace(nan.size() - 2, 2, "\xc0\x7f");  // the last weight of the file: bf16 NaN
  ASSERT_TRUE(WriteFileAtomic(weights, nan).ok());
  ExpectFailure(RunProgram({"quantize", model_, "-o", (folder_ / "out").string(), "-q"}), 8, "NaN");
  EXPECT_FALSE(fs::exists(folder_ / "out"));
  ASSERT_TRUE(WriteFileAtomic(weights, good).ok());

  const fs::path config = fs::path(model_) / "config.json";
  json parsed = json::parse(*ReadFile(config));
  parsed["architectures"] = {"MambaForCausalLM"};
  ASSERT_TRUE(WriteFileAtomic(config, parsed.dump()).ok());
  ExpectFailure(RunProgram({"generate", model_, "-p", "a"}), 5, "MambaForCausalLM");
  ASSERT_TRUE(WriteFileAtomic(config, std::string(100000, '[')).ok());
  ExpectFailure(RunProgram({"inspect", model_}), 3, "config.json");
}

TEST_F(Verbs, InspectShowsAModelWhoseTokenizerIsBrokenAndFails) {
  const fs::path path = fs::path(model_) / "tokenizer.json";
  const std::string good = *ReadFile(path);
  ASSERT_TRUE(WriteFileAtomic(path, "{\n  \"model\" 1}").ok());
  const RunResult broken = RunProgram({"inspect", model_});
  EXPECT_EQ(broken.exit_code, 3);
  EXPECT_TRUE(Has(broken.err, "tokenizer.json is not valid JSON: line 2, column 11: ")) << broken.err;
  EXPECT_FALSE(Has(broken.err, "json.exception")) << broken.err;
  EXPECT_TRUE(Has(broken.out, "tokenizer      broken")) << broken.out;
  EXPECT_TRUE(Has(broken.out, "fp4-g32")) << "the rest is shown: " << broken.out;
  const RunResult data = RunProgram({"inspect", model_, "--json"});
  EXPECT_EQ(data.exit_code, 3);
  const json document = json::parse(data.out, nullptr, false);
  EXPECT_EQ(document["parameters"], 78144);
  EXPECT_TRUE(Has(document["tokenizer"]["error"].get<std::string>(), "line 2, column 11")) << data.out;
  ASSERT_TRUE(WriteFileAtomic(path, "{\"model\": {\"type\": \"BPE\", \"vocab\": 1}}").ok());
  const RunResult wrong = RunProgram({"inspect", model_});
  EXPECT_EQ(wrong.exit_code, 3);
  EXPECT_TRUE(Has(wrong.err, "tokenizer.json: \"vocab\" is not an object")) << wrong.err;

  json other = json::parse(good);
  other["model"]["type"] = "WordPiece";
  ASSERT_TRUE(WriteFileAtomic(path, other.dump()).ok());
  const RunResult foreign = RunProgram({"inspect", model_});
  EXPECT_EQ(foreign.exit_code, 0) << foreign.err;
  EXPECT_TRUE(Has(foreign.out, "WordPiece")) << foreign.out;
  fs::remove(path);
  const RunResult missing = RunProgram({"inspect", model_});
  EXPECT_EQ(missing.exit_code, 0) << missing.err;
  EXPECT_TRUE(Has(missing.out, "has no tokenizer.json")) << missing.out;
}

TEST_F(Verbs, AModelThatIsMissingCanBePulled) {
  for (const char* verb : {"inspect", "verify"}) {
    for (const char* name : {"nothing", "./nothing"}) {
      ExpectFailure(RunProgram({verb, name}, {.folder = folder_.path()}), 3, "`metal-marlin pull ORG/MODEL`");
    }
  }
}

TEST_F(Verbs, ForeignTokenizersAndTextsAreRefused) {
  const fs::path path = fs::path(model_) / "tokenizer.json";
  json tokenizer = json::parse(*ReadFile(path));
  tokenizer["model"]["vocab"]["tide"] = 256;  // a token that the model does not have
  tokenizer["model"]["vocab"]["ti"] = 257;
  tokenizer["model"]["vocab"]["de"] = 258;
  tokenizer["model"]["merges"] = {"t i", "d e", "ti de"};
  ASSERT_TRUE(WriteFileAtomic(path, tokenizer.dump()).ok());
  ExpectFailure(RunProgram({"eval", "perplexity", model_, "--data", text_, "--ctx", "128", "-q"}), 3, "vocabulary");
  ASSERT_TRUE(WriteFileAtomic(path, "{").ok());
  ExpectFailure(RunProgram({"eval", "perplexity", model_, "--data", text_, "-q"}), 3, "tokenizer.json");
  WriteTinyModel(model_);

  const fs::path bad = folder_ / "bad.txt";
  ASSERT_TRUE(WriteFileAtomic(bad, "").ok());
  ExpectFailure(RunProgram({"eval", "perplexity", model_, "--data", bad.string(), "-q"}), 3, "bad.txt");
  ASSERT_TRUE(WriteFileAtomic(bad, std::string("\xff\xfe\0\1", 4)).ok());
  ExpectFailure(RunProgram({"eval", "perplexity", model_, "--data", bad.string(), "-q"}), 3, "bad.txt");
  ASSERT_TRUE(WriteFileAtomic(bad, "too short").ok());
  ExpectFailure(RunProgram({"eval", "perplexity", model_, "--data", bad.string(), "-q"}), 3, "9 tokens");
}

TEST_F(Verbs, MissingTextSaysHowToGetIt) {
  const RunOptions nowhere{.environment = {{"METAL_MARLIN_DATA", ""}, {"XDG_CACHE_HOME", folder_.path().string()}}};
  const RunResult run = RunProgram({"eval", "perplexity", model_, "--offline", "-q"}, nowhere);
  ExpectFailure(run, 3, "--data");
  EXPECT_NE(run.err.find("METAL_MARLIN_DATA"), std::string::npos);
}

TEST_F(Verbs, ADryRunNeedsNoNetwork) {
  const RunOptions nowhere{.environment = {{"METAL_MARLIN_DATA", ""},
                                           {"XDG_CACHE_HOME", (folder_ / "cache").string()},
                                           {"HF_ENDPOINT", "http://127.0.0.1:1"},
                                           {"HF_HUB_OFFLINE", ""},
                                           {"TRANSFORMERS_OFFLINE", ""}}};
  std::vector<std::string> words = {"bench",    "comparison", "-m", model_, "-r", (folder_ / "results").string(),
                                    "--dry-run"};
  const std::size_t before = Entries();
  const RunResult plan = RunProgram(words, nowhere);
  EXPECT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_TRUE(Has(plan.out, "will download")) << plan.out;
  // One token per byte: 1,290,590 bytes are 2520 windows of 512.
  EXPECT_TRUE(Has(plan.out, "2520 windows of 512 tokens (estimated")) << plan.out;
  RunOptions forbidden = nowhere;
  forbidden.environment["HF_HUB_OFFLINE"] = "1";
  const RunResult hub_offline = RunProgram(words, forbidden);
  EXPECT_TRUE(Has(hub_offline.out, "HF_HUB_OFFLINE forbids its download")) << hub_offline.out;
  words.emplace_back("--offline");
  const RunResult offline = RunProgram(words, nowhere);
  EXPECT_EQ(offline.exit_code, 0) << offline.err;
  EXPECT_TRUE(Has(offline.out, "--data built-in")) << offline.out;
  words.insert(words.end(), {"--samples", "30", "--json"});
  const RunResult data = RunProgram(words, nowhere);
  ASSERT_EQ(data.exit_code, 0) << data.err;
  const json row = json::parse(data.out)["rows"][0];
  EXPECT_EQ(row["windows"], 30);
  EXPECT_EQ(row["windows_estimated"], false) << "the text has more";
  EXPECT_EQ(Entries(), before) << "nothing was written";
  words.back() = "--data";
  words.emplace_back("/nowhere.txt");
  ExpectFailure(RunProgram(words, nowhere), 3, "/nowhere.txt");
}

TEST_F(Verbs, AFullDiskLeavesNothingBehind) {
  const std::size_t before = Entries();
  const RunOptions full{.file_size_limit = 40000};
  ExpectFailure(RunProgram({"quantize", model_, "-o", (folder_ / "out").string(), "-q"}, full), 4, "model.safetensors");
  ExpectFailure(RunProgram({"eval", "logits", model_, "--data", text_, "-o", (folder_ / "l.npy").string(), "-q"}, full),
                4, "l.npy");
  EXPECT_EQ(Entries(), before);
  const RunResult device = RunProgram({"inspect", model_, "--json"}, {.stdout_file = "/dev/full"});
  EXPECT_EQ(device.exit_code, 4) << device.err;
  EXPECT_EQ(RunProgram({"eval", "logits", model_, "--data", text_, "-o", "/dev/full", "-q"}).exit_code, 3);
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(Verbs, NothingThatExistsIsLost) {
  const std::string folder = Quantize("fp4-g32");
  const std::string sums = *ReadFile(fs::path(folder) / "SHA256SUMS");
  ExpectFailure(RunProgram({"quantize", model_, "--config", "int4-g64", "-o", folder, "-q"}), 3, "already exists");
  const RunOptions full{.file_size_limit = 40000};
  ExpectFailure(RunProgram({"quantize", model_, "--config", "int4-g64", "-o", folder, "--overwrite", "-q"}, full), 4,
                "model.safetensors");
  EXPECT_EQ(*ReadFile(fs::path(folder) / "SHA256SUMS"), sums);
  EXPECT_EQ(RunProgram({"quantize", model_, "--config", "int4-g64", "-o", folder, "--overwrite", "-q"}).exit_code, 0);
  EXPECT_NE(*ReadFile(fs::path(folder) / "SHA256SUMS"), sums);
  ExpectFailure(RunProgram({"quantize", folder, "-o", (folder_ / "twice").string(), "-q"}), 3, "already quantized");
  ExpectFailure(
      RunProgram({"bench", "comparison", "--model", folder, "--data", text_, "--ctx", "128", "--dry-run", "-q"}), 3,
      "already quantized");
  ExpectFailure(RunProgram({"quantize", model_, "-o", "/proc/marlin", "-q"}), 3, "/proc/marlin");
}

TEST_F(Verbs, KernelWalkIsExplained) {
  const RunResult run = RunProgram({"bench", "kernels", "--explain", "-f", "fp4-g128", "--isa", "scalar"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.out.find("fp4-g128"), std::string::npos);
  EXPECT_NE(run.out.find("-> "), std::string::npos);
}

}  // namespace
}  // namespace marlin
