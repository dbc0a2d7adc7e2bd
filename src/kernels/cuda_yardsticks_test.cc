// What the CUDA device says of itself, and that its yardsticks do what they are named after.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/rng.h"
#include "formats/encoded_matrix.h"
#include "formats/formats.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/random_matrix.h"

namespace marlin {
namespace {

TEST(CudaDevices, AMachineWithoutOneIsTold) {
  if (CountCudaDevices() > 0) GTEST_SKIP() << "this machine has a CUDA device";
  const auto backend = MakeCudaBackend(0, 1);
  ASSERT_FALSE(backend.ok());
  EXPECT_EQ(backend.error().code, ErrorCode::kUnsupported);
  const std::string want = BuiltWithCuda() ? "NVIDIA" : "--preset cuda";
  EXPECT_NE(backend.error().message.find(want), std::string::npos) << backend.error().message;
}

class CudaYardsticks : public testing::Test {
 protected:
  void SetUp() override {
    if (CountCudaDevices() == 0) GTEST_SKIP() << "this machine has no CUDA device";
    auto backend = MakeCudaBackend(0, 1, Activations::kBf16);
    ASSERT_TRUE(backend.ok()) << backend.error().message;
    cuda_ = *std::move(backend);
  }

  DeviceTensor Words(const std::vector<std::int32_t>& words, std::size_t rows) {
    buffers_.push_back(*cuda_->Allocate(words.size(), ElementType::kI32));
    const DeviceTensor tensor = View(buffers_.back(), rows, words.size() / rows, ElementType::kI32);
    cuda_->Upload(words, tensor);
    return tensor;
  }

  std::vector<std::int32_t> RandomWords(std::size_t count) {
    std::vector<std::int32_t> words(count);
    for (std::int32_t& word : words) word = static_cast<std::int32_t>(rng_.Next());
    return words;
  }

  // As many rows of random numbers in fp16, and the numbers.
  DeviceTensor Pairs(std::size_t rows, std::size_t cols, std::vector<float>& numbers) {
    std::vector<std::int32_t> words(rows * cols / 2);
    numbers.resize(rows * cols);
    for (std::size_t i = 0; i < words.size(); ++i) {
      const std::uint16_t low = FloatToHalf(static_cast<float>(RandomValue(rng_)));
      const std::uint16_t high = FloatToHalf(static_cast<float>(RandomValue(rng_)));
      numbers[2 * i] = HalfToFloat(low);
      numbers[2 * i + 1] = HalfToFloat(high);
      words[i] = static_cast<std::int32_t>(low | static_cast<std::uint32_t>(high) << 16);
    }
    return Words(words, rows);
  }

  Rng rng_{31};
  std::unique_ptr<Backend> cuda_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

TEST_F(CudaYardsticks, TheSumOfTheWordsIsRight) {
  const DeviceTensor sum = Words({-1}, 1);
  for (const std::size_t count : {1u, 2u, 3u, 4u, 5u, 255u, 8191u, 100003u, 5000000u, 40000001u}) {
    const std::vector<std::int32_t> words = RandomWords(count);
    std::uint32_t want = 0;
    for (const std::int32_t word : words) want += static_cast<std::uint32_t>(word);
    const DeviceTensor on_device = Words(words, 1);
    std::unique_ptr<Recording> recording;
    for (int time = 0; time < 3; ++time) {
      cuda_->QueueRecorded(recording, [&] { cuda_->yardsticks()->SumWords(on_device, sum); });
      std::vector<std::int32_t> got(1);
      ASSERT_TRUE(cuda_->Read(sum, got).ok());
      EXPECT_EQ(static_cast<std::uint32_t>(got[0]), want) << count << " words, call " << time;
    }
    buffers_.pop_back();
  }
}

TEST_F(CudaYardsticks, ProductsOfPairsAreThoseOfTheNumbers) {
  constexpr std::size_t kN = 72, kK = 136;
  std::vector<float> weights, x;
  const DeviceTensor w = Pairs(kN, kK, weights);
  for (const std::size_t m : {1u, 7u, 130u}) {
    const DeviceTensor tokens = Pairs(m, kK, x);
    const DeviceTensor out = Words(std::vector<std::int32_t>(m * kN / 2), m);
    cuda_->yardsticks()->MultiplyHalfPairs(tokens, w, out);
    std::vector<std::int32_t> got(m * kN / 2);
    ASSERT_TRUE(cuda_->Read(out, got).ok());
    for (std::size_t t = 0; t < m; ++t) {
      for (std::size_t n = 0; n < kN; ++n) {
        double want = 0;
        for (std::size_t k = 0; k < kK; ++k) want += static_cast<double>(x[t * kK + k]) * weights[n * kK + k];
        const auto pair = static_cast<std::uint32_t>(got[(t * kN + n) / 2]);
        const float value = HalfToFloat(static_cast<std::uint16_t>(n % 2 == 0 ? pair : pair >> 16));
        ASSERT_NEAR(value, want, 1e-3 * std::abs(want) + 1e-2) << "token " << t << " row " << n;
      }
    }
  }
}

TEST_F(CudaYardsticks, TheDeviceKnowsItsMemory) {
  ASSERT_TRUE(cuda_->cache_bytes().has_value());
  EXPECT_GT(*cuda_->cache_bytes(), std::size_t{1} << 20);
  constexpr std::size_t kBytes = std::size_t{256} << 20;
  const auto before = cuda_->free_bytes();
  ASSERT_TRUE(before.has_value());
  EXPECT_GT(*before, kBytes);
  auto buffer = *cuda_->Allocate(kBytes / 4, ElementType::kI32);
  const auto during = cuda_->free_bytes();
  buffer.reset();
  const auto after = cuda_->free_bytes();
  // Other programs may use the device meanwhile.
  constexpr std::size_t kSlack = std::size_t{64} << 20;
  EXPECT_LE(*during, *before - kBytes + kSlack);
  EXPECT_GE(*after + kSlack, *before) << "what the pool holds can be allocated again";
}

TEST_F(CudaYardsticks, TheSizeOfAWeightIsKnownBeforeItIsPacked) {
  for (const Activations activations : {Activations::kFp32, Activations::kBf16}) {
    auto backend = MakeCudaBackend(0, 1, activations);
    ASSERT_TRUE(backend.ok());
    for (const FormatRow& format : Formats()) {
      for (const std::size_t n : {7u, 70u}) {
        const std::size_t k = FittingCols(format.info, 300);
        const auto weight = (*backend)->Pack(RandomEncoded(format, n, k, rng_).view());
        ASSERT_TRUE(weight.ok()) << weight.error().message;
        EXPECT_EQ((*backend)->BytesToPack(format.info, n, k), (*weight)->resident_bytes()) << format.info.name;
      }
    }
  }
}

}  // namespace
}  // namespace marlin
