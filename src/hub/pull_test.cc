#include "hub/pull.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>

#include "base/file.h"
#include "base/test_text.h"
#include "hub/hub_cache.h"
#include "hub/test_hub.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

std::string Bytes(std::size_t size) {
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += static_cast<char>(i * 7 + i / 251);
  return text;
}

class PullTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "marlin-pull-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    tools_.settings.endpoint = hub_.url();
    tools_.settings.cache = folder_ / "hub";
    tools_.first_pause = std::chrono::milliseconds(5);
    tools_.say = [this](const std::string& text) { said_ += text + "\n"; };
    hub_.Put("README.md", "not needed");
    hub_.Put("config.json", "{}");
    hub_.Put("tokenizer.json", "{\"model\":{}}");
    hub_.Put("model.safetensors", weights_, true);
  }
  void TearDown() override {
    g_interrupted = false;
    fs::remove_all(folder_);
  }

  Result<PullPlan> Plan(const std::string& word = "org/fish") const { return PlanPull(*ParseHubName(word), tools_); }
  Status PullAll(const std::string& word = "org/fish") const {
    const auto plan = Plan(word);
    return plan ? Pull(*plan, tools_) : Status(plan.error());
  }
  void ExpectError(const Status& status, ErrorCode code, const std::vector<std::string>& words) const {
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, code) << status.error().message;
    for (const std::string& word : words) {
      EXPECT_TRUE(Has(status.error().message, word)) << word << ": " << status.error().message;
    }
    EXPECT_FALSE(Find().ok()) << "nothing is half visible";
  }
  Result<CachedModel> Find(const std::string& word = "org/fish") const {
    return FindCachedModel(tools_.settings.cache, *ParseHubName(word));
  }
  fs::path repository() const { return folder_ / "hub" / "models--org--fish"; }
  fs::path blob() const { return repository() / "blobs" / Sha256Hex(weights_); }
  fs::path incomplete() const { return blob().string() + ".incomplete"; }

  const std::string weights_ = Bytes(300'000);
  fs::path folder_;
  TestHub hub_{"org/fish"};
  PullTools tools_;
  std::string said_;
};

TEST_F(PullTest, TheConfigurationCanBeReadFirst) {
  const auto plan = Plan();
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const auto config = FetchConfig(*plan, tools_, 100);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(*config, "{}");
  EXPECT_FALSE(fs::exists(folder_ / "hub")) << "nothing is written";
  EXPECT_TRUE(hub_.cdn_requests().empty());
  const auto small = FetchConfig(*plan, tools_, 1);
  ASSERT_FALSE(small.ok());
  EXPECT_TRUE(Has(small.error().message, "config.json has 2 bytes, want at most 1")) << small.error().message;
  ASSERT_TRUE(PullAll().ok());
  const std::size_t asked = hub_.hub_requests().size();
  EXPECT_EQ(*FetchConfig(*plan, tools_, 100), "{}");
  EXPECT_EQ(hub_.hub_requests().size(), asked) << "it is in the cache";
  hub_.Put("fish-F16.gguf", "GGUF", true);
  const auto gguf = Plan("org/fish:F16");
  ASSERT_TRUE(gguf.ok()) << gguf.error().message;
  EXPECT_EQ(*FetchConfig(*gguf, tools_, 100), std::nullopt);
}

TEST_F(PullTest, WritesTheCacheThatOtherProgramsRead) {
  const auto plan = Plan();
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_FALSE(fs::exists(folder_ / "hub")) << "a plan writes nothing";
  EXPECT_EQ(plan->commit, hub_.commit());
  ASSERT_EQ(plan->files.size(), 3u);
  EXPECT_EQ(plan->missing_bytes(), plan->bytes());
  ASSERT_TRUE(Pull(*plan, tools_).ok());
  const fs::path snapshot = repository() / "snapshots" / hub_.commit();
  EXPECT_EQ(fs::read_symlink(snapshot / "model.safetensors"), "../../blobs/" + Sha256Hex(weights_));
  EXPECT_EQ(fs::read_symlink(snapshot / "config.json"), "../../blobs/" + GitHash("{}"));
  EXPECT_EQ(*ReadFile(snapshot / "model.safetensors"), weights_);
  EXPECT_FALSE(fs::exists(snapshot / "README.md"));
  EXPECT_EQ(*ReadFile(repository() / "refs" / "main"), hub_.commit()) << "without a line's end";
  EXPECT_TRUE(fs::exists(folder_ / "hub/.locks/models--org--fish" / (Sha256Hex(weights_) + ".lock")));
  EXPECT_EQ(std::distance(fs::directory_iterator(repository() / "blobs"), {}), 3) << "nothing unfinished stays";
  const auto found = Find();
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->path(), snapshot);
  EXPECT_EQ(*CheckCachedModel(*found, nullptr), 3u);
}

