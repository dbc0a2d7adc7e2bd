// Calibration on a tiny checkpoint: statistics, their files, merging, and the walk layer by layer.
#include "quantize/calibrate.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/rng.h"
#include "formats/formats.h"
#include "kernels/test_device.h"
#include "model/test_description.h"
#include "quantize/layer_store.h"
#include "quantize/layer_walk.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

class Calibrate : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "marlin-calibrate-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    backend_ = TestCpu(2);
    auto checkpoint = OpenCheckpoint(fs::path(MARLIN_SOURCE_DIR) / "src/model/testdata/tiny-llama");
    ASSERT_TRUE(checkpoint.ok());
    checkpoint_ = std::move(*checkpoint);
    auto model = LoadModel(checkpoint_, *backend_);
    ASSERT_TRUE(model.ok());
    model_ = std::move(*model);
    Rng rng(3);
    for (int i = 0; i < 200; ++i) {
      stream_.tokens.push_back(static_cast<std::int32_t>(rng.Below(model_.description.vocab_size)));
    }
  }
  void TearDown() override { fs::remove_all(folder_); }

  ModelStatistics Collect(bool gram, std::size_t windows = 6) const {
    auto statistics = CollectStatistics(
        model_, stream_, gram,
        EmptyStatistics(model_.description, {"model", "tokenizer", "text", "hash", 20, windows, 0}), {});
    EXPECT_TRUE(statistics.ok()) << statistics.error().message;
    return std::move(*statistics);
  }

  static void ExpectEqual(const ModelStatistics& a, const ModelStatistics& b) {
    ASSERT_EQ(a.blocks.size(), b.blocks.size());
    for (std::size_t layer = 0; layer < a.blocks.size(); ++layer) {
      for (std::size_t i = 0; i < a.blocks[layer].size(); ++i) {
        EXPECT_EQ(a.blocks[layer][i].tokens, b.blocks[layer][i].tokens);
        EXPECT_EQ(a.blocks[layer][i].sum_squares, b.blocks[layer][i].sum_squares);
        EXPECT_EQ(a.blocks[layer][i].sum_abs, b.blocks[layer][i].sum_abs);
        EXPECT_EQ(a.blocks[layer][i].max_abs, b.blocks[layer][i].max_abs);
        EXPECT_EQ(a.blocks[layer][i].gram, b.blocks[layer][i].gram);
      }
    }
  }

  fs::path folder_;
  std::unique_ptr<Backend> backend_;
  Checkpoint checkpoint_;
  Model model_;
  TokenStream stream_;
};

TEST(SpreadWindows, CoverTheTextEvenly) {
  EXPECT_EQ(*SpreadWindows(1000, 100, 10), (std::vector<std::size_t>{0, 100, 200, 300, 400, 500, 600, 700, 800, 900}));
  EXPECT_EQ(*SpreadWindows(1000, 100, 4), (std::vector<std::size_t>{0, 300, 600, 900}));
  EXPECT_EQ(SpreadWindows(599, 100, 128)->size(), 5u) << "all there are";
  const auto few = SpreadWindows(399, 100, 128);
  ASSERT_FALSE(few.ok());
  EXPECT_EQ(few.error().code, ErrorCode::kInput);
  EXPECT_NE(few.error().message.find("399 tokens"), std::string::npos);
  EXPECT_NE(SpreadWindows(5000, 100, 2).error().message.find("more windows"), std::string::npos);
}

TEST_F(Calibrate, SeesEveryInputOfEveryLayer) {
  const ModelStatistics statistics = Collect(true);
  ASSERT_EQ(statistics.blocks.size(), model_.description.blocks.size());
  EXPECT_EQ(statistics.source.seen, 6u);
  const Block& block = model_.description.blocks[0];
  for (const BlockStatistics& layer : statistics.blocks) {
    for (std::size_t i = 0; i < layer.size(); ++i) {
      EXPECT_EQ(layer[i].tokens, 120u);
      EXPECT_EQ(layer[i].channels(), block.FirstOf(block.inputs[i]).cols);
      for (std::size_t c = 0; c < layer[i].channels(); ++c) {
        EXPECT_NEAR(layer[i].gram[c * layer[i].channels() + c] / layer[i].sum_squares[c], 1, 1e-5);
        EXPECT_LE(layer[i].sum_abs[c], 120 * layer[i].max_abs[c] * (1 + 1e-6));
      }
    }
  }
}

