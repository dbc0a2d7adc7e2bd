#include "bench/shapes.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "model/test_description.h"

namespace marlin {
namespace {

Description SmallModel() { return TestDescription({96, 576, 2, 9, 3, 64, 1536, 64, true}); }

std::vector<GemmShape> Named(const std::vector<std::string>& names, const std::vector<std::size_t>& tokens = {}) {
  const auto shapes = NamedShapes(names, tokens);
  EXPECT_TRUE(shapes.ok());
  return shapes.ok() ? *shapes : std::vector<GemmShape>();
}

bool Holds(const std::vector<GemmShape>& shapes, std::size_t m, std::size_t n, std::size_t k) {
  return std::ranges::any_of(shapes, [&](const GemmShape& s) { return s.m == m && s.n == n && s.k == k; });
}

TEST(Shapes, OfAModelAreDistinct) {
  EXPECT_EQ(ModelShapes(SmallModel()).size(), 8u);  // q and o, k and v, gate and up, down: at m = 1 and m = 512
  EXPECT_EQ(ModelShapes(SmallModel(), {}).size(), 4 * std::size(kModelTokens));
  EXPECT_EQ(PageShapes().size(), 6u);
}

TEST(Shapes, OfASetStandLayerByLayer) {
  const std::vector<GemmShape> shapes = Named({"smollm2-135m"}, {1, 8});
  const std::vector<std::vector<std::size_t>> want = {{1, 576, 576},  {8, 576, 576},  {1, 192, 576},  {8, 192, 576},
                                                      {1, 1536, 576}, {8, 1536, 576}, {1, 576, 1536}, {8, 576, 1536}};
  ASSERT_EQ(shapes.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ((std::vector<std::size_t>{shapes[i].m, shapes[i].n, shapes[i].k}), want[i]) << i;
    EXPECT_EQ(shapes[i].set, "smollm2-135m");
  }
  EXPECT_EQ(Named({"smollm2-135m"}).size(), ModelShapes(SmallModel(), {}).size());
}

TEST(Shapes, OfKnownModels) {
  const std::vector<GemmShape> llama = Named({"llama3-8b"}, {1});
  EXPECT_EQ(llama.size(), 4u);
  for (const auto& [n, k] : {std::pair{4096, 4096}, {1024, 4096}, {14336, 4096}, {4096, 14336}}) {
    EXPECT_TRUE(Holds(llama, 1, static_cast<std::size_t>(n), static_cast<std::size_t>(k))) << n << " " << k;
  }
  const std::vector<GemmShape> qwen = Named({"qwen3-4b"}, {1});
  EXPECT_EQ(qwen.size(), 5u) << "q and o differ: the heads are wider than the hidden state";
  for (const auto& [n, k] : {std::pair{4096, 2560}, {1024, 2560}, {2560, 4096}, {9728, 2560}, {2560, 9728}}) {
    EXPECT_TRUE(Holds(qwen, 1, static_cast<std::size_t>(n), static_cast<std::size_t>(k))) << n << " " << k;
  }
}

TEST(Shapes, ThePageHasItsOwnTokens) {
  EXPECT_TRUE(Holds(Named({"page"}), 128, 4096, 4096));
  EXPECT_FALSE(Holds(Named({"page"}), 128, 4096, 14336));
  const std::vector<GemmShape> at_two = Named({"page"}, {2, 2});
  EXPECT_EQ(at_two.size(), 3u) << "three layers, each once";
  EXPECT_TRUE(Holds(at_two, 2, 4096, 14336));
}

TEST(Shapes, OfGpusReachManyTokens) {
  const std::vector<GemmShape> gpu = Named({"gpu"});
  EXPECT_EQ(gpu.size(), 6 * std::size(kGpuTokens));
  for (const std::size_t m : {1u, 8u, 16u, 32u, 64u, 128u, 512u, 2048u, 4096u}) {
    for (const auto& [n, k] :
         {std::pair{4096, 4096}, {14336, 4096}, {4096, 14336}, {8192, 8192}, {28672, 8192}, {8192, 28672}}) {
      EXPECT_TRUE(Holds(gpu, m, static_cast<std::size_t>(n), static_cast<std::size_t>(k))) << n << " " << k;
    }
  }
  EXPECT_EQ(Named({"gpu"}, {3}).size(), 6u);
}

TEST(Shapes, AProductOfSeveralSetsIsTimedOnce) {
  const std::vector<GemmShape> all = Named({"all"}, {1});
  EXPECT_EQ(all.size(), 3u + 1 + 5 + 4) << "three of llama3-8b's layers are the page's";
  EXPECT_EQ(all.size(), Named({"page", "llama3-8b", "qwen3-4b", "smollm2-135m", "page"}, {1}).size());
}

TEST(Shapes, AnUnknownSetIsNamedBesideThoseThereAre) {
  const auto shapes = NamedShapes(std::vector<std::string>{"page", "llama4"}, {});
  ASSERT_FALSE(shapes.ok());
  EXPECT_EQ(shapes.error().code, ErrorCode::kUsage);
  EXPECT_NE(shapes.error().message.find("\"llama4\""), std::string::npos);
  EXPECT_NE(shapes.error().message.find(ShapeSetNames()), std::string::npos);
}

TEST(ByLayer, GathersTheNumbersOfTokens) {
  const auto layers = ByLayer(PageShapes());
  ASSERT_EQ(layers.size(), 3u);
  ASSERT_EQ(layers[0].size(), 3u);
  EXPECT_TRUE(layers[0][2].SameProduct({"page", 128, 4096, 4096}));
  ASSERT_EQ(layers[1].size(), 2u);
  EXPECT_TRUE(layers[1][1].SameProduct({"page", 32, 4096, 14336}));
}

}  // namespace
}  // namespace marlin