TEST_F(PullTest, TheSecondTimeOnlyAsks) {
  ASSERT_TRUE(PullAll().ok());
  const std::size_t asked = hub_.hub_requests().size();
  const auto plan = Plan();
  EXPECT_EQ(plan->missing_bytes(), 0u);
  ASSERT_TRUE(Pull(*plan, tools_).ok());
  EXPECT_EQ(hub_.hub_requests().size(), asked + 1);
  EXPECT_EQ(hub_.cdn_requests().size(), 1u);
}

TEST_F(PullTest, ANewCommitBringsOnlyWhatChanged) {
  ASSERT_TRUE(PullAll().ok());
  hub_.SetCommit(std::string(40, '2'));
  hub_.Put("config.json", "{\"a\":1}");
  EXPECT_EQ(Find()->commit, std::string(40, '1')) << "without the network the cache stays";
  const auto plan = Plan();
  EXPECT_EQ(plan->missing_bytes(), 7u);
  ASSERT_TRUE(Pull(*plan, tools_).ok());
  EXPECT_EQ(Find()->commit, std::string(40, '2'));
  EXPECT_EQ(*ReadFile(Find()->path() / "config.json"), "{\"a\":1}");
  EXPECT_EQ(Find("org/fish@" + std::string(40, '1'))->commit, std::string(40, '1')) << "the old one is still there";
  EXPECT_EQ(hub_.cdn_requests().size(), 1u);
}

TEST_F(PullTest, ACommitHasNoRef) {
  ASSERT_TRUE(PullAll("org/fish@" + hub_.commit()).ok());
  EXPECT_FALSE(fs::exists(repository() / "refs"));
  EXPECT_TRUE(Find("org/fish@" + hub_.commit()).ok());
  EXPECT_FALSE(Find().ok());
}

TEST_F(PullTest, TheTokenStaysWithTheHub) {
  hub_.RequireToken("hf_secret");
  tools_.settings.token = "hf_secret";
  ASSERT_TRUE(PullAll().ok());
  for (const std::string& request : hub_.hub_requests())
    EXPECT_TRUE(Has(request, "Authorization: Bearer hf_secret\r\n"));
  ASSERT_EQ(hub_.cdn_requests().size(), 1u);
  EXPECT_FALSE(Has(hub_.cdn_requests()[0], "hf_secret")) << "another port is another server";
}

TEST_F(PullTest, RefusalsSayWhatToDo) {
  hub_.RequireToken("hf_secret");
  ExpectError(PullAll(), ErrorCode::kInput, {"org/fish is gated", "401", "HF_TOKEN", hub_.url() + "/org/fish"});
  tools_.settings.token = "hf_wrong";
  ExpectError(PullAll(), ErrorCode::kInput, {"gated", "the present token has no access"});
}

TEST_F(PullTest, WhatDoesNotExistIsNamed) {
  ExpectError(PullAll("org/fish@v2"), ErrorCode::kInput, {"org/fish has no revision v2", "404"});
  ExpectError(PullAll("org/cow"), ErrorCode::kInput, {"there is no model org/cow", hub_.url(), "404"});
  hub_.instead_of_hub = [](const std::string& path, const std::string&, const TestHub::Connection& c) {
    if (!Has(path, "/resolve/")) return false;
    c.Send(HttpResponse("404 Not Found", "", "X-Error-Code: EntryNotFound\r\n"));
    return true;
  };
  ExpectError(PullAll(), ErrorCode::kInput, {"org/fish has no file config.json"});
}

