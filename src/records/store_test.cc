#include "records/store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "records/import_results.h"
#include "records/record_json.h"
#include "records/test_imports.h"
#include "records/test_records.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

class Store : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ("store-" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void Put(const std::string& name, const std::string& text) {
    const Status written = WriteFileAtomic(folder_ / name, text);
    ASSERT_TRUE(written.ok()) << written.error().message;
  }
  LoadedRecords Load() { return std::move(*LoadRecords(folder_)); }
  // The one warning that names the file; "" when there is none.
  static std::string WarningAbout(const LoadedRecords& loaded, const std::string& file) {
    for (const std::string& warning : loaded.warnings) {
      if (warning.starts_with(file + ": ")) return warning;
    }
    return "";
  }

  fs::path folder_;
};

TEST_F(Store, SavedRecordsComeBack) {
  const std::vector<StoredRecord> records = test::SevenRecords();
  for (const StoredRecord& stored : records) {
    const Result<fs::path> path = SaveRecord(folder_, stored.record);
    ASSERT_TRUE(path.ok()) << path.error().message;
    EXPECT_EQ(path->filename(), stored.file);
  }
  const LoadedRecords loaded = Load();
  EXPECT_EQ(loaded.records.size(), records.size());
  EXPECT_TRUE(loaded.warnings.empty()) << loaded.warnings.front();
}

ExternalRecord SomeExternal() {
  return (*ImportResults(test::LlamaBenchJson(), "b.json", "b.json", "metal-marlin report import b.json"))[0];
}

// Analyze, which ranks and plots read from, gets `records` alone.
TEST_F(Store, ExternalRecordsStandApart) {
  ASSERT_TRUE(SaveRecord(folder_, test::SevenRecords()[0].record).ok());
  const Result<fs::path> path = SaveRecord(folder_, SomeExternal());
  ASSERT_TRUE(path.ok()) << path.error().message;
  EXPECT_TRUE(path->filename().string().starts_with("tiny-Q4_K_M.gguf-external-llama-bench-")) << *path;
  ASSERT_TRUE(SaveRecord(folder_, SomeExternal()).ok()) << "the same file again";
  const LoadedRecords loaded = Load();
  EXPECT_EQ(loaded.records.size(), 1u);
  ASSERT_EQ(loaded.external.size(), 1u);
  EXPECT_EQ(loaded.external[0].file, path->filename());
  EXPECT_TRUE(loaded.warnings.empty()) << loaded.warnings[0];
}

TEST_F(Store, OfACopiedImportOneStays) {
  const Result<fs::path> path = SaveRecord(folder_, SomeExternal());
  ASSERT_TRUE(path.ok()) << path.error().message;
  fs::copy_file(*path, folder_ / "zzz.json");
  const std::string text = *ReadFile(*path);
  Put("cut.json", text.substr(0, text.size() / 2));
  const LoadedRecords loaded = Load();
  EXPECT_EQ(loaded.external.size(), 1u);
  EXPECT_NE(WarningAbout(loaded, "zzz.json").find("holds the same import"), std::string::npos);
  EXPECT_NE(WarningAbout(loaded, "cut.json").find("cut off"), std::string::npos);
}

TEST_F(Store, TheFolderIsMadeOnSave) {
  const fs::path deep = folder_ / "a" / "b";
  ASSERT_TRUE(SaveRecord(deep, test::SevenRecords()[0].record).ok());
  EXPECT_EQ(LoadRecords(deep)->records.size(), 1u);
}

TEST_F(Store, AMissingFolderIsAnErrorAndAnEmptyOneIsNot) {
  const Result<LoadedRecords> missing = LoadRecords(folder_ / "nowhere");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Load().records.empty());
}

