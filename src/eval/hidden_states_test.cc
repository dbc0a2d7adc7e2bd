#include "eval/hidden_states.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <vector>

#include "eval/divergence.h"
#include "eval/test_models.h"
#include "kernels/test_device.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

class HiddenStates : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    auto writer = HiddenStatesWriter::Create(path_, id_);
    ASSERT_TRUE(writer.ok());
    const auto keep = [&](std::span<const float> hidden) { return writer->Add(hidden); };
    const auto result = EvaluatePerplexity(base_, stream_, {kCtx, 3}, {}, keep);
    ASSERT_TRUE(result.ok()) << result.error().message;
    EXPECT_FALSE(fs::exists(path_)) << "nothing is visible before it is whole";
    ASSERT_TRUE(writer->Commit().ok());
    EXPECT_EQ(fs::file_size(path_), HiddenStatesBytes(id_));
  }
  void TearDown() override { fs::remove_all(folder_); }

  void ExpectRefused(const HiddenStatesId& id, const std::string& word) const {
    const auto reader = HiddenStatesReader::Open(path_, id);
    ASSERT_FALSE(reader.ok());
    EXPECT_EQ(reader.error().code, ErrorCode::kInput);
    EXPECT_NE(reader.error().message.find(word), std::string::npos) << reader.error().message;
    EXPECT_NE(reader.error().message.find("base.hidden"), std::string::npos);
  }

  // Tests run at once, each in its own folder.
  const fs::path folder_ =
      fs::path(testing::TempDir()) /
      (std::string("marlin_hidden_states_") + testing::UnitTest::GetInstance()->current_test_info()->name());
  const fs::path path_ = folder_ / "base.hidden";
  const HiddenStatesId id_{"model", "tokenizer", "text", "program", kCtx, 3, 8};
  const std::unique_ptr<Backend> backend_ = TestCpu(2);
  const Model base_ = MakeModel(*backend_, kVocab, 8, 2, 1);
  const TokenStream stream_ = RandomStream(64, kVocab);
};

// A device that multiplies many tokens at once may choose its kernels by their number: last bits differ then.
void ExpectSame(const Backend& backend, const std::vector<double>& got, const std::vector<double>& want) {
  if (backend.tokens_at_once() == 1) {
    EXPECT_EQ(got, want);
    return;
  }
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5 * std::abs(want[i]));
}

TEST_F(HiddenStates, GiveTheNumbersOfTheRunningBaseline) {
  const Model model = MakeModel(*backend_, kVocab, 8, 2, 9);
  auto session = Session::Create(base_, kCtx, kCtx);
  ASSERT_TRUE(session.ok());
  const auto running = EvaluateDivergence(model, RunningBaseline(base_, *session), stream_, {kCtx, 3}, {});
  ASSERT_TRUE(running.ok());
  const auto reader = HiddenStatesReader::Open(path_, id_);
  ASSERT_TRUE(reader.ok()) << reader.error().message;
  const Baseline kept{HeadOf(base_.description, base_.head()), backend_.get(),
                      [&](std::size_t window, std::span<const std::int32_t>, std::span<float> hidden) {
                        return reader->Read(window, hidden);
                      }};
  const auto cached = EvaluateDivergence(model, kept, stream_, {kCtx, 3}, {});
  ASSERT_TRUE(cached.ok()) << cached.error().message;
  ExpectSame(*backend_, cached->token_kl, running->token_kl);
  ExpectSame(*backend_, cached->base.window_nll, running->base.window_nll);
  ExpectSame(*backend_, cached->other.window_nll, running->other.window_nll);
}

TEST_F(HiddenStates, ForeignFilesAreNotUsed) {
  HiddenStatesId other = id_;
  other.model_sha256 = "model2";
  ExpectRefused(other, "another model");
  other = id_;
  other.windows = 2;
  ExpectRefused(other, "another model");
  ASSERT_TRUE(WriteFileAtomic(path_, "something else").ok());
  ExpectRefused(id_, "another model");
  fs::remove(path_);
  ExpectRefused(id_, "base.hidden");
}

TEST_F(HiddenStates, TruncatedFilesAreNotUsed) {
  const std::string whole = *ReadFile(path_);
  for (const std::size_t size : {whole.size() - 1, whole.size() / 2, kHiddenStatesHeader}) {
    ASSERT_TRUE(WriteFileAtomic(path_, whole.substr(0, size)).ok());
    ExpectRefused(id_, "bytes");
  }
  ASSERT_TRUE(WriteFileAtomic(path_, whole + "x").ok());
  ExpectRefused(id_, "bytes");
}

TEST_F(HiddenStates, AFlippedBitIsFound) {
  std::string bytes = *ReadFile(path_);
  bytes[bytes.size() - 200] = static_cast<char>(bytes[bytes.size() - 200] ^ 1);
  ASSERT_TRUE(WriteFileAtomic(path_, bytes).ok());
  const auto reader = HiddenStatesReader::Open(path_, id_);
  ASSERT_TRUE(reader.ok());
  std::vector<float> hidden(kCtx * 8);
  EXPECT_TRUE(reader->Read(0, hidden).ok());
  const auto status = reader->Read(2, hidden);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(status.error().message.find("window 3"), std::string::npos) << status.error().message;
}

TEST_F(HiddenStates, AnUnfinishedFileLeavesNothing) {
  const fs::path path = folder_ / "unfinished.hidden";
  {
    auto writer = HiddenStatesWriter::Create(path, id_);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->Add(std::vector<float>(kCtx * 8)).ok());
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace marlin
