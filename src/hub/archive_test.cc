#include "hub/archive.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "base/file.h"
#include "base/progress.h"
#include "hub/zip_test_file.h"

namespace marlin {
namespace {

namespace fs = std::filesystem;

// Without the wait for the disk that an atomic write costs.
void Overwrite(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

class ArchiveTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "marlin-archive-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    ASSERT_TRUE(WriteFileAtomic(target(), "what was there before"));
  }
  void TearDown() override {
    g_interrupted = false;
    fs::remove_all(folder_);
  }
  fs::path zip() const { return folder_ / "a.zip"; }
  fs::path target() const { return folder_ / "target"; }
  std::string Target() const { return *ReadFile(target()); }

  // Extraction of "file" fails with this code and a sentence that says `why`; what was at the target is still there,
  // and there is nothing new.
  void ExpectRefused(std::string_view why, ErrorCode code = ErrorCode::kInput) {
    const auto status = ExtractMember(zip(), "file", target(), 1000);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, code);
    EXPECT_NE(status.error().message.find(why), std::string::npos) << status.error().message;
    EXPECT_NE(status.error().message.find(zip().string()), std::string::npos) << status.error().message;
    EXPECT_EQ(Target(), "what was there before");
    const auto entries = std::distance(fs::directory_iterator(folder_), fs::directory_iterator());
    EXPECT_EQ(entries, fs::exists(zip()) ? 2 : 1);
  }
  fs::path folder_;
};

TEST_F(ArchiveTest, TakesOneFileOut) {
  const std::string content(1000, 'x');
  for (const char* options : {"zip:compression=deflate", "zip:compression=store"}) {
    WriteZip(zip(), {{"other", "no"}, {"folder/profile", "no"}, {"folder/file", content}, {"last", "no"}}, options);
    for (const char* member : {"file", "folder/file"}) {
      fs::remove(target());
      const auto status = ExtractMember(zip(), member, target(), content.size());
      ASSERT_TRUE(status) << status.error().message;
      EXPECT_EQ(Target(), content);
    }
  }
}

TEST_F(ArchiveTest, NoSuchMember) {
  WriteZip(zip(), {{"profile", "no"}, {"file/other", "no"}});
  ExpectRefused("no file in it");
}

TEST_F(ArchiveTest, NoSuchArchive) { ExpectRefused("not a zip archive"); }

TEST_F(ArchiveTest, NotAnArchive) {
  ASSERT_TRUE(WriteFileAtomic(zip(), "<html>this page is not a zip</html>"));
  ExpectRefused("not a zip archive");
  ASSERT_TRUE(WriteFileAtomic(zip(), ""));
  ExpectRefused("");
}

TEST_F(ArchiveTest, EveryTruncationIsAnErrorOrTheWholeFile) {
  std::string content;
  for (int i = 0; i < 300; ++i) content += std::to_string(i * i);
  content.resize(900);
  WriteZip(zip(), {{"file", content}});
  const std::string whole = *ReadFile(zip());
  int refused = 0;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    Overwrite(zip(), std::string_view(whole).substr(0, size));
    const auto status = ExtractMember(zip(), "file", target(), 1000);
    EXPECT_EQ(Target(), status ? content : "what was there before") << size;
    refused += status ? 0 : 1;
    Overwrite(target(), "what was there before");
  }
  EXPECT_GT(refused, 300);
}

TEST_F(ArchiveTest, AFlippedBitInTheDataIsAnError) {
  WriteZip(zip(), {{"file", std::string(900, 'x')}}, "zip:compression=store");
  std::string bytes = *ReadFile(zip());
  bytes[bytes.find("xxxx") + 100] ^= 1;
  ASSERT_TRUE(WriteFileAtomic(zip(), bytes));
  ExpectRefused("damaged");
}

TEST_F(ArchiveTest, ABombIsCutAtTheLimit) {
  WriteZip(zip(), {{"file", std::string(64 << 20, '\0')}});
  ASSERT_LT(fs::file_size(zip()), 1u << 20);
  ExpectRefused("longer than the 1000 bytes");
  WriteZip(zip(), {{"file", std::string(1001, 'x')}}, "zip:compression=store");
  ExpectRefused("longer than the 1000 bytes");
}

TEST_F(ArchiveTest, NamesThatLeadOutAreRefused) {
  for (const char* name : {"../file", "/file", "folder/../../file", ".."}) {
    WriteZip(zip(), {{name, "hostile"}, {"file", "fine"}});
    ExpectRefused("points outside");
  }
}

TEST_F(ArchiveTest, ALinkIsNotAFile) {
  WriteZip(zip(), {{"file", "/etc/hostname", true}});
  ExpectRefused("is not a file");
}

TEST_F(ArchiveTest, AnEncryptedFileIsAnError) {
  WriteZip(zip(), {{"file", "secret"}}, "zip:encryption=zipcrypt");
  ExpectRefused("damaged");
}

TEST_F(ArchiveTest, ATargetThatCannotBeWritten) {
  WriteZip(zip(), {{"file", "fine"}});
  const auto status = ExtractMember(zip(), "file", folder_ / "missing" / "target", 1000);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInput);
}

TEST_F(ArchiveTest, AnInterruptEndsIt) {
  WriteZip(zip(), {{"file", "fine"}});
  g_interrupted = true;
  ExpectRefused("interrupted", ErrorCode::kInterrupted);
}

}  // namespace
}  // namespace marlin