TEST_F(Calibrate, ThreadsAndInterruptionsChangeNoBit) {
  const ModelStatistics want = Collect(true);
  const auto one = TestCpu(1);
  const auto model = LoadModel(checkpoint_, *one);
  ASSERT_TRUE(model.ok());
  ModelStatistics statistics = EmptyStatistics(model->description, want.source);
  const fs::path file = folder_ / "part";
  // Saved, stopped and read again after every window.
  for (int run = 0; run < 6; ++run) {
    const auto stop = [&](ModelGatherer& so_far) -> Status {
      EXPECT_TRUE(so_far.Write(file).ok());
      return Error{ErrorCode::kInterrupted, "stop"};
    };
    EXPECT_FALSE(CollectStatistics(*model, stream_, true, statistics, stop).ok());
    auto read = ReadStatistics(file);
    ASSERT_TRUE(read.ok()) << read.error().message;
    EXPECT_EQ(read->source.seen, static_cast<std::size_t>(run) + 1);
    statistics = std::move(*read);
  }
  ExpectEqual(statistics, want);
}

TEST_F(Calibrate, FilesOfOtherModelsAndDamageAreRefused) {
  const ModelStatistics statistics = Collect(false);
  const fs::path file = folder_ / "stats";
  ASSERT_TRUE(WriteStatistics(statistics, file).ok());
  EXPECT_TRUE(CheckBelongs(statistics, model_.description, "model", "tokenizer").ok());
  EXPECT_EQ(CheckBelongs(statistics, model_.description, "other", "tokenizer").error().code, ErrorCode::kInput);
  EXPECT_EQ(CheckBelongs(statistics, model_.description, "model", "other").error().code, ErrorCode::kInput);
  Description wider = model_.description;
  wider.blocks[1].matrices[kDownMatrix].cols += 8;
  const auto shape = CheckBelongs(statistics, wider, "model", "tokenizer");
  ASSERT_FALSE(shape.ok());
  EXPECT_NE(shape.error().message.find("mlp.down_proj"), std::string::npos) << shape.error().message;

  const std::string good = *ReadFile(file);
  std::string bad = good;
  bad[bad.size() - 5] = static_cast<char>(bad[bad.size() - 5] ^ 1);
  ASSERT_TRUE(WriteFileAtomic(file, bad).ok());
  EXPECT_EQ(ReadStatistics(file).error().code, ErrorCode::kCorrupt);
  ASSERT_TRUE(WriteFileAtomic(file, good.substr(0, good.size() - 40)).ok());
  EXPECT_EQ(ReadStatistics(file).error().code, ErrorCode::kInput);
  const auto model = ReadStatistics(fs::path(MARLIN_SOURCE_DIR) / "src/model/testdata/tiny-llama/model.safetensors");
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.error().message.find("metal-marlin calibrate"), std::string::npos);
}

TEST_F(Calibrate, MergedRunsAreTheirSum) {
  ModelStatistics both = Collect(true, 4);
  const ModelStatistics other = Collect(true, 6);
  ASSERT_TRUE(Merge(both, other).ok());
  EXPECT_EQ(both.source.seen, 10u);
  EXPECT_EQ(both.source.text_name, "text + text");
  EXPECT_EQ(both.blocks[1][2].tokens, 200u);
  EXPECT_DOUBLE_EQ(both.blocks[1][2].sum_squares[3],
                   Collect(true, 4).blocks[1][2].sum_squares[3] + other.blocks[1][2].sum_squares[3]);
  ModelStatistics foreign = other;
  foreign.source.model_sha256 = "other";
  EXPECT_EQ(Merge(both, foreign).error().code, ErrorCode::kInput);
  EXPECT_EQ(Merge(both, Collect(false)).error().code, ErrorCode::kUsage);
}

TEST_F(Calibrate, AWalkOverUnchangedLayersSeesWhatTheModelSees) {
  const ModelStatistics want = Collect(true);
  const CalibrationWindows windows{stream_, *SpreadWindows(stream_.tokens.size(), 20, 6), 20, "text", "hash"};
  ThreadPool pool(2);
  const auto source = SourceTensors::Create(checkpoint_, model_.description, std::nullopt, pool);
  auto walk = LayerWalk::Create(*source, *backend_, windows);
  ASSERT_TRUE(walk.ok());
  ModelStatistics got = EmptyStatistics(model_.description, want.source);
  for (auto& layer : got.blocks) {
    auto observed = walk->Observe(true, {});
    ASSERT_TRUE(observed.ok()) << observed.error().message;
    layer = std::move(*observed);
    ASSERT_TRUE(walk->Advance({}, {}).ok());
  }
  ExpectEqual(got, want);
}

TEST_F(Calibrate, AWalkShowsLaterLayersWhatQuantizedOnesGive) {
  const CalibrationWindows windows{stream_, *SpreadWindows(stream_.tokens.size(), 20, 6), 20, "text", "hash"};
  ThreadPool pool(2);
  const auto source = SourceTensors::Create(checkpoint_, model_.description, std::nullopt, pool);
  auto walk = LayerWalk::Create(*source, *backend_, windows);
  ASSERT_TRUE(walk.ok());
  const auto stored = FindWeight(checkpoint_, "model.layers.0.mlp.down_proj");
  ASSERT_TRUE(stored.ok());
  std::vector<float> weights(stored->rows * stored->cols);
  ASSERT_TRUE(DecodeRows(*stored->tensor, 0, {weights.data(), stored->rows, stored->cols}).ok());
  EncodedLayer made;
  made.emplace("model.layers.0.mlp.down_proj",
               Encode(*FindFormat("fp4-g32"), {weights.data(), stored->rows, stored->cols}));
  ASSERT_TRUE(walk->Advance(made, {}).ok());
  const auto next = walk->Observe(false, {});
  ASSERT_TRUE(next.ok());
  const ModelStatistics exact = Collect(false);
  EXPECT_NE((*next)[0].sum_squares, exact.blocks[1][0].sum_squares);
  EXPECT_NEAR((*next)[0].sum_squares[0] / exact.blocks[1][0].sum_squares[0], 1, 0.3);
}

