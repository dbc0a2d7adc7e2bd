#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "base/mapped_file.h"
#include "base/sha256.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / ("marlin_file_test_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::size_t Entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  fs::path folder_;
};

TEST_F(Files, NothingIsSeenBeforeCommit) {
  const fs::path path = folder_ / "a.txt";
  {
    auto file = AtomicFile::Create(path);
    ASSERT_TRUE(file.ok()) << file.error().message;
    ASSERT_TRUE(file->Write("hello").ok());
    EXPECT_FALSE(fs::exists(path));
  }
  EXPECT_EQ(Entries(), 0u) << "an abandoned file leaves nothing behind";
  ASSERT_TRUE(WriteFileAtomic(path, "hello").ok());
  EXPECT_EQ(*ReadFile(path), "hello");
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(Files, WriteAtFillsAPlaceholder) {
  const fs::path path = folder_ / "a.txt";
  auto file = AtomicFile::Create(path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->Write("0123456789").ok());
  ASSERT_TRUE(file->WriteAt(2, "ab").ok());
  ASSERT_TRUE(file->Write("X").ok());
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(*ReadFile(path), "01ab456789X");
}

TEST_F(Files, AFullDiskKeepsTheOldFile) {
  const fs::path path = folder_ / "a.txt";
  ASSERT_TRUE(WriteFileAtomic(path, "old").ok());
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 4096;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = WriteFileAtomic(path, std::string(1 << 20, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kResource);
  EXPECT_NE(status.error().message.find("a.txt"), std::string::npos);
  EXPECT_EQ(*ReadFile(path), "old");
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(Files, MissingFolderIsNamed) {
  const Status status = WriteFileAtomic(folder_ / "no" / "a.txt", "x");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kInput);
  EXPECT_NE(status.error().message.find("a.txt"), std::string::npos);
}

TEST_F(Files, ReplacesNothingButRegularFiles) {
  const Status device = WriteFileAtomic("/dev/full", "x");
  ASSERT_FALSE(device.ok());
  EXPECT_EQ(device.error().code, ErrorCode::kInput);
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
  EXPECT_EQ(WriteFileAtomic(folder_, "x").error().code, ErrorCode::kInput);
}

TEST_F(Files, FolderAppearsWhole) {
  const fs::path path = folder_ / "model";
  {
    auto dir = AtomicDir::Create(path, false);
    ASSERT_TRUE(dir.ok());
    ASSERT_TRUE(WriteFileAtomic(dir->temporary() / "f", "1").ok());
  }
  EXPECT_EQ(Entries(), 0u);
  auto dir = AtomicDir::Create(path, false);
  ASSERT_TRUE(dir.ok());
  ASSERT_TRUE(WriteFileAtomic(dir->temporary() / "f", "1").ok());
  ASSERT_TRUE(dir->Commit().ok());
  EXPECT_EQ(*ReadFile(path / "f"), "1");
  EXPECT_FALSE(AtomicDir::Create(path, false).ok());
  for (const char* here : {".", ".."}) EXPECT_FALSE(AtomicDir::Create(path / here, true).ok());
  auto again = AtomicDir::Create(path, true);
  ASSERT_TRUE(again.ok());
  ASSERT_TRUE(WriteFileAtomic(again->temporary() / "g", "2").ok());
  EXPECT_EQ(*ReadFile(path / "f"), "1") << "kept until the new one is complete";
  ASSERT_TRUE(again->Commit().ok());
  EXPECT_FALSE(fs::exists(path / "f"));
  EXPECT_EQ(*ReadFile(path / "g"), "2");
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(Files, MappedFileAndItsHash) {
  const fs::path path = folder_ / "abc";
  ASSERT_TRUE(WriteFileAtomic(path, "abc").ok());
  // FIPS 180-2, example B.1.
  const std::string want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  EXPECT_EQ(Sha256Hex("abc"), want);
  EXPECT_EQ(*Sha256OfFile(path), want);
  auto mapped = MappedFile::Open(path);
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ(mapped->bytes().size(), 3u);
  ASSERT_TRUE(WriteFileAtomic(folder_ / "empty", "").ok());
  EXPECT_TRUE(MappedFile::Open(folder_ / "empty")->bytes().empty());
  EXPECT_EQ(MappedFile::Open(folder_).error().code, ErrorCode::kInput);
  EXPECT_EQ(MappedFile::Open(folder_ / "none").error().code, ErrorCode::kInput);
}

}  // namespace
}  // namespace marlin