TEST_F(PullTest, AForbiddenAnswerWithAndWithoutLogin) {
  hub_.instead_of_hub = [](const std::string&, const std::string& request, const TestHub::Connection& c) {
    c.Send(HttpResponse(Has(request, "Authorization") ? "403 Forbidden" : "401 Unauthorized", ""));
    return true;
  };
  ExpectError(PullAll(), ErrorCode::kInput, {"does not exist, or is private or gated", "HF_TOKEN"});
  tools_.settings.token = "hf_x";
  ExpectError(PullAll(), ErrorCode::kInput, {"403", "may not read org/fish"});
}

TEST_F(PullTest, ABusyHubIsAskedAgainAndTheUserIsTold) {
  std::atomic<int> left = 2;
  hub_.instead_of_hub = [&](const std::string&, const std::string&, const TestHub::Connection& c) {
    if (left-- <= 0) return false;
    c.Send(HttpResponse("429 Too Many Requests", "", left == 1 ? "Retry-After: 1\r\n" : ""));
    return true;
  };
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(PullAll().ok());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(900)) << "Retry-After is obeyed";
  EXPECT_TRUE(Has(said_, "HTTP 429")) << said_;
  EXPECT_TRUE(Has(said_, "asks to wait 1 s; trying again in 1 s")) << said_;
}

TEST_F(PullTest, ABusyHubIsNotAskedForever) {
  hub_.instead_of_hub = [](const std::string&, const std::string&, const TestHub::Connection& c) {
    c.Send(HttpResponse("503 Busy", ""));
    return true;
  };
  ExpectError(PullAll(), ErrorCode::kInput, {"HTTP 503", "tried 4 times"});
}

TEST_F(PullTest, ACutBodyIsContinued) {
  std::atomic<int> times = 0;
  hub_.instead_of_cdn = [&](const std::string& path, const std::string&, const TestHub::Connection& c) {
    if (times++ > 0) return false;
    ServeCut(weights_, 100'000, "ETag: \"cdn-" + path.substr(1, 12) + "\"\r\n", c);
    return true;
  };
  ASSERT_TRUE(PullAll().ok());
  ASSERT_EQ(hub_.cdn_requests().size(), 2u);
  EXPECT_TRUE(Has(hub_.cdn_requests()[1], "Range: bytes=100000-\r\n"));
  EXPECT_EQ(*ReadFile(blob()), weights_);
}

TEST_F(PullTest, AChangedEtagBeginsAgain) {
  std::atomic<int> times = 0;
  hub_.instead_of_cdn = [&](const std::string&, const std::string&, const TestHub::Connection& c) {
    if (times++ > 0) return false;
    ServeCut(std::string(300'000, 'x'), 100'000, "ETag: \"older\"\r\n", c);
    return true;
  };
  ASSERT_TRUE(PullAll().ok());
  EXPECT_EQ(*ReadFile(blob()), weights_);
}

TEST_F(PullTest, ABodyThatEndsEarlyWithoutSayingSoIsNotAFile) {
  hub_.instead_of_cdn = [&](const std::string&, const std::string&, const TestHub::Connection& c) {
    c.Send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + weights_.substr(0, 1000));
    return true;
  };
  ExpectError(PullAll(), ErrorCode::kInput, {"1000 of 300000 bytes", "tried 4 times"});
}

TEST_F(PullTest, ABodyThatIsTooLongIsCut) {
  hub_.instead_of_cdn = [&](const std::string&, const std::string&, const TestHub::Connection& c) {
    c.Send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + weights_ + "x");
    return true;
  };
  ExpectError(PullAll(), ErrorCode::kInput, {"longer than the 300000 bytes that it should have"});
}

TEST_F(PullTest, AWrongHashIsDeletedAndSaid) {
  hub_.instead_of_cdn = [&](const std::string&, const std::string&, const TestHub::Connection& c) {
    std::string wrong = weights_;
    wrong[1234] ^= 1;
    c.Send(HttpResponse("200 OK", wrong, "ETag: \"e\"\r\n"));
    return true;
  };
  ExpectError(PullAll(), ErrorCode::kCorrupt, {"model.safetensors", Sha256Hex(weights_), "is deleted"});
  EXPECT_FALSE(fs::exists(blob()));
  EXPECT_FALSE(fs::exists(incomplete()));
  hub_.instead_of_cdn = nullptr;
  ASSERT_TRUE(PullAll().ok());
}