// Wherever it is.
std::vector<float> GramOf(Backend& backend, const ObservedInput& observed) {
  if (observed.gram == nullptr) return observed.statistics.gram;
  const std::size_t k = observed.statistics.channels();
  return Values(backend, View(observed.gram, k, k));
}

// Every part of every layer is rounded before the next input is seen.
TEST_F(Calibrate, RunningBlocksAgainGivesTheBitsOfKeptActivations) {
  const CalibrationWindows windows{stream_, *SpreadWindows(stream_.tokens.size(), 20, 6), 20, "text", "hash"};
  ThreadPool pool(2);
  const auto source = SourceTensors::Create(checkpoint_, model_.description, std::nullopt, pool);
  auto kept = LayerWalk::Create(*source, *backend_, windows, Between::kKept);
  auto again = LayerWalk::Create(*source, *backend_, windows, Between::kRunAgain);
  ASSERT_TRUE(kept.ok() && again.ok());
  for (const Block& block : model_.description.blocks) {
    for (std::size_t input = 0; input < block.inputs.size(); ++input) {
      const auto want = kept->ObserveInput(input, true, {});
      const auto got = again->ObserveInput(input, true, {});
      ASSERT_TRUE(want.ok() && got.ok());
      EXPECT_EQ(got->statistics.sum_squares, want->statistics.sum_squares);
      EXPECT_EQ(GramOf(*backend_, *got), GramOf(*backend_, *want));
      EncodedLayer made;
      for (const std::size_t m : block.inputs[input].matrices) {
        const Matrix& matrix = block.matrices[m];
        const auto values = source->Values(matrix.name + ".weight");
        ASSERT_TRUE(values.ok());
        made.emplace(matrix.name, Encode(*FindFormat("fp4-g32"), {values->data(), matrix.rows, matrix.cols}));
      }
      ASSERT_TRUE(kept->AdvancePart(input, made, {}).ok());
      ASSERT_TRUE(again->AdvancePart(input, made, {}).ok());
    }
  }
}

TEST_F(Calibrate, KeptLayersComeBackUnderTheirKeyOnly) {
  Rng rng(8);
  const FormatRow& format = *FindFormat("int4-g64");
  EncodedLayer layer;
  std::map<std::string, MatrixShape> shapes;
  for (const std::size_t m : {kQMatrix, kDownMatrix}) {
    const Matrix& matrix = model_.description.blocks[1].matrices[m];
    const std::size_t n = matrix.rows;
    const std::size_t k = matrix.cols;
    std::vector<float> weights(n * k);
    for (float& w : weights) w = static_cast<float>(rng.Normal());
    layer.emplace(matrix.name, Encode(format, {weights.data(), n, k}));
    shapes[matrix.name] = {&format, n, k};
  }
  const LayerStore store(folder_ / "kept", "key", "arithmetic");
  EXPECT_FALSE(store.Load(1, shapes)->has_value());
  ASSERT_TRUE(store.Save(1, layer).ok());
  const auto found = store.Load(1, shapes);
  ASSERT_TRUE(found.ok() && found->has_value());
  const EncodedLayer& back = **found;
  for (const auto& [name, matrix] : layer) {
    EXPECT_EQ(back.at(name).codes, matrix.codes);
    EXPECT_EQ(back.at(name).scales, matrix.scales);
    EXPECT_EQ(back.at(name).zero_points, matrix.zero_points);
  }
  EXPECT_FALSE(LayerStore(folder_ / "kept", "other key", "arithmetic").Load(1, shapes)->has_value());
  const auto mixed = LayerStore(folder_ / "kept", "key", "another one").Load(1, shapes);
  ASSERT_FALSE(mixed.ok()) << "layers of two arithmetics never meet in one model";
  for (const char* word : {"layer-00001", "\"arithmetic\"", "\"another one\"", "--isa"}) {
    EXPECT_NE(mixed.error().message.find(word), std::string::npos) << mixed.error().message;
  }
  shapes["model.layers.1.self_attn.q_proj"].format = FindFormat("int4-g128");
  EXPECT_FALSE(store.Load(1, shapes)->has_value()) << "another format";
  store.Remove();
  EXPECT_FALSE(fs::exists(folder_ / "kept"));
}

}  // namespace
}  // namespace marlin
