// The glass device catches what would only fail on a device with memory of its own.
#include "kernels/glass_backend.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "kernels/cpu_backend.h"
#include "kernels/host_operations.h"
#include "kernels/random_matrix.h"
#include "kernels/reference_backend.h"

namespace marlin {
namespace {

// The host has no way from a handle to what lies in device memory: a read does not compile.
template <class T>
concept GivesAPointer = requires(T object) {
  object.data();
};
static_assert(!GivesAPointer<Buffer> && !GivesAPointer<DeviceTensor> && !GivesAPointer<Weight> &&
              !GivesAPointer<KvCache>);

class Glass : public testing::Test {
 protected:
  DeviceTensor Row(const std::vector<float>& values) {
    buffers_.push_back(std::move(*device_.Allocate(values.size(), ElementType::kF32)));
    const DeviceTensor tensor = View(buffers_.back(), 1, values.size());
    device_.Upload(values, tensor);
    return tensor;
  }
  GlassBackend device_{MakeReferenceBackend()};
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

TEST_F(Glass, OperationsRunWhenItIsSynchronized) {
  std::vector<float> values = {1, 2, 3};
  const DeviceTensor x = Row(values);
  values = {7, 7, 7};  // an upload has taken its copy
  device_.Add(x, Row({10, 20, 30}));
  EXPECT_EQ(device_.queued(), 3u);
  std::vector<float> got(3, 5.0f);
  device_.Download(x, got);
  for (const float value : got) EXPECT_TRUE(std::isnan(value)) << "nothing is there before Synchronize";
  EXPECT_TRUE(device_.Synchronize().ok());
  EXPECT_EQ(device_.queued(), 0u);
  EXPECT_EQ(got, (std::vector<float>{11, 22, 33}));
}

TEST_F(Glass, NewMemoryIsPoisoned) {
  const auto buffer = std::move(*device_.Allocate(5, ElementType::kF64));
  std::vector<double> got(5, 0.0);
  EXPECT_TRUE(device_.Read(View(buffer, 1, 5, ElementType::kF64), got).ok());
  for (const double value : got) EXPECT_TRUE(std::isnan(value));
  EXPECT_EQ(device_.Allocate(SIZE_MAX, ElementType::kF32).error().code, ErrorCode::kResource);
}

TEST_F(Glass, TheFirstErrorSurfacesOnce) {
  const DeviceTensor x = Row({1});
  device_.FailNext({ErrorCode::kResource, "the first"});
  device_.Add(x, x);
  device_.FailNext({ErrorCode::kNumerical, "the second"});
  device_.Add(x, x);
  const Status failed = device_.Synchronize();
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().message, "the first");
  EXPECT_TRUE(device_.Synchronize().ok());
}

// Memory that goes away early does not take the queued operations with it.
TEST_F(Glass, FreeingMemoryWaitsForTheQueue) {
  const DeviceTensor x = Row({1, 2});
  std::vector<float> got(2);
  {
    auto other = std::move(*device_.Allocate(2, ElementType::kF32));
    device_.Upload(std::vector<float>{3, 4}, View(other, 1, 2));
    device_.Add(x, View(other, 1, 2));
  }
  EXPECT_TRUE(device_.Read(x, got).ok());
  EXPECT_EQ(got, (std::vector<float>{4, 6}));
}

TEST_F(Glass, ATensorBeyondItsBufferEndsTheProgram) {
  const DeviceTensor x = Row({1, 2, 3, 4});
  DeviceTensor shifted = x;
  shifted.offset = 1;
  EXPECT_DEATH(
      {
        device_.Add(shifted, x);
        (void)device_.Synchronize();
      },
      "ends beyond its buffer");
}

TEST_F(Glass, AHostReadOfDeviceMemoryEndsTheProgram) {
  const DeviceTensor x = Row({1, 2, 3, 4});
  ASSERT_TRUE(device_.Synchronize().ok());
  EXPECT_DEATH(
      {
        const volatile std::uint8_t* const address = device_.AddressForDeathTests(*x.buffer);
        (void)*address;
      },
      "");
}

TEST_F(Glass, ObjectsOfAnotherDeviceAreRefused) {
  const auto other = MakeReferenceBackend();
  const auto buffer = std::move(*other->Allocate(1, ElementType::kF32));
  EXPECT_DEATH(
      {
        device_.Add(View(buffer, 1, 1), View(buffer, 1, 1));
        (void)device_.Synchronize();
      },
      "another device");
}

TEST_F(Glass, IsAGpuWhereATestSaysSo) {
  EXPECT_EQ(device_.yardsticks(), nullptr);
  EXPECT_FALSE(device_.free_bytes().has_value());
  EXPECT_FALSE(device_.cache_bytes().has_value());
  device_.OfferYardsticks();
  device_.SetFreeBytes(7);
  device_.SetCacheBytes(8);
  EXPECT_EQ(device_.free_bytes(), 7u);
  EXPECT_EQ(device_.cache_bytes(), 8u);
  const auto words = std::move(*device_.Allocate(5, ElementType::kI32)),
             sum = std::move(*device_.Allocate(1, ElementType::kI32));
  const DeviceTensor all = View(words, 1, 5, ElementType::kI32), one = View(sum, 1, 1, ElementType::kI32);
  device_.Upload(std::vector<std::int32_t>{1, 2, -7, INT32_MAX, INT32_MAX}, all);
  device_.yardsticks()->SumWords(all, one);
  std::vector<std::int32_t> got(1);
  EXPECT_TRUE(device_.Read(one, got).ok());
  EXPECT_EQ(got[0], -6) << "modulo 2^32";
}

// Every operation reaches the backend inside: the results are its own, bit for bit.
TEST(GlassOperations, GiveTheBitsOfTheBackendInside) {
  constexpr std::size_t kTokens = 3;
  constexpr std::size_t kCols = 64;
  Rng rng(4);
  const EncodedMatrix encoded = RandomEncoded(*FindFormat("fp4-g32"), 40, kCols, rng);
  std::vector<float> x(kTokens * kCols), weight(kCols), bias(40);
  for (auto* values : {&x, &weight, &bias}) {
    for (float& value : *values) value = static_cast<float>(RandomValue(rng));
  }
  const std::vector<std::int32_t> targets = {5, 0, 39};
  std::vector<std::vector<double>> results;
  for (const bool glass : {false, true}) {
    std::unique_ptr<Backend> backend = std::move(*MakeCpuBackend({2, {}, {}}));
    if (glass) backend = std::make_unique<GlassBackend>(std::move(backend));
    HostOperations device(std::move(backend));
    std::vector<double>& all = results.emplace_back();
    const auto keep = [&](const auto& values) { all.insert(all.end(), values.begin(), values.end()); };
    const auto packed = std::move(*device.Pack(encoded.view()));
    const std::array<const Weight*, 1> weights{packed.get()};
    std::vector<float> normed(x.size(), NAN), out(kTokens * 40, NAN), embedded(x.size(), NAN), attended(x.size(), NAN);
    const MatrixView<const float> rows(x.data(), kTokens, kCols);
    device.Norm({rows, weight.data(), 1e-5f, {normed.data(), kTokens, kCols}, NormKind::kLayer, x.data()});
    keep(normed);
    device.Norm({rows, nullptr, 1e-5f, {normed.data(), kTokens, kCols}});
    keep(normed);
    device.NormMatmul({rows, weight.data(), 1e-5f, {normed.data(), kTokens, kCols}}, weights, std::array{bias.data()},
                      std::array{MatrixView<float>(out.data(), kTokens, 40)});
    keep(normed);
    keep(out);
    device.Embed(*packed, targets, {embedded.data(), kTokens, kCols});
    const MatrixView<float> states(embedded.data(), kTokens, kCols);
    for (const bool neighbours : {false, true}) {
      device.Rope(states, 16, {x.data(), kTokens, 7, kCols}, {x.data(), kTokens, 7, kCols}, neighbours);
      keep(embedded);
    }
    const auto cache = std::move(*device.AllocateCache({8, {{1, 4}, {2, 16}}}));
    const MatrixView<const float> keys(x.data(), kTokens, 32, kCols);
    device.Append(*cache, 1, 0, keys, keys);
    device.Attention({states, cache.get(), 1, 4, 0, 0.25f}, {attended.data(), kTokens, kCols});
    keep(attended);
    device.Attention({states, cache.get(), 1, 4, 0, 0.25f, 2, 0.5f}, {attended.data(), kTokens, kCols});
    keep(attended);
    device.GatedActivation(Activation::kSilu, states, rows);
    keep(embedded);
    device.Activate(Activation::kGelu, states);
    keep(embedded);
    device.Add(states, rows, 0.3f);
    keep(embedded);
    device.Scale(states, 1.7f);
    keep(embedded);
    device.SoftCap(states, 0.7f);
    keep(embedded);
    std::vector<double> nll(kTokens, NAN), sums(2 * kCols, NAN);
    std::vector<TokenDivergence> divergence(kTokens);
    std::vector<float> largest(kCols, NAN), best(kTokens * 2, NAN), gram(kCols * kCols, 1.0f);
    std::vector<std::int32_t> places(kTokens * 2, -1);
    const MatrixView<const float> logits(out.data(), kTokens, 40);
    device.CrossEntropy(logits, targets, nll);
    device.Divergence(logits, {x.data(), kTokens, 40, kCols}, targets, divergence);
    device.TopK(logits, {best.data(), kTokens, 2}, places);
    device.Moments(rows, sums, largest);
    device.AddGram(rows, {gram.data(), kCols, kCols});
    keep(nll);
    for (const TokenDivergence& token : divergence) keep(std::array{token.kl, token.base_nll, token.other_nll});
    keep(places);
    keep(best);
    keep(sums);
    keep(largest);
    keep(gram);
  }
  for (const double value : results[0]) ASSERT_TRUE(std::isfinite(value));
  EXPECT_EQ(results[0], results[1]);
}

}  // namespace
}  // namespace marlin