TEST_F(PullTest, ASmallFileIsCheckedAsGitDoes) {
  hub_.instead_of_hub = [](const std::string& path, const std::string&, const TestHub::Connection& c) {
    if (!path.ends_with("/config.json")) return false;
    c.Send(HttpResponse("200 OK", "[]"));
    return true;
  };
  ExpectError(PullAll(), ErrorCode::kCorrupt, {"config.json", GitHash("{}")});
}

TEST_F(PullTest, APullContinuesWhatAnotherCommitBegan) {
  std::atomic<int> times = 0;
  hub_.instead_of_cdn = [&](const std::string& path, const std::string&, const TestHub::Connection& c) {
    if (times++ == 0) {
      ServeCut(weights_, 100'000, "ETag: \"cdn-" + path.substr(1, 12) + "\"\r\n", c);
    } else {
      c.Send(HttpResponse("403 Forbidden", ""));
    }
    return true;
  };
  ExpectError(PullAll(), ErrorCode::kInput, {"HTTP 403"});
  hub_.instead_of_cdn = nullptr;
  hub_.SetCommit(std::string(40, '2'));
  const auto plan = Plan();
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->missing_bytes(), weights_.size() - 100'000 + 12) << "and tokenizer.json, the file after it";
  ASSERT_TRUE(Pull(*plan, tools_).ok());
  EXPECT_TRUE(Has(hub_.cdn_requests().back(), "Range: bytes=100000-"));
  EXPECT_EQ(*ReadFile(blob()), weights_);
}

TEST_F(PullTest, AFileThatIsWholeButHasNoNameYetIsNotFetchedAgain) {
  fs::create_directories(blob().parent_path());
  ASSERT_TRUE(WriteFileAtomic(incomplete(), weights_).ok());
  ASSERT_TRUE(WriteFileAtomic(incomplete().string() + ".from", "blob " + Sha256Hex(weights_) + "\n\"e\"\n").ok());
  ASSERT_TRUE(PullAll().ok());
  EXPECT_TRUE(hub_.cdn_requests().empty());
  EXPECT_EQ(*ReadFile(blob()), weights_);
}

TEST_F(PullTest, WhatAnotherProgramLeftUnfinishedIsNotTrusted) {
  fs::create_directories(blob().parent_path());
  ASSERT_TRUE(WriteFileAtomic(incomplete(), "from who knows where").ok());
  ASSERT_TRUE(WriteFileAtomic(blob(), "too short").ok());
  ASSERT_TRUE(PullAll().ok());
  EXPECT_EQ(*ReadFile(blob()), weights_);
}

TEST_F(PullTest, WaitsForAnotherProcessAndTakesWhatItBrought) {
  const fs::path lock = folder_ / "hub/.locks/models--org--fish" / (Sha256Hex(weights_) + ".lock");
  fs::create_directories(lock.parent_path());
  const int other = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  ASSERT_EQ(::flock(other, LOCK_EX), 0);
  std::thread release([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_TRUE(WriteFileAtomic(blob(), weights_).ok());
    ::close(other);
  });
  const Status status = PullAll();
  release.join();
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_TRUE(hub_.cdn_requests().empty());
  EXPECT_EQ(Count(said_, "another process is downloading model.safetensors; waiting for it"), 1) << said_;
}

TEST_F(PullTest, ADiskThatIsTooSmallIsNoticedBefore) {
  hub_.instead_of_hub = [&](const std::string& path, const std::string&, const TestHub::Connection& c) {
    if (!path.starts_with("/api/")) return false;
    json info = hub_.Info();
    for (json& file : info["siblings"]) {
      if (file.contains("lfs")) file["lfs"]["size"] = std::uint64_t{1} << 46;
    }
    c.Send(HttpResponse("200 OK", info.dump()));
    return true;
  };
  ExpectError(PullAll(), ErrorCode::kResource, {"70368744177", "are free", "HF_HUB_CACHE"});
  EXPECT_EQ(hub_.hub_requests().size(), 1u);
  EXPECT_FALSE(fs::exists(folder_ / "hub"));
}

TEST_F(PullTest, HostileAnswersWriteNothing) {
  json info;
  hub_.instead_of_hub = [&](const std::string&, const std::string&, const TestHub::Connection& c) {
    c.Send(HttpResponse("200 OK", info.dump()));
    return true;
  };
  const std::string hash(40, 'a');
  for (const char* name : {"../../outside", "/outside", "a\\b", "config.json/x"}) {
    info = hub_.Info();
    info["siblings"].push_back({{"rfilename", name}, {"size", 1}, {"blobId", hash}});
    ExpectError(PullAll(), ErrorCode::kInput, {"the answer of " + hub_.url() + " about org/fish"});
  }
  info = "a page instead of an answer";
  ExpectError(PullAll(), ErrorCode::kInput, {"not a JSON object"});
  info = hub_.Info();
  ExpectError(PullAll("org/fish@" + std::string(40, '9')), ErrorCode::kInput, {"gives commit"});
  EXPECT_FALSE(fs::exists(folder_ / "hub"));
}

TEST_F(PullTest, AnAnswerWithoutEndIsCut) {
  hub_.instead_of_hub = [&](const std::string&, const std::string&, const TestHub::Connection& c) {
    c.Send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    const std::string block(1 << 20, ' ');
    while (c.Send(block)) {
    }
    return true;
  };
  ExpectError(PullAll(), ErrorCode::kInput, {"longer than the 16777216 bytes"});
}

TEST_F(PullTest, ShardsAndTheirIndex) {
  const std::string index = R"({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})";
  TestHub hub("org/fish");
  tools_.settings.endpoint = hub.url();
  hub.Put("config.json", "{}");
  hub.Put("model.safetensors.index.json", index);
  hub.Put("model-1.safetensors", "one", true);
  hub.Put("model-2.safetensors", "", true);
  ASSERT_TRUE(PullAll().ok());
  const auto found = Find();
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->files.files.size(), 4u);
  EXPECT_EQ(fs::file_size(found->path() / "model-2.safetensors"), 0u);
  fs::remove(found->path() / "model-1.safetensors");
  const auto less = Find();
  ASSERT_FALSE(less.ok());
  EXPECT_EQ(less.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(less.error().message, "missing: model-1.safetensors")) << less.error().message;
  EXPECT_TRUE(Has(less.error().message, "metal-marlin pull org/fish")) << less.error().message;
}