TEST_F(Store, BrokenFilesAreNamedAndTheOthersStay) {
  const Record good = test::SevenRecords()[1].record;
  ASSERT_TRUE(SaveRecord(folder_, good).ok());
  const std::string text = *ToJson(good);
  Put("empty.json", "");
  Put("truncated.json", text.substr(0, text.size() / 2));
  Put("foreign.json", R"({"results": [], "config": {}, "timestamp": "now"})");
  Put("list.json", "[]");
  Put("binary.json", std::string("\0\1\2\xff", 4));
  fs::create_directory(folder_ / "folder.json");
  fs::create_symlink("nowhere", folder_ / "dangling.json");
  ASSERT_EQ(::mkfifo((folder_ / "pipe.json").c_str(), 0600), 0);
  Put("notes.txt", "not looked at");
  Put(".hidden.json", "not looked at");

  const LoadedRecords loaded = Load();
  ASSERT_EQ(loaded.records.size(), 1u);
  EXPECT_EQ(loaded.records[0].record.id, good.id);
  for (const char* name : {"empty.json", "truncated.json", "foreign.json", "list.json", "binary.json", "folder.json",
                           "dangling.json", "pipe.json"}) {
    EXPECT_NE(WarningAbout(loaded, name), "") << name;
  }
  EXPECT_EQ(loaded.warnings.size(), 8u);
}

TEST_F(Store, OfTwoRecordsWithOneKeyTheNewerWins) {
  Record older = test::SevenRecords()[1].record;
  Record newer = older;
  newer.id = "fedcba987654";
  newer.created = "2025-03-02T10:00:00Z";
  const std::string older_file = SaveRecord(folder_, older)->filename().string();
  ASSERT_TRUE(SaveRecord(folder_, newer).ok());
  const LoadedRecords loaded = Load();
  ASSERT_EQ(loaded.records.size(), 1u);
  EXPECT_EQ(loaded.records[0].record.id, newer.id);
  EXPECT_NE(WarningAbout(loaded, older_file).find("newer"), std::string::npos);
}

TEST_F(Store, ASummaryThatTheRawDataDoNotGiveIsWarnedAbout) {
  const Record record = test::SevenRecords()[1].record;
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(*ToJson(record));
  json["summary"]["perplexity"] = 1.5;
  Put("touched.json", json.dump());
  const LoadedRecords loaded = Load();
  ASSERT_EQ(loaded.records.size(), 1u);
  EXPECT_NE(WarningAbout(loaded, "touched.json").find("summary.perplexity is 1.5"), std::string::npos);
}

// A figure that older files repeat and this program does not is not compared.
TEST_F(Store, RecordsOfVersion1AreRead) {
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(*ToJson(test::SevenRecords()[1].record));
  json["version"] = 1;
  json["summary"]["delta_percent"] = 0.0;
  Put("old.json", json.dump());
  json["version"] = 3;
  Put("new.json", json.dump());
  const LoadedRecords loaded = Load();
  ASSERT_EQ(loaded.records.size(), 1u);
  EXPECT_EQ(loaded.records[0].file, "old.json");
  EXPECT_NE(WarningAbout(loaded, "new.json").find("reads versions 1 to 2"), std::string::npos);
  EXPECT_EQ(loaded.warnings.size(), 1u);
}

TEST_F(Store, FilesSayWhatTheyHold) {
  Record record = test::SevenRecords()[1].record;
  EXPECT_TRUE(RecordFileName(record).starts_with("SmolLM2-135M-Instruct-fp4-g32-" + record.id.substr(0, 12)));
  record.perplexity.reset();
  EXPECT_NE(RecordFileName(record).find("-speed-"), std::string::npos);
  record.noise_floor = test::MakeNoiseFloor();
  EXPECT_NE(RecordFileName(record).find("-noise-floor-"), std::string::npos);
}

TEST_F(Store, FileNamesAreTame) {
  Record record = test::SevenRecords()[1].record;
  record.model.name = "../../evil/na me\n|`$(x)";
  record.config.id = "fp4/g128";
  const std::string name = RecordFileName(record);
  EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"),
            std::string::npos)
      << name;
  EXPECT_FALSE(name.starts_with('.'));
  record.model.name = std::string(10'000, 'x');
  EXPECT_LT(RecordFileName(record).size(), 160u);
  const Result<fs::path> path = SaveRecord(folder_, record);
  ASSERT_TRUE(path.ok());
  EXPECT_EQ(path->parent_path(), folder_);
}

TEST_F(Store, AFolderThatCannotBeWrittenIsAnError) {
  Put("file", "in the way");
  const Result<fs::path> path = SaveRecord(folder_ / "file" / "results", test::SevenRecords()[0].record);
  ASSERT_FALSE(path.ok());
  EXPECT_EQ(path.error().code, ErrorCode::kInput);
}

}  // namespace
}  // namespace marlin
