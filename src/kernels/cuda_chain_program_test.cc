// Programs of chains: how products are divided, and what the steps of a layer read and write. Needs no device.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "kernels/cuda/chain_program.h"

namespace marlin::cuda {
namespace {

TEST(CudaChainDivisor, DividesAsADivisionDoes) {
  for (const int divisor : {1, 2, 3, 7, 16, 56, 100, 132, 511, 512, 513, 7168, 65537, 1 << 21, (1 << 22) - 1}) {
    const ChainDivisor divides(divisor);
    for (int quotient = 0; quotient < 1 << 30; quotient = quotient * 2 + 1) {
      for (int offset = -1; offset <= 1; ++offset) {
        const long long number = static_cast<long long>(quotient) * divisor + offset;
        if (number < 0 || number >= 1 << 30) continue;
        ASSERT_EQ(divides.Divide(static_cast<int>(number)), number / divisor) << number << " / " << divisor;
      }
    }
    for (const int number : {0, 1, 1000003, (1 << 30) - 1}) ASSERT_EQ(divides.Divide(number), number / divisor);
  }
}

TEST(CudaChainDivision, GivesEveryItemOneOwnerInOrder) {
  for (const int panels : {1, 3, 64, 96, 448}) {
    for (const int blocks : {1, 2, 5, 16, 56}) {
      const ChainDivision division = DivideChain(panels, blocks, 132);
      ASSERT_LE(division.workers, 132);
      EXPECT_EQ(division.Begin(0), 0);
      EXPECT_EQ(division.Begin(division.workers), panels * blocks);
      for (int worker = 0; worker < division.workers; ++worker) {
        const int begin = division.Begin(worker), end = division.Begin(worker + 1);
        ASSERT_LT(begin, end) << "a worker without items";
        ASSERT_LE(end - begin, panels * blocks / division.workers + 1);
        for (int item = begin; item < end; ++item) ASSERT_EQ(division.OwnerOf(item), worker);
      }
    }
  }
}

// The slots of a panel are those of its owners, and there are enough of them.
TEST(CudaChainDivision, SpansAreTheOwnersOfAPanel) {
  for (const int panels : {1, 2, 7, 64, 96}) {
    for (const int blocks : {1, 3, 16, 56, 64}) {
      const ChainDivision division = DivideChain(panels, blocks, 132);
      for (int panel = 0; panel < panels; ++panel) {
        std::set<int> owners;
        for (int block = 0; block < blocks; ++block) owners.insert(division.OwnerOf(panel * blocks + block));
        ASSERT_EQ(division.SpansOf(panel), static_cast<int>(owners.size()));
        ASSERT_EQ(division.FirstOwner(panel), *owners.begin());
        ASSERT_LE(division.SpansOf(panel), kMostSpans);
      }
    }
  }
}

TEST(CudaChainDivision, LlamaUsesAllBlocks) {
  EXPECT_EQ(DivideChain(96, 16, 132).workers, 132);
  EXPECT_EQ(DivideChain(64, 16, 132).workers, 132);
  EXPECT_EQ(DivideChain(448, 16, 132).workers, 132);
  EXPECT_EQ(DivideChain(64, 56, 132).workers, 132);
}

TEST(CudaChainDivision, SplitsCoverTheKeysThatAreSeen) {
  for (const int position : {0, 1, 15, 255, 256, 1000, 5000, 100000}) {
    for (const std::size_t window : {std::size_t{0}, std::size_t{1}, std::size_t{300}, std::size_t{4096}}) {
      for (const int heads : {1, 8, 200}) {
        const ChainSplits splits(position, window, heads, 132);
        const bool all = window == 0 || window > static_cast<std::size_t>(position);
        EXPECT_EQ(splits.start, all ? 0 : position + 1 - static_cast<int>(window));
        EXPECT_EQ(splits.keys % 16, 0);
        EXPECT_GE(splits.start + splits.count * splits.keys, position + 1);
        EXPECT_LE(splits.count, std::max(1, 132 / heads));
        EXPECT_TRUE(splits.count == 1 || position + 1 - splits.start > kKeysOfSplit);
      }
    }
  }
}

// The operations of layers of a small model. Nothing is read from the addresses.
class CudaChainProgram : public testing::Test {
 protected:
  static constexpr std::size_t kHidden = 512, kHeads = 8, kKvHeads = 2, kDim = 64, kWide = 1024;

