#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "base/file.h"
#include "formats/formats.h"
#include "study/comparison.h"
#include "study/machine.h"
#include "study/utc.h"
#include "study/work_folder.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

TEST(Comparison, BaselinesAreNamedAfterTheirSource) {
  EXPECT_EQ(BaselineName("F16"), "f16");
  EXPECT_EQ(BaselineName("Q4_1"), "f16 (dequantized from Q4_1)");
  EXPECT_EQ(BaselineName("F32"), "f16 (rounded from F32)");
}

TEST(Comparison, GridsThatFlatterAreMarked) {
  const FormatInfo& int4 = FindFormat("int4-g64")->info;
  const FormatInfo& fp4 = FindFormat("fp4-g32")->info;
  const FormatInfo& int8 = FindFormat("int8-g128")->info;
  EXPECT_TRUE(SameGridAsSource("Q4_1", int4));
  EXPECT_TRUE(SameGridAsSource("Q8_0", int8));
  EXPECT_FALSE(SameGridAsSource("Q4_1", fp4));
  EXPECT_TRUE(SameGridAsSource("MXFP4", fp4)) << "E2M1 too";
  EXPECT_FALSE(SameGridAsSource("IQ4_NL", int4)) << "not evenly spaced";
  EXPECT_FALSE(SameGridAsSource("BF16", int4));
}

TEST(Machine, SaysWhatItIs) {
  const record::Machine machine = DescribeMachine(2);
  EXPECT_FALSE(machine.cpu.empty());
  EXPECT_FALSE(machine.os.empty());
  EXPECT_EQ(machine.threads, 2u);
  EXPECT_GT(machine.memory_bytes, 0u);
  EXPECT_GT(AvailableMemoryBytes(), 0u);
}

TEST(Utc, LooksLikeATime) {
  const std::string now = UtcNow();
  ASSERT_EQ(now.size(), 20u);
  EXPECT_EQ(now[10], 'T');
  EXPECT_EQ(now.back(), 'Z');
}

class WorkFolders : public testing::Test {
 protected:
  void SetUp() override { fs::remove_all(path_); }
  void TearDown() override { fs::remove_all(path_); }
  const fs::path path_ = fs::path(testing::TempDir()) / fmt::format("{}_marlin_work_folder_test", ::getpid());
};

TEST_F(WorkFolders, OnlyOneSweepAtATime) {
  auto first = WorkFolder::Open(path_);
  ASSERT_TRUE(first.ok()) << first.error().message;
  const auto second = WorkFolder::Open(path_);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("--work"), std::string::npos);
}

TEST_F(WorkFolders, SweepsTemporariesAndKeepsTheRest) {
  fs::create_directories(path_ / ".model.tmp-abc123");
  ASSERT_TRUE(WriteFileAtomic(path_ / "row.json", "{}").ok());
  {
    const auto work = WorkFolder::Open(path_);
    ASSERT_TRUE(work.ok());
    EXPECT_FALSE(fs::exists(path_ / ".model.tmp-abc123"));
    EXPECT_TRUE(fs::exists(path_ / "row.json"));
  }
  EXPECT_TRUE(fs::exists(path_ / "row.json"));
  fs::remove(path_ / "row.json");
  { ASSERT_TRUE(WorkFolder::Open(path_).ok()); }
  EXPECT_FALSE(fs::exists(path_)) << "an empty work folder goes";
}

}  // namespace
}  // namespace marlin
