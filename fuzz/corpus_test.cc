// The corpus of every fuzz target, run once. The name of a file says what the parser has to say of it:
// "accepted-...", or the kind of its error: "invalid-...", "unsupported-...".
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz/target_list.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

constexpr std::pair<std::string_view, int> kResults[] = {
    {"accepted", 0},
    {"invalid", static_cast<int>(ErrorCode::kInput)},
    {"resource", static_cast<int>(ErrorCode::kResource)},
    {"unsupported", static_cast<int>(ErrorCode::kUnsupported)},
    {"corrupt", static_cast<int>(ErrorCode::kCorrupt)},
    {"numerical", static_cast<int>(ErrorCode::kNumerical)},
};

class FuzzCorpus : public testing::TestWithParam<FuzzTarget> {};

TEST_P(FuzzCorpus, GivesTheResultsThatItsNamesSay) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(fs::path(MARLIN_SOURCE_DIR) / "fuzz/corpus" / GetParam().name)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  ASSERT_FALSE(files.empty());
  for (const fs::path& path : files) {
    const std::string name = path.filename().string();
    SCOPED_TRACE(name);
    const auto wanted = std::find_if(std::begin(kResults), std::end(kResults),
                                     [&](const auto& row) { return row.first == name.substr(0, name.find('-')); });
    ASSERT_NE(wanted, std::end(kResults)) << "a name begins with a result";
    std::ifstream stream(path, std::ios::binary);
    const std::vector<char> bytes(std::istreambuf_iterator<char>(stream), {});
    const Status status = GetParam().run({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
    EXPECT_EQ(status.ok() ? 0 : static_cast<int>(status.error().code), wanted->second)
        << (status.ok() ? "accepted" : status.error().message);
  }
}

INSTANTIATE_TEST_SUITE_P(All, FuzzCorpus, testing::ValuesIn(kFuzzTargets),
                         [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace marlin
