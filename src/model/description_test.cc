// The descriptions of all families against the tensors that Hugging Face transformers stores for them
// (tools/list_state_dicts.py): the same names and shapes, every element used exactly once, and what each input reads.
#include "model/description.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/file.h"
#include "model/families/family.h"
#include "model/runnable.h"

namespace marlin {
namespace {
namespace fs = std::filesystem;

const fs::path kFolder = MARLIN_SOURCE_DIR "/src/model/testdata/state_dicts";

class DescriptionTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const auto config = ReadFile(kFolder / GetParam() / "config.json");
    ASSERT_TRUE(config.ok());
    const auto settings = nlohmann::json::parse(*config);
    const auto family = FindFamily(settings);
    ASSERT_TRUE(family.ok()) << family.error().message;
    const Config config_of(settings);
    auto description = (*family)->describe(config_of);
    ASSERT_TRUE(description.ok()) << description.error().message;
    d_ = *std::move(description);
  }
  Description d_;
};

TEST_P(DescriptionTest, ListsTheTensorsOfItsFiles) {
  std::vector<std::string> lines;
  for (const StoredTensor& tensor : d_.tensors) {
    std::string line = tensor.name;
    for (const std::size_t axis : tensor.shape) line += fmt::format(" {}", axis);
    lines.push_back(line);
  }
  std::ranges::sort(lines);
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  EXPECT_EQ(text, *ReadFile(kFolder / GetParam() / "tensors.txt"));
}

// How often each element of each tensor is used.
class Uses {
 public:
  explicit Uses(const Description& d) : d_(d) {
    for (const StoredTensor& tensor : d.tensors) {
      std::size_t size = 1;
      for (const std::size_t axis : tensor.shape) size *= axis;
      counts_.emplace_back(size, 0);
    }
  }
  // n rows of k elements, or n elements.
  void Add(const Source& source, std::size_t n, std::size_t k) {
    std::vector<std::size_t> shape = d_.tensors[source.tensor].shape;
    std::size_t begin = 0;
    if (source.expert) {
      std::size_t size = 1;
      for (std::size_t i = 1; i < shape.size(); ++i) size *= shape[i];
      begin = *source.expert * size;
      shape.erase(shape.begin());
    }
    const std::size_t rows = source.transposed ? shape[1] : n;  // stored [k, rows] where transposed
    for (std::size_t r = 0; r < n; ++r) {
      for (std::size_t c = 0; c < k; ++c) {
        const std::size_t row = source.rows.At(r);
        ++counts_[source.tensor].at(begin + (source.transposed ? c * rows + row : row * k + c));
      }
    }
  }
  void AddAll(const Parts& parts) {
    for (const Matrix& matrix : parts.matrices) {
      Add(matrix.source, matrix.rows, matrix.cols);
      if (matrix.bias) Add(*matrix.bias, matrix.rows, 1);
    }
    for (const Vector& vector : parts.vectors) Add(vector.source, vector.size, 1);
  }
  const std::vector<std::vector<int>>& counts() const { return counts_; }

 private:
  const Description& d_;
  std::vector<std::vector<int>> counts_;
};

TEST_P(DescriptionTest, UsesEveryElementOnce) {
  Uses uses(d_);
  uses.AddAll(d_);
  for (const Block& block : d_.blocks) uses.AddAll(block);
  for (std::size_t t = 0; t < d_.tensors.size(); ++t) {
    EXPECT_TRUE(std::ranges::all_of(uses.counts()[t], [](int count) { return count == 1; })) << d_.tensors[t].name;
  }
}

TEST_P(DescriptionTest, EveryMatrixOfABlockReadsOneInput) {
  for (const Block& block : d_.blocks) {
    std::vector<int> readers(block.matrices.size(), 0);
    for (const Input& input : block.inputs) {
      ASSERT_FALSE(input.matrices.empty());
      for (const std::size_t m : input.matrices) {
        ++readers.at(m);
        EXPECT_EQ(block.matrices[m].cols, block.matrices[input.matrices[0]].cols) << block.matrices[m].name;
      }
    }
    for (std::size_t m = 0; m < readers.size(); ++m) EXPECT_EQ(readers[m], 1) << block.matrices[m].name;
  }
}

TEST_P(DescriptionTest, AbsorbersHaveAPlaceForEveryChannel) {
  for (const Block& block : d_.blocks) {
    for (const Input& input : block.inputs) {
      if (!input.absorber) continue;
      const std::size_t channels = block.matrices[input.matrices[0]].cols;
      if (input.absorber->kind == Absorber::Kind::kNorm) {
        const Norm& norm = block.norms.at(input.absorber->index);
        ASSERT_TRUE(norm.weight.has_value());
        EXPECT_EQ(block.vectors.at(*norm.weight).size, channels);
        continue;
      }
      const Matrix& matrix = block.matrices.at(input.absorber->index);
      std::vector<int> times(matrix.rows, 0);
      for (std::size_t j = 0; j < channels; ++j) ++times.at(input.absorber->RowOf(j));
      EXPECT_TRUE(std::ranges::all_of(times, [&](int t) { return t == static_cast<int>(input.absorber->repeat); }));
    }
  }
}