TEST_F(PullTest, PartsOfAGgufFileInAFolder) {
  TestHub hub("org/fish");
  tools_.settings.endpoint = hub.url();
  hub.Put("Q8_0/fish-Q8_0-00001-of-00002.gguf", "one", true);
  hub.Put("Q8_0/fish-Q8_0-00002-of-00002.gguf", "two", true);
  hub.Put("fish-Q4_0.gguf", "three", true);
  const auto none = Plan();
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, ErrorCode::kUsage);
  ASSERT_TRUE(PullAll("org/fish:Q8_0").ok());
  const auto found = Find("org/fish:Q8_0");
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(fs::read_symlink(found->path()), "../../../blobs/" + Sha256Hex("one"));
  EXPECT_EQ(*ReadFile(found->path()), "one");
  EXPECT_EQ(Find()->path(), found->path()) << "the only one in the cache";
  EXPECT_FALSE(Find("org/fish:Q4_0").ok());
}

TEST_F(PullTest, DamageInTheCacheIsFound) {
  ASSERT_TRUE(PullAll().ok());
  const auto found = Find();
  std::string wrong = weights_;
  wrong[7] ^= 1;
  ASSERT_TRUE(WriteFileAtomic(blob(), wrong).ok());
  const auto checked = CheckCachedModel(*found, nullptr);
  ASSERT_FALSE(checked.ok());
  EXPECT_EQ(checked.error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(Has(checked.error().message, "delete " + blob().string())) << checked.error().message;
}

TEST_F(PullTest, ARefThatSaysSomethingElseIsNotFollowed) {
  ASSERT_TRUE(PullAll().ok());
  for (const char* text : {"", "../../../etc", "main"}) {
    ASSERT_TRUE(WriteFileAtomic(repository() / "refs" / "main", text).ok());
    const auto found = Find();
    ASSERT_FALSE(found.ok()) << text;
    EXPECT_EQ(found.error().code, ErrorCode::kInput);
  }
}

}  // namespace
}  // namespace marlin
