#include "study/claim.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <ctime>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "base/file.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::chrono::seconds kMinute{60};

class Claims : public testing::Test {
 protected:
  void SetUp() override { fs::remove_all(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  Claim Take(const std::string& name, std::chrono::seconds expiry = kMinute) {
    auto claim = Claim::Take(folder_, name, expiry);
    EXPECT_TRUE(claim.ok()) << claim.error().message;
    return std::move(*claim);
  }

  // A claim as another process left it. changed: its age by the clock of the files.
  void Leave(const std::string& file, const json& holder, std::int64_t age_seconds) {
    fs::create_directories(folder_);
    ASSERT_TRUE(WriteFileAtomic(folder_ / file, holder.dump()).ok());
    const timespec then{std::time(nullptr) - age_seconds, 0};
    const timespec times[2] = {then, then};
    ASSERT_EQ(::utimensat(AT_FDCWD, (folder_ / file).c_str(), times, 0), 0);
  }

  // Of this process, as its own claim says it.
  json OwnHolder() {
    const Claim own = Take("own");
    return json::parse(*ReadFile(folder_ / "own.1"));
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / fmt::format("{}_marlin_claims", ::getpid());
};

TEST_F(Claims, OneHoldsAndTheOthersLearnWho) {
  {
    const Claim first = Take("job");
    ASSERT_TRUE(first.held());
    const Claim second = Take("job");
    EXPECT_FALSE(second.held());
    EXPECT_EQ(second.holder().process, ::getpid());
    EXPECT_TRUE(second.holder().is_own());
    EXPECT_NE(Describe(second.holder()).find(fmt::format("process {}", ::getpid())), std::string::npos);
    EXPECT_TRUE(Take("another job").held());
    ASSERT_EQ(ListClaims(folder_, kMinute).size(), 1u);
    EXPECT_EQ(ListClaims(folder_, kMinute)[0].name, "job");
  }
  EXPECT_TRUE(fs::is_empty(folder_)) << "a claim that is released leaves nothing";
}

TEST_F(Claims, OfManyOnlyOneHolds) {
  std::atomic<int> holders{0};
  std::atomic<int> taken{0};
  std::atomic<bool> shared{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        const auto claim = Claim::Take(folder_, "job", kMinute);
        if (!claim || !claim->held()) continue;
        if (++holders > 1) shared = true;
        ++taken;
        std::this_thread::yield();
        --holders;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(shared);
  EXPECT_GT(taken.load(), 0);
}

TEST_F(Claims, ADeadProcessOfThisMachineHoldsNothing) {
  json holder = OwnHolder();
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  holder["process"] = child;
  Leave("job.1", holder, 0);
  EXPECT_TRUE(ListClaims(folder_, kMinute).empty());
  const Claim claim = Take("job");
  EXPECT_TRUE(claim.held()) << "without waiting for the expiry";
}

TEST_F(Claims, AProcessNumberThatWasGivenAgainIsAnotherProcess) {
  json holder = OwnHolder();
  holder["start"] = holder["start"].get<std::uint64_t>() + 1;
  Leave("job.1", holder, 0);
  EXPECT_TRUE(Take("job").held());
}

TEST_F(Claims, ALivingProcessOfThisMachineIsNeverStale) {
  Leave("job.1", OwnHolder(), 1'000'000);
  EXPECT_FALSE(Take("job").held()) << "it may have been stopped, but it lives";
}

// Its processes cannot be seen from here, whatever its name is: only the age of the claim counts.

TEST_F(Claims, AnotherMachineOfTheSameNameKeepsItsClaimUntilItExpires) {
  json holder = OwnHolder();
  holder["machine"] = "another boot";
  holder["process"] = 999'999'999;
  holder["since"] = "1999-01-01T00:00:00Z";  // its clock is wrong
  Leave("job.1", holder, 30);
  EXPECT_FALSE(Take("job").held());
  Leave("job.1", holder, 100);
  const Claim claim = Take("job");
  EXPECT_TRUE(claim.held());
  EXPECT_TRUE(fs::exists(folder_ / "job.2")) << "beside the stale one, so that only one can take it over";
  EXPECT_FALSE(Take("job").held());
  EXPECT_EQ(ListClaims(folder_, kMinute).size(), 1u);
}

// Whoever waits longer than the others must not lose its claims to them.
TEST_F(Claims, TheExpiryIsThatOfTheHolder) {
  json holder = OwnHolder();
  holder["machine"] = "another boot";
  EXPECT_EQ(holder["expiry"], kMinute.count()) << "a claim states it";
  holder["expiry"] = 600;
  Leave("job.1", holder, 100);
  EXPECT_FALSE(Take("job", kMinute).held());
  holder["expiry"] = 5;
  Leave("job.1", holder, 30);
  EXPECT_TRUE(Take("job", kMinute).held());
}

TEST_F(Claims, ALinkToNowhereExpires) {
  fs::create_directories(folder_);
  fs::create_symlink("nowhere", folder_ / "job.1");
  const timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (folder_ / "job.1").c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
  EXPECT_TRUE(Take("job").held());
}

TEST_F(Claims, AFileFromTheFutureIsNotStale) {
  json holder = OwnHolder();
  holder["machine"] = "another boot";
  Leave("job.1", holder, -100'000);
  EXPECT_FALSE(Take("job").held());
}

TEST_F(Claims, AHolderShowsThatItLives) {
  constexpr std::chrono::seconds kShort{1};
  const Claim claim = Take("job", kShort);
  json holder = json::parse(*ReadFile(folder_ / "job.1"));
  holder["machine"] = "another boot";  // so that only the age counts
  ASSERT_TRUE(WriteFileAtomic(folder_ / "job.1", holder.dump()).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(3300));
  EXPECT_FALSE(Take("job", kShort).held()) << "it was touched";
}

TEST_F(Claims, RubbishAmongTheClaimsIsNoHolder) {
  fs::create_directories(folder_);
  for (const char* name : {"job", "job.x", ".hidden.1", "job.0", "job.99999999999999999999"}) {
    ASSERT_TRUE(WriteFileAtomic(folder_ / name, "rubbish").ok());
  }
  EXPECT_TRUE(Take("job").held());
  ASSERT_TRUE(WriteFileAtomic(folder_ / "cut.1", "{\"host\": \"al").ok());
  const Claim cut = Take("cut");
  EXPECT_FALSE(cut.held()) << "someone may be writing it";
  EXPECT_EQ(cut.holder().host, "unknown");
}

TEST_F(Claims, SweepingRemovesWhatNobodyHolds) {
  json dead = OwnHolder();
  dead["start"] = dead["start"].get<std::uint64_t>() + 1;
  Leave("dead.1", dead, 0);
  Leave("dead.2", dead, 0);
  Leave(".claim-abcdef", "cut", 100);
  Leave(".now-abcdef", "", 100);
  {
    const Claim held = Take("held");
    SweepClaims(folder_, kMinute);
    EXPECT_TRUE(fs::exists(folder_ / "held.1"));
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
  }
  SweepClaims(folder_, kMinute);
  EXPECT_FALSE(fs::exists(folder_));
  SweepClaims(folder_, kMinute);  // of no folder
}

TEST_F(Claims, AFolderThatCannotBeWrittenIsNamed) {
  ASSERT_TRUE(WriteFileAtomic(folder_, "a file in the way").ok());
  const auto claim = Claim::Take(folder_, "job", kMinute);
  ASSERT_FALSE(claim.ok());
  EXPECT_EQ(claim.error().code, ErrorCode::kInput);
  EXPECT_NE(claim.error().message.find(folder_.string()), std::string::npos);
}

}  // namespace
}  // namespace marlin
