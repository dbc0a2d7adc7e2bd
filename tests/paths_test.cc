// Paths as shells, downloads and killed runs leave them: slashes, pipes, links, pointers, leftovers; and streams and
// signals as other programs send them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "kernels/isa.h"
#include "tests/program.h"
#include "tests/tiny_model.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

std::string Repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

class Paths : public testing::Test {
 protected:
  void SetUp() override {
    WriteTinyModel(folder_ / "model");
    WriteTinyText(folder_ / "text.txt");
  }

  std::string In(const std::string& name) const { return (folder_ / name).string(); }

  static RunResult Run(std::vector<std::string> words, const RunOptions& options = {}) {
    return RunProgram(words, options);
  }

  // One sentence that holds all of `words`, in seconds.
  static void ExpectFailure(const RunResult& run, int code, const std::vector<std::string>& words) {
    EXPECT_EQ(run.exit_code, code) << run.err;
    for (const std::string& word : words) EXPECT_NE(run.err.find(word), std::string::npos) << word << ": " << run.err;
  }

  // The names in the test's folder, hidden ones too.
  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) names.insert(entry.path().filename().string());
    return names;
  }

  std::vector<std::string> Calibrated(const std::string& out) const {
    return {"quantize",
            In("model"),
            "-c",
            "fp4-g32",
            "-o",
            out,
            "--calibration",
            In("long.txt"),
            "--calibration-windows",
            "8",
            "--calibration-ctx",
            "64",
            "--allow-overlap",
            "-q"};
  }
  void WriteLongText() const {
    std::string letters;
    for (int i = 0; i < 3000; ++i) letters += static_cast<char>('a' + (i * i / 7 + i) % 26);
    ASSERT_TRUE(WriteFileAtomic(folder_ / "long.txt", letters).ok());
  }

  TemporaryFolder folder_;
};

TEST_F(Paths, ASlashBehindANewFolderChangesNothing) {
  WriteLongText();
  const auto before = Names();
  const RunResult run = Run(Calibrated(In("out") + "/"));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(Run({"verify", In("out")}).exit_code, 0);
  EXPECT_EQ(Run({"verify", In("out") + "/"}).exit_code, 0);
  auto want = before;
  want.insert("out");
  EXPECT_EQ(Names(), want) << "nothing else stays";
  auto again = Calibrated(In("out") + "//");
  again.emplace_back("--overwrite");
  EXPECT_EQ(Run(again).exit_code, 0);
  EXPECT_EQ(Names(), want);
}

TEST_F(Paths, OutputsThatAreNoNamesAreRefusedBeforeAnyWork) {
  const auto before = Names();
  for (const char* name : {"", " ", ".", "..", "/", "x/.."}) {
    ExpectFailure(Run({"quantize", In("model"), "-o", name}), 2, {"--output"});
  }
  const std::vector<std::vector<std::string>> files = {{"calibrate", In("model"), "--data", In("text.txt"), "-o"},
                                                       {"plan", In("model"), "--calibration", In("text.txt"), "-o"},
                                                       {"eval", "logits", In("model"), "--data", In("text.txt"), "-o"},
                                                       {"bench", "kernels", "--plot"},
                                                       {"bench", "kernels", "--tokens", "1,2", "--plot-tokens"}};
  for (const auto& words : files) {
    const auto with = [&](const std::string& name) {
      auto all = words;
      all.push_back(name);
      return Run(all);
    };
    for (const std::string& name : {std::string(), std::string("."), std::string(".."), In("new") + "/"}) {
      EXPECT_EQ(with(name).exit_code, 2) << words[0] << " " << name;
    }
    const std::string ending = words[0] == "bench" ? ".png" : "";
    fs::create_directories(folder_ / ("folder" + ending));
    ExpectFailure(with(In("folder" + ending)), 3, {"is a folder"});
    ExpectFailure(with(In("missing") + "/file" + ending), 3, {"there is no folder", "missing"});
    fs::remove(folder_ / ("folder" + ending));
  }
  for (const auto& words : {std::vector<std::string>{"report", "generate", In("model"), "-o", ""},
                            std::vector<std::string>{"bench", "comparison", "-m", In("model"), "--results", ""},
                            std::vector<std::string>{"bench", "comparison", "-m", In("model"), "--work", ""},
                            std::vector<std::string>{"eval", "perplexity", In("model"), "--data", ""}}) {
    ExpectFailure(Run(words), 2, {"the value is empty"});
  }
  EXPECT_EQ(Names(), before);
}