  float* At(std::size_t i) const { return reinterpret_cast<float*>((i + 1) << 20); }
  ChainFactor Factor(std::size_t rows, std::size_t cols, const float* out) const {
    ChainFactor factor;
    factor.weight.format = {FewCoding::kFp4, FewScale::kHalf, 128};
    factor.weight.rows = rows;
    factor.weight.cols = cols;
    factor.out = out;
    return factor;
  }
  std::vector<ChainOperation> Layers(std::size_t count) const {
    const ChainNorm norm = {{At(0), 1, kHidden, kHidden}, At(1), 1e-5f, NormKind::kRms};
    const RopeTables tables = {{At(2), 64, kDim / 2, kDim / 2}, {At(3), 64, kDim / 2, kDim / 2}, false};
    const auto* const position = reinterpret_cast<const std::int32_t*>(At(4));
    std::vector<ChainOperation> out;
    for (std::size_t i = 0; i < count; ++i) {
      const CacheView cache = {At(20 + 2 * i), At(21 + 2 * i), true, kKvHeads, kDim};
      out.push_back(ChainNormedProducts{norm,
                                        {Factor(kHeads * kDim, kHidden, At(5)), Factor(kKvHeads * kDim, kHidden, At(6)),
                                         Factor(kKvHeads * kDim, kHidden, At(7))}});
      out.push_back(ChainRopeAppend{cache, position, tables, tables, At(5), At(6), At(7)});
      out.push_back(ChainAttend{{kHeads, 0.125f, 0, 0}, cache, position, At(5), At(8)});
      out.push_back(ChainAddedProduct{Factor(kHidden, kHeads * kDim, At(0)), At(8), 1});
      out.push_back(
          ChainGatedProducts{norm, Factor(kWide, kHidden, At(9)), Factor(kWide, kHidden, At(10)), Activation::kSilu});
      out.push_back(ChainAddedProduct{Factor(kHidden, kWide, At(0)), At(9), 0.5f});
    }
    return out;
  }
};

TEST_F(CudaChainProgram, HasTheStepsOfItsLayersInOrder) {
  using Kind = ChainStep::Kind;
  const auto program = MakeChain(Layers(2), 132, nullptr);
  ASSERT_TRUE(program);
  const std::vector<Kind> layer = {Kind::kProduct, Kind::kAttend,  Kind::kCombine,
                                   Kind::kProduct, Kind::kProduct, Kind::kProduct};
  ASSERT_EQ(program->steps.size(), 13U);
  for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(program->steps[i].kind, layer[i % 6]) << i;
  EXPECT_EQ(program->steps[12].kind, Kind::kFinish);
  EXPECT_EQ(program->head_dim, kDim);
}

// Each step that adds to the hidden state reads one memory and writes the other; the last one writes the caller's.
TEST_F(CudaChainProgram, TheHiddenStateTakesTurns) {
  std::vector<std::byte> memory(MakeChain(Layers(2), 132, nullptr)->bytes);
  const auto program = MakeChain(Layers(2), 132, memory.data());
  ASSERT_TRUE(program);
  const auto& steps = program->steps;
  const float* now = At(0);
  EXPECT_EQ(steps[0].input.x, now);
  EXPECT_EQ(steps[0].input.new_x, nullptr) << "nothing is added before the first norm";
  for (const std::size_t i : {4, 6, 10}) {
    EXPECT_EQ(steps[i].input.x, now) << i;
    EXPECT_NE(steps[i].input.new_x, now) << i;
    EXPECT_NE(steps[i].input.new_x, nullptr) << i;
    EXPECT_EQ(steps[i].input.added.slots, steps[i - 1].product.slots) << i;
    now = steps[i].input.new_x;
  }
  EXPECT_EQ(steps[6].input.factor, 0.5f) << "of the product before";
  EXPECT_EQ(steps[12].input.x, now);
  EXPECT_EQ(steps[12].input.new_x, At(0));
}

// What a step writes does not overlap what it reads.
TEST_F(CudaChainProgram, NoStepReadsTheSlotsThatItWrites) {
  std::vector<std::byte> memory(MakeChain(Layers(3), 132, nullptr)->bytes);
  const auto program = MakeChain(Layers(3), 132, memory.data());
  ASSERT_TRUE(program);
  for (const ChainStep& step : program->steps) {
    if (step.kind != ChainStep::Kind::kProduct) continue;
    EXPECT_NE(step.input.added.slots, step.product.slots);
    EXPECT_NE(step.input.up.slots, step.product.slots);
    const auto* const end = reinterpret_cast<const float*>(memory.data() + memory.size());
    EXPECT_LE(step.product.slots + kMostSpans * step.product.division.rows(), end);
  }
}

TEST_F(CudaChainProgram, RefusesWhatIsNoChain) {
  EXPECT_FALSE(MakeChain({}, 132, nullptr));
  EXPECT_TRUE(MakeChain(Layers(2), 2, nullptr));
  EXPECT_FALSE(MakeChain(Layers(2), 1, nullptr)) << "two heads of keys for one block";
  auto operations = Layers(2);
  operations.pop_back();
  EXPECT_FALSE(MakeChain(operations, 132, nullptr)) << "a layer without its end";
  const auto refuses = [&](auto change) {
    auto changed = Layers(2);
    change(changed);
    return !MakeChain(changed, 132, nullptr);
  };
  EXPECT_TRUE(refuses([](auto& o) { std::swap(o[1], o[2]); }));
  EXPECT_TRUE(refuses([](auto& o) { std::get<ChainNormedProducts>(o[6]).norm.kind = NormKind::kLayer; }));
  EXPECT_TRUE(refuses([](auto& o) { std::get<ChainAddedProduct>(o[3]).factor_matrix.weight.format.group = 32; }));
  EXPECT_TRUE(refuses([&](auto& o) { std::get<ChainAddedProduct>(o[3]).x = At(9); }));
  EXPECT_TRUE(refuses([](auto& o) { std::get<ChainRopeAppend>(o[7]).cache.halves = false; }));
  EXPECT_TRUE(refuses([](auto& o) { std::get<ChainAttend>(o[2]).shape.heads = 32; }));
}

}  // namespace
}  // namespace marlin::cuda
