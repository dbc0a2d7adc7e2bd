#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/open_file.h"
#include "base/sha256.h"
#include "base/temporary.h"

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

TEST_F(Files, AFolderMadeAnewHasAName) {
  EXPECT_EQ(NameOfNewFolder("a/b")->string(), "a/b");
  EXPECT_EQ(NameOfNewFolder("a/b///")->string(), "a/b");
  for (const char* none : {"", ".", "..", "/", "a/.", "a/..", "../"}) {
    const auto name = NameOfNewFolder(none);
    ASSERT_FALSE(name.ok()) << none;
    EXPECT_EQ(name.error().code, ErrorCode::kInput);
  }
  auto dir = AtomicDir::Create(folder_ / "model" / "", false);
  ASSERT_TRUE(dir.ok()) << dir.error().message;
  ASSERT_TRUE(dir->Commit().ok());
  EXPECT_TRUE(fs::is_directory(folder_ / "model"));
}

TEST_F(Files, WhereNoFileCanBeWrittenIsSaidBeforeTheWork) {
  EXPECT_TRUE(CheckOutputFile(folder_ / "a.txt").ok());
  EXPECT_TRUE(CheckOutputFile("a.txt").ok()) << "in the folder of the program";
  for (const fs::path& path : {fs::path(), folder_ / "", folder_ / ".", folder_, folder_ / "no" / "a.txt"}) {
    EXPECT_EQ(CheckOutputFile(path).error().code, ErrorCode::kInput) << path;
    EXPECT_FALSE(AtomicFile::Create(path).ok()) << path;
  }
  EXPECT_EQ(Entries(), 0u);
}

TEST_F(Files, OnlyRegularFilesAreRead) {
  const fs::path pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  fs::create_symlink("nowhere", folder_ / "link");
  fs::create_symlink("loop", folder_ / "loop");
  const auto expect = [](const fs::path& path, const std::string& word) {
    for (const Error& error : {ReadFile(path).error(), MappedFile::Open(path).error()}) {
      EXPECT_EQ(error.code, ErrorCode::kInput);
      EXPECT_NE(error.message.find(word), std::string::npos) << error.message;
      EXPECT_NE(error.message.find(path.string()), std::string::npos) << error.message;
    }
  };
  expect(pipe, "is not a regular file but a named pipe");
  expect("/dev/null", "is not a regular file but a device");
  expect(folder_, "is a folder, a file was wanted");
  expect(folder_ / "link", "is a link to nowhere, which does not exist");
  expect(folder_ / "loop", "cannot open");
  expect(folder_ / "none", "No such file");
  expect(folder_ / std::string(300, 'x'), "too long");
  ASSERT_TRUE(WriteFileAtomic(folder_ / "pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n").ok());
  expect(folder_ / "pointer", "is a git-lfs pointer");
  const std::string text = "version https://git-lfs.github.com/spec/v1 " + std::string(2000, 'x');
  ASSERT_TRUE(WriteFileAtomic(folder_ / "text", text).ok());
  EXPECT_EQ(*ReadFile(folder_ / "text"), text) << "too long for a pointer";
}

TEST_F(Files, KindsOfPaths) {
  ASSERT_TRUE(WriteFileAtomic(folder_ / "file", "x").ok());
  fs::create_symlink("file", folder_ / "link");
  fs::create_symlink("nowhere", folder_ / "dangling");
  EXPECT_EQ(*KindOf(folder_), PathKind::kFolder);
  EXPECT_EQ(*KindOf(folder_ / "link"), PathKind::kFile);
  EXPECT_EQ(*KindOf(folder_ / "none"), PathKind::kNothing);
  EXPECT_EQ(*KindOf(folder_ / "file" / "below"), PathKind::kNothing);
  EXPECT_EQ(*KindOf("/dev/null"), PathKind::kOther);
  EXPECT_FALSE(KindOf(folder_ / "dangling").ok());
  EXPECT_FALSE(KindOf(folder_ / std::string(300, 'x')).ok());
  EXPECT_TRUE(IsListed(folder_ / "dangling"));
  EXPECT_FALSE(IsListed(folder_ / "none"));
}