TEST_F(Paths, ResultsTakeASlashOrTheFolderItself) {
  for (const std::string& results : {In("results") + "/", std::string("."), std::string("..")}) {
    fs::create_directories(folder_ / "here" / "below");
    const RunResult run = Run({"bench", "comparison", "-m", In("model"), "--data", In("text.txt"), "--ctx", "128", "-s",
                               "2", "-c", "fp4-g32", "--no-timing", "-r", results, "-q"},
                              {.folder = folder_ / "here" / "below"});
    ASSERT_EQ(run.exit_code, 0) << results << run.err;
    const RunResult report =
        Run({"report", "generate", results, "-o", results}, {.folder = folder_ / "here" / "below"});
    EXPECT_EQ(report.exit_code, 0) << results << report.err;
  }
  for (const char* folder : {"results", "here/below", "here"}) {
    EXPECT_TRUE(fs::exists(folder_ / folder / "RESULTS.md")) << folder;
    EXPECT_FALSE(fs::exists(folder_ / folder / ".work")) << folder;
  }
}

TEST_F(Paths, WhatKilledRunsLeftGoesAndWhatLivesStays) {
  fs::create_directories(folder_ / ".out.tmp-abc123");
  ASSERT_TRUE(WriteFileAtomic(folder_ / ".out.tmp-abc123" / "model.safetensors", "half").ok());
  ASSERT_TRUE(WriteFileAtomic(folder_ / ".other.tmp-abc123", "of another output").ok());
  auto living = AtomicDir::Create(folder_ / "out", false);
  ASSERT_TRUE(living.ok());
  EXPECT_FALSE(fs::exists(folder_ / ".out.tmp-abc123")) << "a folder that nobody holds";
  fs::create_directories(folder_ / ".out.tmp-abc123");
  const RunResult run = Run({"quantize", In("model"), "-c", "fp4-g32", "-o", In("out"), "-q"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_FALSE(fs::exists(folder_ / ".out.tmp-abc123"));
  EXPECT_TRUE(fs::exists(living->temporary())) << "held by this test";
  EXPECT_TRUE(fs::exists(folder_ / ".other.tmp-abc123"));

  ASSERT_TRUE(WriteFileAtomic(folder_ / ".l.npy.tmp-abc123", "half").ok());
  const RunResult logits =
      Run({"eval", "logits", In("model"), "--data", In("text.txt"), "--ctx", "16", "-o", In("l.npy")});
  ASSERT_EQ(logits.exit_code, 0) << logits.err;
  EXPECT_FALSE(fs::exists(folder_ / ".l.npy.tmp-abc123"));
}

TEST_F(Paths, LayersOfAnUnfinishedRunGoWithTheFolderAndNothingElse) {
  fs::create_directories(folder_ / "out.part");
  ASSERT_TRUE(WriteFileAtomic(folder_ / "out.part" / "layer-00000.safetensors", "of another method").ok());
  ASSERT_TRUE(WriteFileAtomic(folder_ / "out.part" / "notes.txt", "mine").ok());
  ASSERT_EQ(Run({"quantize", In("model"), "-c", "fp4-g32", "-o", In("out"), "-q"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(folder_ / "out.part" / "layer-00000.safetensors"));
  EXPECT_EQ(*ReadFile(folder_ / "out.part" / "notes.txt"), "mine");
}

TEST_F(Paths, WhatIsNoFileIsRefusedAtOnce) {
  const std::string pipe = In("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  // A run that waited for a writer would be ended by the signal, with another code.
  const RunOptions soon{.signal_after_seconds = 20, .signal = SIGKILL};
  const std::string model = In("model");
  const std::string text = In("text.txt");
  const std::vector<std::vector<std::string>> runs = {
      {"inspect", pipe},
      {"inspect", model, "--tokenize", pipe},
      {"eval", "perplexity", model, "--data", pipe},
      {"eval", "divergence", model, "--baseline", pipe, "--data", text},
      {"verify", pipe},
      {"generate", pipe, "-p", "a"},
      {"quantize", model, "-o", In("out"), "--stats", pipe, "--method", "mse"},
      {"quantize", model, "-o", In("out"), "--plan", pipe},
      {"quantize", model, "-o", In("out"), "--calibration", pipe},
      {"calibrate", model, "--data", text, "-o", pipe},
      {"calibrate", "--merge", pipe, pipe, "-o", In("stats")},
      {"bench", "comparison", "-m", model, "--data", text, "--ctx", "128", "--import", pipe, "-r", In("results")}};
  for (const auto& words : runs) ExpectFailure(Run(words, soon), 3, {"is not a regular file", "pipe"});
  for (const char* name :
       {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    const fs::path file = folder_ / "model" / name;
    fs::remove(file);
    ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
    ExpectFailure(Run({"generate", model, "-p", "a", "-n", "1"}, soon), 3, {"is not a regular file", name});
    fs::remove(file);
    WriteTinyModel(model);
  }
  ExpectFailure(Run({"inspect", "/dev/null"}), 3, {"/dev/null is not a regular file"});
}

TEST_F(Paths, PointersAndLinksToNothingAreNamed) {
  const std::string model = In("model");
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:" + std::string(64, 'a') + "\nsize 12345\n";
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"}) {
    const fs::path file = folder_ / "model" / name;
    ASSERT_TRUE(WriteFileAtomic(file, pointer).ok());
    ExpectFailure(Run({"generate", model, "-p", "a"}), 3, {"is a git-lfs pointer", name});
    fs::remove(file);
    fs::create_symlink("../blobs/missing", file);
    ExpectFailure(Run({"generate", model, "-p", "a"}), 3,
                  {"is a link to ../blobs/missing, which does not exist", name});
    fs::remove(file);
    WriteTinyModel(model);
  }
  ASSERT_TRUE(WriteFileAtomic(folder_ / "pointer", pointer).ok());
  fs::create_symlink("nowhere", folder_ / "link");
  for (const auto& [name, what] :
       {std::pair{"pointer", "is a git-lfs pointer"}, std::pair{"link", "is a link to nowhere"}}) {
    const std::string path = In(name);
    ExpectFailure(Run({"inspect", path}), 3, {what});
    ExpectFailure(Run({"eval", "perplexity", model, "--data", path}), 3, {what});
    ExpectFailure(Run({"quantize", model, "-o", In("out"), "--calibration", path}), 3, {what});
    ExpectFailure(Run({"quantize", model, "-o", In("out"), "--plan", path}), 3, {what});
    fs::create_directories(folder_ / "records");
    fs::copy(folder_ / name, folder_ / "records" / (std::string(name) + ".json"), fs::copy_options::copy_symlinks);
    const RunResult report = Run({"report", "generate", In("records")});
    ExpectFailure(report, 3, {what});
  }
}

// Paths that cannot be looked at are errors like any other. A name that is too long stands for a folder without
// permission, which root does not know.
TEST_F(Paths, PathsThatCannotBeLookedAtAreErrors) {
  const std::string name(300, 'x');
  const std::string model = In("model");
  ExpectFailure(Run({"inspect", name}), 3, {"too long"});
  ExpectFailure(Run({"eval", "perplexity", name}), 3, {"too long"});
  ExpectFailure(Run({"eval", "perplexity", model, "--data", name}), 3, {"too long"});
  ExpectFailure(Run({"verify", name}), 3, {"too long"});
  ExpectFailure(Run({"quantize", model, "-o", In(name)}), 3, {"too long"});
  ExpectFailure(Run({"calibrate", model, "--data", In("text.txt"), "-o", In(name) + "/f"}), 3, {"too long"});
  ExpectFailure(Run({"bench", "kernels", "--plot", In(name) + "/p.png"}), 3, {"too long"});
  ExpectFailure(Run({"report", "generate", name}), 3, {"too long"});
  ExpectFailure(Run({"compare", name, name}), 3, {"too long"});
  ExpectFailure(Run({"bench", "comparison", "-m", model, "--data", In("text.txt"), "--ctx", "128", "--no-timing", "-r",
                     In("results"), "--work", In(name)}),
                3, {"too long"});
}

TEST_F(Paths, SumsWithOtherLineEndsStillVerify) {
  ASSERT_EQ(Run({"quantize", In("model"), "-c", "fp4-g32", "-o", In("out"), "-q"}).exit_code, 0);
  std::string sums = *ReadFile(folder_ / "out" / "SHA256SUMS");
  for (std::size_t at = 0; (at = sums.find('\n', at)) != std::string::npos; at += 2) sums.insert(at, "\r");
  ASSERT_TRUE(WriteFileAtomic(folder_ / "out" / "SHA256SUMS", sums).ok());
  EXPECT_EQ(Run({"verify", In("out")}).exit_code, 0);
}

TEST_F(Paths, ANulByteIsCalledByItsName) {
  ASSERT_TRUE(WriteFileAtomic(folder_ / "nul.txt", std::string("tide\0tide", 9)).ok());
  const RunResult run = Run({"eval", "perplexity", In("model"), "--data", In("nul.txt")});
  ExpectFailure(run, 3, {"byte 4 (0x00) is NUL"});
  EXPECT_EQ(run.err.find("not UTF-8"), std::string::npos) << run.err;
}

TEST_F(Paths, AClosedOutputIsSaidToBeClosed) {
  ExpectFailure(Run({"inspect", In("model")}, {.close_stdout = true}), 1, {"standard output", "closed"});
  // Without its stream, what the program prints must not land in a file that it writes.
  const RunResult run = Run({"eval", "logits", In("model"), "--data", In("text.txt"), "--ctx", "16", "-o", In("l.npy")},
                            {.close_stdout = true});
  EXPECT_EQ(run.exit_code, 1) << run.err;
  const auto bytes = ReadFile(folder_ / "l.npy");
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(bytes->size(), 128 + 16 * 256 * 4u);
}

// Nobody reads the pipe, so that the program waits in a write when the signal comes.
TEST_F(Paths, ASignalEndsAProgramThatWaits) {
  ASSERT_TRUE(WriteFileAtomic(folder_ / "long.txt", Repeated("the tide ", 20'000)).ok());
  const std::string pipe = In("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const int reader = ::open(pipe.c_str(), O_RDWR | O_NONBLOCK);
    ASSERT_GE(reader, 0);
    RunOptions options{.signal_after_seconds = 1.5, .signal = signal, .stdout_file = pipe};
    const RunResult run = Run({"inspect", In("model"), "--tokenize", In("long.txt")}, options);
    ::close(reader);
    EXPECT_EQ(run.exit_code, 130) << signal << " " << run.err;
  }
}

TEST_F(Paths, ThreadsThatTheSystemRefusesAreAnError) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer reserves more memory than the limit of this test";
#endif
  const RunResult run =
      Run({"generate", In("model"), "-p", "a", "-n", "1", "--threads", "1024"}, {.memory_limit = std::size_t{1} << 30});
  ExpectFailure(run, 4, {"threads", "--threads"});
}

TEST_F(Paths, TheInstructionSetIsRecordedInItsOwnSpelling) {
  if ((HostIsa() & kIsaAvx2) == 0) GTEST_SKIP() << "this machine lacks avx2";
  const auto record = [&](const std::string& isa, const std::string& results) {
    const RunResult run = Run({"bench", "comparison", "-m", In("model"), "--data", In("text.txt"), "--ctx", "128", "-s",
                               "2", "-c", "FP4-g32", "--no-timing", "--isa", isa, "-r", In(results), "-q"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    for (const auto& entry : fs::directory_iterator(folder_ / results)) {
      if (entry.path().filename().string().find("fp4") != std::string::npos)
        return json::parse(*ReadFile(entry.path()));
    }
    return json();
  };
  const json as_spelled = record("AVX2", "a");
  const json usual = record("avx2", "b");
  EXPECT_EQ(as_spelled["machine"]["isa"], "avx2");
  EXPECT_EQ(as_spelled["key"], usual["key"]) << "one measurement, however it is spelled";
}

TEST_F(Paths, ASnapshotOfTheCacheIsCalledByItsRepository) {
  const fs::path cache = folder_ / "models--some--fish";
  const fs::path snapshot = cache / "snapshots" / "0123456789abcdef0123456789abcdef01234567";
  fs::create_directories(snapshot);
  fs::create_directories(cache / "blobs");
  for (const auto& entry : fs::directory_iterator(folder_ / "model")) {
    const std::string name = entry.path().filename().string();
    fs::rename(entry.path(), cache / "blobs" / name);
    fs::create_symlink(fs::path("../../blobs") / name, snapshot / name);
  }
  const RunResult inspect = Run({"inspect", snapshot.string() + "/", "--json"});
  ASSERT_EQ(inspect.exit_code, 0) << inspect.err;
  EXPECT_EQ(json::parse(inspect.out)["name"], "some/fish");
  const RunResult here = Run({"inspect", "."}, {.folder = snapshot});
  EXPECT_EQ(here.out.rfind("some/fish\n", 0), 0u) << here.out;
  for (const fs::path& named : {cache, cache / "snapshots"}) {
    ExpectFailure(Run({"inspect", named.string()}), 3, {"is the cache of some/fish", snapshot.string()});
  }
  fs::remove_all(snapshot);
  ExpectFailure(Run({"inspect", cache.string()}), 3, {"holds no snapshot"});
}

TEST_F(Paths, GenerationStopsAtEveryTokenThatTheFilesName) {
  const auto generate = [&] {
    const RunResult run = Run({"generate", In("model"), "-p", "the tide", "-n", "6", "--json", "-q"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return json::parse(run.out, nullptr, false);
  };
  const json all = generate();
  ASSERT_EQ(all["tokens"].size(), 6u);
  EXPECT_TRUE(all["decode_tok_s"].is_number());
  const json end = all["tokens"][1];
  ASSERT_NE(end, all["tokens"][0]) << "the test wants another token";
  const auto write = [&](const char* name, const json& value) {
    ASSERT_TRUE(WriteFileAtomic(folder_ / "model" / name, value.dump()).ok());
  };
  json config = json::parse(*ReadFile(folder_ / "model" / "config.json"));
  const json plain = config;
  for (const json& ids : {json::array({300, end}), end}) {
    config["eos_token_id"] = ids;
    write("config.json", config);
    const json ended = generate();
    EXPECT_EQ(ended["tokens"], json::array({all["tokens"][0]}));
    EXPECT_TRUE(ended["decode_tok_s"].is_number()) << "the step that gave the end token";
    write("config.json", plain);
    write("generation_config.json", {{"eos_token_id", ids}});
    EXPECT_EQ(generate()["tokens"].size(), 1u);
    fs::remove(folder_ / "model" / "generation_config.json");
  }
  config["eos_token_id"] = nullptr;
  write("config.json", config);
  EXPECT_EQ(generate()["tokens"].size(), 6u);
  config["eos_token_id"] = json::array({"x"});
  write("config.json", config);
  ExpectFailure(Run({"generate", In("model"), "-p", "a"}), 3, {"config.json", "eos_token_id", "[\"x\"]"});
  ExpectFailure(Run({"inspect", In("model")}), 3, {"config.json", "eos_token_id", "[\"x\"]"});
  write("config.json", plain);
  const RunResult first = Run({"generate", In("model"), "-p", "the tide", "-n", "1", "--json", "-q"});
  EXPECT_EQ(json::parse(first.out)["decode_tok_s"], nullptr) << "one token takes no step";
}

TEST_F(Paths, OptionsThatChangeNothingAreRefused) {
  ExpectFailure(Run({"quantize", In("model"), "-o", In("out"), "--rotation-seed", "7"}), 2, {"--rotate"});
  ExpectFailure(Run({"bench", "throughput", In("model"), "-o", "md", "--json"}), 2, {"--output md and --json"});
  const RunResult lists = Run({"bench", "comparison", "-m", In("model"), "--data", In("text.txt"), "--ctx", "128", "-c",
                               "FP4-G32, int4-g64", "--dry-run", "--json", "-r", In("results")});
  ASSERT_EQ(lists.exit_code, 0) << lists.err;
  EXPECT_EQ(json::parse(lists.out)["rows"].size(), 3u);
  const RunResult itself = Run({"eval", "perplexity", In("model"), "--baseline", In("model") + "/", "--data",
                                In("text.txt"), "--ctx", "128", "-s", "1"});
  EXPECT_NE(itself.err.find("is compared with itself"), std::string::npos) << itself.err;
}

}  // namespace
}  // namespace marlin