std::string Short(const std::string& name, const std::string& stem) {
  return name.starts_with(stem) ? name.substr(stem.size()) : name;
}

std::string Words(const Description& d, const Block& block, const std::string& stem) {
  std::string text;
  for (const Input& input : block.inputs) {
    text += input.expert ? fmt::format("  expert {}:", *input.expert) : " ";
    for (const std::size_t m : input.matrices) {
      text += " " + Short(block.matrices[m].name, stem) + (block.matrices[m].keep_16_bits ? " (16 bits)" : "");
    }
    if (!input.absorber) {
      text += " <- none\n";
    } else if (input.absorber->kind == Absorber::Kind::kNorm) {
      const Norm& norm = block.norms[input.absorber->index];
      text += " <- " + Short(d.tensors[block.vectors[*norm.weight].source.tensor].name, stem) +
              (norm.plus_one ? " + 1" : "") + "\n";
    } else {
      text += fmt::format(" <- rows of {}, each {} x\n", Short(block.matrices[input.absorber->index].name, stem),
                          input.absorber->repeat);
    }
  }
  const auto* attention = std::get_if<Attention>(&block.mixer);
  if (attention != nullptr && !attention->k) text += fmt::format("  keys and values of cache {}\n", attention->cache);
  if (block.token_input) text += "  reads the token's own embedding\n";
  if (block.parallel) text += "  parts side by side\n";
  return text;
}

// inputs.txt was checked by hand against the models' own code.
TEST_P(DescriptionTest, InputsAbsorbersAndSideInputs) {
  std::string text;
  for (std::size_t i = 0; i < d_.blocks.size(); ++i) {
    const std::string& first = d_.blocks[i].matrices[0].name;
    const std::string number = fmt::format(".{}.", i);
    const std::string stem = first.substr(0, first.find(number) + number.size());
    text += fmt::format("block {}\n{}", i, Words(d_, d_.blocks[i], stem));
  }
  const auto want = ReadFile(kFolder / GetParam() / "inputs.txt");
  EXPECT_EQ(text, want ? *want : "");
}

TEST_P(DescriptionTest, WhatIsNotRunIsRefused) {
  const std::set<std::string> not_run = {"qwen3_5", "gpt_oss", "deepseek_v3"};
  const bool is_run = !not_run.contains(GetParam());
  EXPECT_EQ(CheckRunnable(d_).ok(), is_run);
  if (!is_run) return;
  const auto refuses = [&](const char* part, const std::function<void(Description & d, Block & block)>& change) {
    Description changed = d_;
    change(changed, changed.blocks.back());
    const auto status = CheckRunnable(changed);
    ASSERT_FALSE(status.ok()) << part;
    EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
    EXPECT_EQ(status.error().message, fmt::format("this program cannot run the model's {} yet", part));
  };
  const auto attention = [](Block& block) -> Attention& { return std::get<Attention>(block.mixer); };
  refuses("blocks", [](Description&, Block& block) { block.mixer = DeltaNet(); });
  refuses("blocks", [](Description&, Block& block) { block.feed_forward = Experts(); });
  refuses("blocks", [&](Description&, Block& block) { attention(block).sinks = 0; });
  refuses("blocks", [&](Description&, Block& block) { attention(block).gate = 0; });
  refuses("blocks", [](Description&, Block& block) { std::get<FeedForward>(block.feed_forward).limit = 0.01f; });
  if (d_.ropes.empty()) return;
  refuses("rotary positions", [](Description& d, Block&) { d.ropes[0].dims += 2; });
  refuses("rotary positions", [](Description& d, Block&) { d.ropes[0].scaling.long_frequencies = {0.5f}; });
}

// Every matrix, bias and vector has a tensor of its own, and the parts of stored tensors cover them once.
TEST_P(DescriptionTest, SplittingGivesEveryPartATensorOfItsOwn) {
  const std::size_t parameters = CountParameters(d_);
  const Description stored = d_;
  SplitStored(d_);
  EXPECT_EQ(CountParameters(d_), parameters);
  std::set<std::string> names;
  for (const Parts* parts : AllParts(d_)) {
    for (const Matrix& matrix : parts->matrices) {
      EXPECT_EQ(d_.tensors[matrix.source.tensor].shape, (std::vector<std::size_t>{matrix.rows, matrix.cols}));
      EXPECT_TRUE(names.insert(d_.NameOf(matrix.source)).second) << matrix.name;
      if (!matrix.bias) continue;
      EXPECT_TRUE(names.insert(d_.NameOf(*matrix.bias)).second) << matrix.name;
    }
  }
  for (const SplitTensor& split : d_.splits) {
    EXPECT_TRUE(
        std::ranges::any_of(stored.tensors, [&](const StoredTensor& t) { return t.name == split.stored.name; }));
    EXPECT_FALSE(std::ranges::any_of(d_.tensors, [&](const StoredTensor& t) { return t.name == split.stored.name; }));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, DescriptionTest,
                         testing::Values("llama", "qwen2", "qwen3", "qwen3_5", "gemma4", "gpt_oss", "deepseek_v3",
                                         "phi3", "gpt2", "gpt_neox"),
                         [](const auto& name) { return name.param; });

}  // namespace
}  // namespace marlin