TEST_F(Files, LeftoversOfKilledRunsGo) {
  const fs::path file = folder_ / "a.txt";
  const fs::path model = folder_ / "model";
  const pid_t child = ::fork();
  if (child == 0) {
    auto written = AtomicFile::Create(file);
    auto dir = AtomicDir::Create(model, false);
    const bool ok = written.ok() && dir.ok() && WriteFileAtomic(dir->temporary() / "f", "1").ok();
    ::kill(::getpid(), ok ? SIGKILL : SIGABRT);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  EXPECT_EQ(Entries(), 2u) << "what the killed run left";
  ASSERT_TRUE(WriteFileAtomic(file, "x").ok());
  EXPECT_EQ(Entries(), 2u) << "its file is gone";
  auto dir = AtomicDir::Create(model, false);
  ASSERT_TRUE(dir.ok());
  EXPECT_EQ(Entries(), 2u) << "and its folder";
  ASSERT_TRUE(dir->Commit().ok());
  EXPECT_EQ(Entries(), 2u);
}

TEST_F(Files, TemporariesOfARunningProgramStay) {
  auto first = AtomicFile::Create(folder_ / "a.txt");
  auto folder = AtomicDir::Create(folder_ / "model", false);
  ASSERT_TRUE(first.ok() && folder.ok() && first->Write("first").ok());
  ASSERT_TRUE(WriteFileAtomic(folder_ / "a.txt", "second").ok());
  ASSERT_TRUE(AtomicDir::Create(folder_ / "model", false).ok());
  RemoveLeftovers(folder_);
  EXPECT_TRUE(fs::exists(folder->temporary()));
  ASSERT_TRUE(first->Commit().ok());
  EXPECT_EQ(*ReadFile(folder_ / "a.txt"), "first");
  ASSERT_TRUE(folder->Commit().ok());
}

TEST_F(Files, NamesThatOnlyLookAlikeStay) {
  const std::vector<std::string> names = {"a.txt.tmp-abc123",  ".b.txt.tmp-abc123",  ".a.txt.tmp-abc12",
                                          ".a.txt.tmp-abc12!", ".a.txt.tmp-abc1234", ".tmp-abc123"};
  for (const std::string& name : names) std::ofstream(folder_ / name) << "mine";
  ASSERT_TRUE(WriteFileAtomic(folder_ / "a.txt", "x").ok());
  for (const std::string& name : names) EXPECT_TRUE(fs::exists(folder_ / name)) << name;
}

// A kill between the two renames of a file system that cannot exchange names.
TEST_F(Files, AFolderThatWasSetAsideComesBack) {
  fs::create_directories(folder_ / ".model.tmp-abc123");
  fs::create_directories(folder_ / ".model.tmp-abc123-old");
  std::ofstream(folder_ / ".model.tmp-abc123-old" / "f") << "1";
  auto dir = AtomicDir::Create(folder_ / "model", true);
  ASSERT_TRUE(dir.ok());
  EXPECT_EQ(*ReadFile(folder_ / "model" / "f"), "1");
  EXPECT_EQ(Entries(), 2u);
}

TEST_F(Files, LongNamesHaveTemporariesToo) {
  const std::string name(250, 'x');
  ASSERT_TRUE(WriteFileAtomic(folder_ / name, "x").ok());
  EXPECT_EQ(*ReadFile(folder_ / name), "x");
}

// A lock counts only while its path names the same file.
TEST_F(Files, ALockOnAFileThatIsGoneIsNone) {
  const fs::path path = folder_ / "lock";
  const auto open = [&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600); };
  const int holder = open();
  const int late = open();
  EXPECT_EQ(TryLock(holder, path), LockState::kHeld);
  EXPECT_EQ(TryLock(late, path), LockState::kBusy);
  fs::remove(path);
  ::close(holder);
  const int fresh = open();
  EXPECT_EQ(TryLock(fresh, path), LockState::kHeld);
  EXPECT_EQ(TryLock(late, path), LockState::kGone) << "it would guard a file that nobody else sees";
  ::close(late);
  ::close(fresh);
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
